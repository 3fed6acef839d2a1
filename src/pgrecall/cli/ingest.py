"""``pgrecall ingest`` and ``pgrecall delete``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pgrecall.cli import storage as cli_storage
from pgrecall.cli.options import AsJson, Collection, Tenant, Url, open_database
from pgrecall.cli.output import as_json, complain, err, money, out, print_json, remark
from pgrecall.cli.plan import print_plan

if TYPE_CHECKING:
    from pgrecall.chunking import ChunkConfig
    from pgrecall.collection import Collection as Target
    from pgrecall.collection import Running
    from pgrecall.database import Described
    from pgrecall.ingest import Progress
    from pgrecall.load import LoadOptions
    from pgrecall.types import EnqueueReport, Failure, IngestReport

#: Failures that are listed by name; --json has them all.
LISTED = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(ingest)
    app.command()(delete)


def ingest(
    sources: Annotated[
        list[str], typer.Argument(help='Files, folders, globs, or "-" for standard input.')
    ],
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
    queue: Annotated[
        bool, typer.Option("--queue", help="Only read here, and let `pgrecall worker` do the rest.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would be done, and what it would cost.")
    ] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(show_default=False, min=0, help="Embed no more tokens than that."),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(show_default=False, min=0, help="Spend no more US dollars, by list price."),
    ] = None,
    storage: cli_storage.Type = None,
    metric: cli_storage.Metric = None,
    prefix: cli_storage.Prefix = None,
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
    )
    wanted: Described = {
        "embedder": embedder,
        "chunking": _chunking(chunk_tokens, chunk_overlap),
        "text_search": text_search,
        "storage": cli_storage.storage(storage, metric, prefix),
    }
    running: Running = {"max_tokens": max_tokens, "max_cost": max_cost}
    shown = err().is_terminal and not quiet
    with open_database(url) as db:
        if plan:
            print_plan(
                db.planned(collection, **wanted).plan(sources, options=options, **running),
                as_json_=as_json_,
            )
            return
        target = db.create_collection(collection, **wanted, exist_ok=True)
        if queue:
            handed_over = target.enqueue(sources, options=options)
            if not db.queue_status().workers:
                remark("No worker runs yet: `pgrecall worker` takes them in.")
            _end_queued(handed_over, as_json_, strict=strict)
        with _resumable(), _progress(sources, options, target, shown=shown) as progress:
            running["progress"] = progress
            report = target.ingest(sources, options=options, **running)
    if as_json_:
        print_json(as_json(report))
    else:
        _print(report)
    nothing = report.failed and not report.documents
    raise typer.Exit(1 if nothing or report.left or (strict and report.failed) else 0)


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
    sources: list[str], options: LoadOptions, target: Target, *, shown: bool
) -> Iterator[Progress | None]:
    """A line for each stage on a terminal, nothing elsewhere."""
    if not shown:
        yield None
        return
    from pgrecall.cli.progress import stages
    from pgrecall.load import discover

    def count() -> int | None:
        # Looking for files is quick beside reading them, so that a second look can be afforded.
        return None if "-" in sources else sum(1 for _ in discover(sources, options))

    with stages(count, target.index_build) as progress:
        yield progress


def _end_queued(report: EnqueueReport, as_json_: bool, *, strict: bool) -> NoReturn:
    if as_json_:
        print_json(as_json(report))
    else:
        out().print(
            f"{report.queued} queued, {report.unchanged} unchanged, {len(report.failed)} failed"
        )
        _print_failures(report.failed)
    nothing = report.failed and not report.queued + report.unchanged
    raise typer.Exit(1 if nothing or (strict and report.failed) else 0)


def _print_failures(failed: Sequence[Failure]) -> None:
    for failure in failed[:LISTED]:
        complain(f"{failure.uri}: {failure.reason}")
    if len(failed) > LISTED:
        remark(f"... and {len(failed) - LISTED} more; --json lists them all")


def _print(report: IngestReport) -> None:
    out().print(
        f"{report.new} new, {report.changed} changed, {report.unchanged} unchanged, "
        f"{len(report.failed)} failed; {report.chunks} chunks "
        f"({report.embedded} embedded, {report.reused} reused), {report.tokens} tokens"
        f"{', ' + money(report.cost) if report.cost else ''}, {report.seconds:.1f} s"
    )
    if report.left:
        complain(
            f"The budget was used up: {report.left:,} documents are left, of {report.left_tokens:,} tokens. "
            "The same command goes on with them."
        )
    _print_failures(report.failed)
    for uri, note in report.notes[:LISTED]:
        remark(f"{uri}: {note}")
