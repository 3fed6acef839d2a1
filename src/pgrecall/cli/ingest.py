"""``pgrecall ingest`` and ``pgrecall delete``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pgrecall.cli.groups import grouped
from pgrecall.cli.ingest_options import Kind, Reading, Rows, Way
from pgrecall.cli.options import AsJson, Collection, Tenant, Url, open_database
from pgrecall.cli.output import (
    as_json,
    complain,
    err,
    money,
    out,
    print_failures,
    print_json,
    print_notes,
    remark,
)
from pgrecall.cli.plan import print_plan
from pgrecall.cli.storage import StoredAs

if TYPE_CHECKING:
    from pgrecall.collection import Collection as Target
    from pgrecall.database import Database
    from pgrecall.ingest import Progress
    from pgrecall.load import LoadOptions
    from pgrecall.types import EnqueueReport, IngestReport, Plan

#: Seconds between two looks at a table.
EVERY = 10.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(grouped(ingest))
    app.command()(delete)


def ingest(
    kind: Kind,
    stored: StoredAs,
    reading: Reading,
    rows: Rows,
    way: Way,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            show_default=False, help='Files, folders, globs, URLs, or "-" for standard input.'
        ),
    ] = None,
    collection: Collection = "default",
    strict: Annotated[bool, typer.Option(help="Exit with 1 if any source failed.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Take in documents. What has not changed is skipped; what cannot be read is reported."""
    sources = sources or []
    rows.check(sources)
    way.check(rows)
    options, wanted = reading.options(), kind.wanted(stored)
    shown = _shower(as_json_=as_json_)
    with open_database(url) as db:
        if way.plan:
            planned = db.planned(collection, **wanted)
            print_plan(_foreseen(planned, sources, options, way), as_json_=as_json_)
            return
        if way.max_cost is not None:
            # Refuses a budget that cannot be kept, before a collection is made for it.
            db.planned(collection, **wanted).plan([], **way.limits())
        target = db.create_collection(collection, **wanted, exist_ok=True)
        if way.queue:
            handed_over = target.enqueue(sources, options=options)
            _end_queued(db, handed_over, as_json_, strict=strict)
        if way.watch:
            with _stoppable() as stop:
                _follow(_watched(target, sources, options, rows, way, stop), shown)
            return
        bar = err().is_terminal and not quiet
        with _resumable(), _progress(sources, options, target, shown=bar) as progress:
            report = _taken_in(target, sources, options, rows, way, progress)
    shown(report)
    nothing = report.failed and not (report.documents or report.removed)
    raise typer.Exit(1 if nothing or report.left or (strict and report.failed) else 0)


def _foreseen(target: Target, sources: list[str], options: LoadOptions, way: Way) -> Plan:
    return target.plan(
        sources, options=options, sync=way.sync, allow_empty=way.allow_empty, **way.limits()
    )


def _taken_in(
    target: Target,
    sources: list[str],
    options: LoadOptions,
    rows: Rows,
    way: Way,
    progress: Progress | None,
) -> IngestReport:
    running = way.limits()
    running["progress"] = progress
    if rows.asked:
        return target.sync_table(
            rows.source(options),
            url=rows.source_url,
            options=options,
            full=rows.full,
            allow_empty=way.allow_empty,
            **running,
        )
    return target.ingest(
        sources,
        options=options,
        sync=way.sync,
        allow_empty=way.allow_empty,
        **running,
    )


def _watched(
    target: Target, sources: list[str], options: LoadOptions, rows: Rows, way: Way, stop: Event
) -> Iterator[IngestReport]:
    if rows.asked:
        return target.watch_table(
            rows.source(options),
            every=rows.every or EVERY,
            url=rows.source_url,
            options=options,
            allow_empty=way.allow_empty,
            stop=stop,
        )
    return target.watch(sources, options=options, allow_empty=way.allow_empty, stop=stop)


@contextmanager
def _stoppable() -> Iterator[Event]:
    """What SIGTERM sets: the run that is under way is finished. Ctrl-C breaks it off."""
    stop = Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        with _resumable():
            yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


def _follow(reports: Iterator[IngestReport], shown: Callable[[IngestReport], None]) -> None:
    for report in reports:
        shown(report)
        sys.stdout.flush()


@contextmanager
def _resumable() -> Iterator[None]:
    """Gives Ctrl-C the words for somebody who fears for their documents."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.args = ("What was written is whole; the same command goes on where this one stopped.",)
        raise


def _shower(*, as_json_: bool) -> Callable[[IngestReport], None]:
    return (lambda report: print_json(as_json(report))) if as_json_ else _print


@contextmanager
def _progress(
    sources: list[str], options: LoadOptions, target: Target, *, shown: bool
) -> Iterator[Progress | None]:
    """A line for each stage on a terminal, nothing elsewhere."""
    if not shown:
        yield None
        return
    from pgrecall.cli.progress import stages
    from pgrecall.load import discover
    from pgrecall.load.discover import is_url

    def count() -> int | None:
        # Looking for files is quick beside reading them, so that a second look can be afforded.
        if not sources or "-" in sources or any(map(is_url, sources)):
            return None
        return sum(1 for _ in discover(sources, options))

    with stages(count, target.index_build) as progress:
        yield progress


def delete(
    uris: Annotated[list[str], typer.Argument(help="The documents' uris.")],
    collection: Collection = "default",
    tenant: Tenant = None,
    url: Url = None,
) -> None:
    """Remove documents by uri."""
    with open_database(url) as db:
        removed = db.collection(collection).delete(uris, tenant_id=tenant)
    out().print(f"{removed} removed")
    raise typer.Exit(0 if removed else 1)


def _end_queued(db: Database, report: EnqueueReport, as_json_: bool, *, strict: bool) -> NoReturn:
    if report.queued and not db.queue_status().workers:
        remark("No worker runs yet: `pgrecall worker` takes them in.")
    if as_json_:
        print_json(as_json(report))
    else:
        out().print(
            f"{report.queued} queued, {report.unchanged} unchanged, {len(report.failed)} failed"
        )
        print_failures(report.failed)
        print_notes(report.notes)
    nothing = report.failed and not report.queued + report.unchanged
    raise typer.Exit(1 if nothing or (strict and report.failed) else 0)


def _print(report: IngestReport) -> None:
    out().print(
        f"{report.new} new, {report.changed} changed, {report.unchanged} unchanged, {_gone(report)}"
        f"{len(report.failed)} failed; {report.chunks} chunks "
        f"({report.embedded} embedded, {report.reused} reused), {report.tokens} tokens"
        f"{', ' + money(report.cost) if report.cost else ''}, {report.seconds:.1f} s"
    )
    if report.left:
        complain(
            f"The budget was used up: {report.left:,} documents are left, of {report.left_tokens:,} tokens. "
            "The same command goes on with them."
        )
    print_failures(report.failed)
    print_notes(report.notes)


def _gone(report: IngestReport) -> str:
    counts = {"renamed": report.renamed, "removed": report.removed}
    return "".join(f"{count} {name}, " for name, count in counts.items() if count)
