"""``pgrecall ingest`` and ``pgrecall delete``."""

from __future__ import annotations

import dataclasses
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgrecall.cli.options import AsJson, Collection, Tenant, Url, open_database
from pgrecall.cli.output import complain, err, out, print_json, remark

if TYPE_CHECKING:
    from pgrecall.chunking import ChunkConfig
    from pgrecall.ingest import Progress
    from pgrecall.ingest.tables import TableSource
    from pgrecall.load import LoadOptions
    from pgrecall.types import IngestReport

#: Failures that are listed by name; --json has them all.
LISTED = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(ingest)
    app.command()(delete)


def ingest(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            show_default=False, help='Files, folders, globs, URLs, or "-" for standard input.'
        ),
    ] = None,
    collection: Collection = "default",
    embedder: Annotated[
        str | None,
        typer.Option(
            envvar="PGRECALL_EMBEDDER",
            show_default=False,
            help="For a new collection, e.g. openai:text-embedding-3-small. Without it: static.",
        ),
    ] = None,
    chunk_tokens: Annotated[
        int | None, typer.Option(show_default=False, help="Longest chunk; for a new collection.")
    ] = None,
    chunk_overlap: Annotated[
        int | None, typer.Option(show_default=False, help="Overlap; for a new collection.")
    ] = None,
    text_field: Annotated[
        str | None, typer.Option(show_default=False, help="Rows (CSV, JSONL): the text.")
    ] = None,
    title_field: Annotated[
        str | None, typer.Option(show_default=False, help="Rows: the title.")
    ] = None,
    id_field: Annotated[
        str | None, typer.Option(show_default=False, help="Rows: what names a row.")
    ] = None,
    metadata_field: Annotated[
        list[str] | None,
        typer.Option(show_default=False, help="Rows: a field to filter on; repeatable."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(show_default=False, metavar="KEY=VALUE", help="Added to every document."),
    ] = None,
    tenant: Tenant = None,
    encoding: Annotated[
        str | None, typer.Option(show_default=False, help="Of text files; found out without it.")
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            show_default=False, help="Of the documents, e.g. german, or detect; else what they say."
        ),
    ] = None,
    text_search: Annotated[
        str | None,
        typer.Option(show_default=False, help="For a new collection: pg_textsearch ranks words."),
    ] = None,
    sync: Annotated[
        bool, typer.Option("--sync", help="Also remove documents whose source has gone.")
    ] = False,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="With --sync: a source may have become empty.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay in step (--sync) until Ctrl-C.")
    ] = False,
    table: Annotated[
        str | None,
        typer.Option(show_default=False, help="Stay in step with a table of your own."),
    ] = None,
    sql: Annotated[
        str | None,
        typer.Option(show_default=False, metavar="QUERY", help="The same with a query."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(show_default=False, help="Of its rows: NAME#ID. Without it: the table's."),
    ] = None,
    updated_field: Annotated[
        str | None,
        typer.Option(show_default=False, help="When a row was changed. Without it: updated_at."),
    ] = None,
    tenant_field: Annotated[
        str | None, typer.Option(show_default=False, help="Whose a row is.")
    ] = None,
    triggers: Annotated[
        bool, typer.Option("--triggers", help="Let triggers on the table note its changes.")
    ] = False,
    source_url: Annotated[
        str | None,
        typer.Option(show_default=False, help="The database of the table, if it is another."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Read every row again.")] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="Seconds between two looks at a table, with --watch.")
    ] = 10.0,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="URLs may lead into private networks.")
    ] = False,
    strict: Annotated[bool, typer.Option(help="Exit with 1 if any source failed.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Take in documents. What has not changed is skipped; what cannot be read is reported."""
    from pgrecall.load import LoadOptions

    options = LoadOptions(
        text_field=text_field,
        title_field=title_field,
        id_field=id_field,
        metadata_fields=tuple(metadata_field) if metadata_field else None,
        metadata=_pairs(metadata or []),
        tenant_id=tenant or "",
        encoding=encoding,
        language=language,
        allow_private=allow_private,
    )
    rows = _rows(options, table=table, query=sql, triggers=triggers, name=name)
    if (rows is None) == (not sources):
        raise typer.BadParameter(
            "name files, folders, globs or URLs, or a --table, or a query (--sql)."
        )
    if rows is not None:
        rows = replace(rows, updated_at=updated_field, tenant=tenant_field)
    sources = sources or []
    chunking = _chunking(chunk_tokens, chunk_overlap)
    with open_database(url) as db:
        target = db.create_collection(
            collection,
            embedder=embedder,
            chunking=chunking,
            text_search=text_search,
            exist_ok=True,
        )
        asked: dict[str, Any] = {"options": options, "allow_empty": allow_empty}
        if rows is not None:
            asked |= {"url": source_url}
        if watch:
            with _stoppable() as stop:
                followed = (
                    target.watch(sources, stop=stop, **asked)
                    if rows is None
                    else target.watch_table(rows, every=every, stop=stop, **asked)
                )
                _follow(followed, _shower(as_json=as_json_))
            return
        if rows is not None:
            with _resumable():
                report = target.sync_table(rows, full=full, **asked)
        else:
            shown = err().is_terminal and not quiet
            with _resumable(), _progress(sources, options, shown=shown) as progress:
                report = target.ingest(sources, progress=progress, sync=sync, **asked)
    _shower(as_json=as_json_)(report)
    nothing = report.failed and not (report.documents or report.removed)
    raise typer.Exit(1 if nothing or (strict and report.failed) else 0)


def _rows(
    options: LoadOptions, *, table: str | None, query: str | None, triggers: bool, name: str | None
) -> TableSource | None:
    """What --table or --sql asks for; None if neither does."""
    from pgrecall.ingest.tables import TableSource

    if table is None and query is None:
        return None
    return TableSource(
        table=table,
        query=query,
        name=name,
        triggers=triggers,
        id=options.id_field,
        text=options.text_field,
        title=options.title_field,
        metadata=options.metadata_fields,
    )


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


def _shower(*, as_json: bool) -> Callable[[IngestReport], None]:
    return (lambda report: print_json(dataclasses.asdict(report))) if as_json else _print


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


def _chunking(tokens: int | None, overlap: int | None) -> ChunkConfig | None:
    from pgrecall.chunking import ChunkConfig

    given = {"max_tokens": tokens, "overlap_tokens": overlap}
    named: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return ChunkConfig(**named) if named else None


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for item in given:
        key, separator, value = item.partition("=")
        if not (key and separator):
            raise typer.BadParameter(f"--metadata takes KEY=VALUE, not {item!r}.")
        pairs[key] = value
    return pairs


@contextmanager
def _resumable() -> Iterator[None]:
    """Gives Ctrl-C the words for somebody who fears for their documents."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.args = ("What was written is whole; the same command goes on where this one stopped.",)
        raise


@contextmanager
def _progress(
    sources: list[str], options: LoadOptions, *, shown: bool
) -> Iterator[Progress | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not shown:
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from pgrecall.load import discover
    from pgrecall.load.discover import is_url

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Bar(*columns, TimeRemainingColumn(), console=err(), transient=True) as bar:
        # Looking for files is quick beside reading them, so that a second look can be afforded.
        open_end = "-" in sources or any(map(is_url, sources))
        count = None if open_end else sum(1 for _ in discover(sources, options))
        task = bar.add_task("", total=count, rate="")

        def update(report: IngestReport) -> None:
            done = report.documents + len(report.failed)
            elapsed = bar.tasks[0].elapsed or 0
            rate = f"{done / elapsed:.0f} documents/s, {report.chunks} chunks" if elapsed else ""
            bar.update(task, completed=done, rate=rate)

        yield update


def _print(report: IngestReport) -> None:
    out().print(
        f"{report.new} new, {report.changed} changed, {report.unchanged} unchanged, {_gone(report)}"
        f"{len(report.failed)} failed; {report.chunks} chunks "
        f"({report.embedded} embedded, {report.reused} reused), {report.tokens} tokens, "
        f"{report.seconds:.1f} s"
    )
    for failure in report.failed[:LISTED]:
        complain(f"{failure.uri}: {failure.reason}")
    if len(report.failed) > LISTED:
        remark(f"... and {len(report.failed) - LISTED} more; --json lists them all")
    for uri, note in report.notes[:LISTED]:
        remark(f"{uri}: {note}")


def _gone(report: IngestReport) -> str:
    counts = {"renamed": report.renamed, "removed": report.removed}
    return "".join(f"{count} {name}, " for name, count in counts.items() if count)
