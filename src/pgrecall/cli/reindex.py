"""``pgrecall reindex``: another model or other chunks, beside the generation that is searched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgrecall.cli import storage as cli_storage
from pgrecall.cli.generations import (
    print_active,
    print_comparison,
    print_generations,
    print_hand_over,
    print_plan,
    print_report,
)
from pgrecall.cli.options import AsJson, Url, open_database
from pgrecall.cli.output import as_json, err, out, print_json, remark

if TYPE_CHECKING:
    from pgrecall.chunking import ChunkConfig
    from pgrecall.collection import Collection
    from pgrecall.generations import Changes, Limited
    from pgrecall.reindex.work import Progress, ReindexReport
    from pgrecall.store.storage import Storage


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reindex)


def reindex(
    name: Annotated[str, typer.Argument(help="The collection.", show_default=False)],
    embedder: Annotated[
        str | None, typer.Option(show_default=False, help="Another model; else the same.")
    ] = None,
    chunk_tokens: Annotated[
        int | None, typer.Option(show_default=False, help="Longest chunk; else the same.")
    ] = None,
    chunk_overlap: Annotated[
        int | None, typer.Option(show_default=False, help="Overlap; else the same.")
    ] = None,
    storage: cli_storage.Type = None,
    metric: cli_storage.Metric = None,
    prefix: cli_storage.Prefix = None,
    queue: Annotated[
        bool, typer.Option("--queue", help="Leave it to workers (`pgrecall worker`).")
    ] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=0, show_default=False, help="Stop before more tokens are embedded."),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(min=0, show_default=False, help="Stop before it costs more US dollars."),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what it would do, and cost.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Ask the active generation and the new one.")
    ] = False,
    queries: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help='--compare: one question a line, or {"question": ..., "relevant": [uri]}. '
            "Without it: pieces of the texts.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="--compare: hits of each question.")] = 10,
    mode: Annotated[
        str, typer.Option("--mode", "-m", help="--compare: hybrid, vector or text.")
    ] = "hybrid",
    activate: Annotated[
        bool, typer.Option("--activate", help="Search the new generation from now on.")
    ] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Search the generation before again.")
    ] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Remove the retired generations, or --generation.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="List the generations.")] = False,
    generation: Annotated[
        int | None,
        typer.Option(
            show_default=False, help="--activate, --compare, --drop: this one, by its number."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Activate or roll back at once, without what is missing."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removing.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Embed or chunk a collection anew, beside what is searched; then compare, activate, or go back.

    Builds a generation from the stored texts, or goes on where it stopped. Searches keep to the old one
    until --activate. Alone, --compare and --activate take the generation that was built.
    """
    stored = cli_storage.given(storage, metric, prefix)
    changes = bool(stored) or any(
        value is not None for value in (embedder, chunk_tokens, chunk_overlap)
    )
    if sum((plan, rollback, drop, status, compare or activate)) > 1:
        raise typer.BadParameter(
            "One of --plan, --rollback, --drop, --status, or --compare and --activate."
        )
    if changes and (rollback or drop or status):
        raise typer.BadParameter("--rollback, --drop and --status take no embedder and no chunks.")
    if queue and (compare or activate):
        raise typer.BadParameter(
            "--queue hands the work over; --compare and --activate come when --status shows that it is done."
        )
    with open_database(url) as db:
        docs = db.collection(name)
        if status:
            print_generations(docs.generations(), as_json_=as_json_)
        elif rollback:
            docs.rollback(force=force)
            print_active(docs, as_json_=as_json_)
        elif drop:
            _drop(docs, generation, yes=yes, as_json_=as_json_)
        else:
            wanted: Changes = {
                "embedder": embedder,
                "chunking": _chunking(docs, chunk_tokens, chunk_overlap),
                "storage": _storage(docs, stored),
            }
            limits: Limited = {"max_tokens": max_tokens, "max_cost": max_cost}
            if plan:
                print_plan(docs.plan_reindex(**wanted), as_json_=as_json_)
            elif queue:
                print_hand_over(docs.enqueue_reindex(**limits, **wanted), as_json_=as_json_)
                if not db.queue_status().workers:
                    remark("No worker runs yet: `pgrecall worker` adds them.")
            elif changes or not (compare or activate):
                _build(docs, wanted, limits, shown=not quiet, as_json_=as_json_)
            if compare:
                _compare(docs, queries, generation, {"k": k, "mode": mode}, as_json_=as_json_)
            if activate:
                docs.activate(generation, force=force)
                print_active(docs, as_json_=as_json_)


def _chunking(docs: Collection, tokens: int | None, overlap: int | None) -> ChunkConfig | None:
    from pgrecall.chunking import ChunkConfig

    given = {"max_tokens": tokens, "overlap_tokens": overlap}
    named: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if not named:
        return None
    (active,) = [item for item in docs.generations() if item.state == "active"]
    return replace(ChunkConfig.from_dict(active.chunking), **named)


def _storage(docs: Collection, given: dict[str, Any]) -> Storage | None:
    if not given:
        return None
    (active,) = [item for item in docs.generations() if item.state == "active"]
    return replace(active.storage, **given)


def _build(
    docs: Collection, wanted: Changes, limits: Limited, *, shown: bool, as_json_: bool
) -> None:
    try:
        with _progress(shown=shown and err().is_terminal) as progress:
            report = docs.reindex(progress=progress, **limits, **wanted)
    except KeyboardInterrupt as stop:
        stop.args = ("What was embedded is kept; the same command goes on where this one stopped.",)
        raise
    if as_json_:
        print_json(as_json(report))
    else:
        print_report(report)
    if not report.complete:
        raise typer.Exit(1)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Progress | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not shown:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Bar(*columns, TimeRemainingColumn(), console=err(), transient=True) as bar:
        task = bar.add_task("", total=None, rate="")

        def update(report: ReindexReport) -> None:
            rate = f"documents, {report.chunks} chunks, {report.tokens} tokens"
            done = report.documents + len(report.failed)
            bar.update(task, total=max(report.lacking, done), completed=done, rate=rate)

        yield update


def _compare(
    docs: Collection,
    queries: str | None,
    generation: int | None,
    options: Any,
    *,
    as_json_: bool,
) -> None:
    from pgrecall.evaluate.questions import read_questions

    questions = None if queries is None else read_questions(queries)
    found = docs.compare(questions, generation=generation, **options)
    if as_json_:
        print_json(as_json(found))
    else:
        print_comparison(found)


def _drop(docs: Collection, generation: int | None, *, yes: bool, as_json_: bool) -> None:
    chosen = [
        item.generation_id
        for item in docs.generations()
        if (item.state == "retired" if generation is None else item.generation_id == generation)
    ]
    if generation is not None and not chosen:
        chosen = [generation]
    if chosen and not yes:
        named = ", ".join(map(str, chosen))
        typer.confirm(f"Remove generation {named} of {docs.name!r}?", abort=True, err=True)
    dropped = [number for each in chosen for number in docs.drop_generation(each)]
    if as_json_:
        print_json({"dropped": dropped})
    elif dropped:
        out().print(f"dropped: generation {', '.join(map(str, dropped))}")
    else:
        remark("There is no retired generation.")
