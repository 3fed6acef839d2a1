"""``pgrecall status``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pgrecall.cli.options import AsJson, Url, open_database
from pgrecall.cli.output import (
    as_json,
    duration,
    escape,
    money,
    out,
    print_json,
    print_table,
    remark,
    size,
)

if TYPE_CHECKING:
    from pgrecall.store.status import CollectionStatus, GenerationStatus, IndexBuild
    from pgrecall.types import Run


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", show_default=False, help="Only this one.")
    ] = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="The last runs, and what was spent on them.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="With --runs: how many.")] = 20,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """What is stored, what is going on, and what was spent."""
    with open_database(url) as db:
        if runs:
            found = (
                db.collection(collection).runs(limit=limit) if collection else db.runs(limit=limit)
            )
            _print_runs(found, as_json_=as_json_)
            return
        chosen = [db.collection(collection)] if collection else db.collections()
        statuses = [item.status() for item in chosen]
    if as_json_:
        for item in statuses:
            print_json(as_json(item))
    elif not statuses:
        remark("No collections yet: pgrecall ingest FOLDER makes one.")
    for number, item in enumerate([] if as_json_ else statuses):
        _print(item, first=not number)


def _print(item: CollectionStatus, *, first: bool) -> None:
    if not first:
        out().print()
    out().print(
        f"[bold]{escape(item.name)}[/]  {escape(item.embedder)}, {item.dimensions} dimensions"
    )
    for name, line in _lines(item):
        out().print(f"  {name:10}  {line}", markup=False)


def _lines(item: CollectionStatus) -> Iterator[tuple[str, str]]:
    queued = "" if item.queued is None else f", {item.queued:,} queued"
    yield "documents", f"{item.documents:,} ready, {item.failed:,} failed{queued}"
    yield "chunks", f"{item.chunks:,}, of {item.tokens:,} tokens"
    indexes = ", ".join(f"{name} {size(count)}" for name, count in item.index_bytes.items())
    yield "size", f"{size(item.bytes)}, of it indexes: {indexes}"
    yield (
        "index",
        _index(item.building) or ("hnsw" if item.indexed else "none yet, all searches are exact"),
    )
    if item.reindexing is not None:
        yield "reindexing", _reindexing(item.reindexing)
    if item.throughput is not None:
        per_second = item.throughput
        yield (
            "throughput",
            (
                f"{per_second.chunks_per_second:,.0f} chunks/s, "
                f"{per_second.tokens_per_second:,.0f} tokens/s in the last runs"
            ),
        )
    cost = "no list price is known" if item.spent is None else f"{money(item.spent)} by list price"
    yield "spent", f"{item.spent_tokens:,} tokens, {cost}"
    if item.last_run is not None:
        yield "last run", f"{item.last_run.state}, {item.last_run.started_at:%Y-%m-%d %H:%M}"


def _reindexing(item: GenerationStatus) -> str:
    workers = f", {item.queued:,} with workers, {item.failed:,} failed" * bool(
        item.queued or item.failed
    )
    return (
        f"generation {item.generation_id} ({item.embedder}): {item.documents:,} documents, "
        f"{item.lacking:,} lacking{workers}"
    )


def _index(building: IndexBuild | None) -> str:
    if building is None:
        return ""
    done = "" if building.done is None else f", {building.done:.0%}"
    return f"{building.index} is being built ({building.phase}{done})"


def _print_runs(found: list[Run], *, as_json_: bool) -> None:
    if as_json_:
        for run in found:
            print_json(as_json(run))
        return
    if not found:
        remark("No runs yet: pgrecall ingest FOLDER is one.")
        return
    print_table(
        [
            *(
                "run",
                "collection",
                "what",
                "state",
                "started",
                "took",
                "new",
                "changed",
                "unchanged",
            ),
            *("removed", "failed", "left", "chunks", "embedded", "tokens", "cost"),
        ],
        [_row(run) for run in found],
    )
    for run in found:
        if run.error:
            remark(f"{run.run_id}: {run.error}")


def _row(run: Run) -> list[str]:
    counts = (run.new, run.changed, run.unchanged, run.removed, run.failed, run.left, run.chunks)
    return [
        *(
            str(run.run_id),
            run.collection,
            run.kind + ", worker" * run.by_worker,
            run.state,
            f"{run.started_at:%Y-%m-%d %H:%M:%S}",
        ),
        duration(run.seconds),
        *(f"{count:,}" for count in (*counts, run.embedded, run.tokens)),
        money(run.cost),
    ]
