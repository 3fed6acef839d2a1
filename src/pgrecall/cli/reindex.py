"""``pgrecall reindex``: another model or other chunks, beside the generation that is searched."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgrecall.cli.generations import (
    print_active,
    print_comparison,
    print_generations,
    print_hand_over,
    print_plan,
    print_report,
)
from pgrecall.cli.groups import grouped
from pgrecall.cli.options import AsJson, Url, open_database
from pgrecall.cli.output import as_json, err, out, print_json, remark
from pgrecall.cli.reindex_options import Action, Budget, CompareWith, Rebuild
from pgrecall.cli.storage import StoredAs

if TYPE_CHECKING:
    from pgrecall.collection import Collection
    from pgrecall.database import Database
    from pgrecall.generations import Changes, Limited
    from pgrecall.reindex.work import Progress, ReindexReport
    from pgrecall.store.storage import Storage


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(grouped(reindex))


def reindex(
    rebuild: Rebuild,
    stored: StoredAs,
    budget: Budget,
    action: Action,
    compare_with: CompareWith,
    name: Annotated[str, typer.Argument(help="The collection.", show_default=False)],
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Embed or chunk a collection anew, beside what is searched; then compare, activate, or go back.

    Builds a generation from the stored texts, or goes on where it stopped. Searches keep to the old one
    until --activate. Alone, --compare and --activate take the generation that was built.
    """
    changed = rebuild.asked or bool(stored.given())
    action.check(changed=changed)
    # Read before anything is built.
    asked = compare_with.options() if action.compare else {}
    with open_database(url) as db:
        docs = db.collection(name)
        if action.status:
            print_generations(docs.generations(), as_json_=as_json_)
        elif action.rollback:
            docs.rollback(force=action.force)
            print_active(docs, as_json_=as_json_)
        elif action.drop:
            _drop(docs, action.generation, yes=action.yes, as_json_=as_json_)
        else:
            wanted: Changes = {
                "embedder": rebuild.embedder,
                "chunking": rebuild.chunking(docs),
                "storage": _storage(docs, stored.given()),
            }
            limits = budget.limits()
            if action.plan:
                print_plan(docs.plan_reindex(**wanted), as_json_=as_json_)
            elif action.queue:
                _hand_over(db, docs, wanted, limits, as_json_=as_json_)
            elif action.builds(changed=changed):
                _build(docs, wanted, limits, shown=not quiet, as_json_=as_json_)
            if action.compare:
                found = docs.compare(generation=action.generation, **asked)
                print_comparison(found, as_json_=as_json_)
            if action.activate:
                docs.activate(action.generation, force=action.force)
                print_active(docs, as_json_=as_json_)


def _hand_over(
    db: Database, docs: Collection, wanted: Changes, limits: Limited, *, as_json_: bool
) -> None:
    print_hand_over(docs.enqueue_reindex(**limits, **wanted), as_json_=as_json_)
    if not db.queue_status().workers:
        remark("No worker runs yet: `pgrecall worker` adds them.")


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
