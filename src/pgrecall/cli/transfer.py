"""``pgrecall export`` and ``pgrecall import``: collections with their vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from pgrecall.cli.groups import grouped
from pgrecall.cli.options import AsJson, Collection, Tenant, Url, open_database
from pgrecall.cli.output import as_json, out, print_failures, print_json, remark

if TYPE_CHECKING:
    from pgrecall.collection import Collection as Target
    from pgrecall.database import Database
    from pgrecall.transfer import ImportReport, VectorSource


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(export)
    app.command("import")(grouped(import_))


def _option(text: str, *names: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(*names, show_default=False, help=text)
    return option


@dataclass(frozen=True)
class Layout:
    """How a source of somebody else's is laid out."""

    table: Annotated[str | None, _option("Of a database: the table, as NAME or SCHEMA.NAME.")] = (
        None
    )
    source_collection: Annotated[
        str | None, _option("Of Chroma, or of LangChain's langchain_pg_embedding.")
    ] = None
    id_field: Annotated[str | None, _option("Column, field or key that holds the id.")] = None
    content_field: Annotated[str | None, _option("The one that holds the text.")] = None
    metadata_field: Annotated[str | None, _option("The one that holds the metadata.")] = None
    vector_field: Annotated[str | None, _option("The one that holds the vector.")] = None
    group_by: Annotated[
        str | None, _option("Key of the metadata that names the document of a row.")
    ] = None
    order_by: Annotated[
        str | None, _option("Key of the metadata that numbers the rows of a document.")
    ] = None
    tenant_field: Annotated[
        str | None, _option('Field or key that says whose a row is, such as "namespace".')
    ] = None


def export(
    name: Annotated[str, typer.Argument(help="The collection.")],
    file: Annotated[
        str, typer.Argument(help="NAME.npy (with NAME.jsonl beside it), .parquet or .csv.")
    ],
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Write a collection into files, with its vectors."""
    with open_database(url) as db:
        target = db.collection(name)
        report = target.export_chunks(file)
        embedder = target.embedder_name
    if as_json_:
        print_json(as_json(report))
        return
    files = " and ".join(map(str, report.files))
    out().print(f"{report.documents} documents, {report.chunks} chunks in {files}", markup=False)
    if report.without_chunks:
        remark(
            f"{report.without_chunks} documents have no text, and so no chunks that could be written: the "
            "files go without them."
        )
    remark(f"Back again: pgrecall import {report.files[0]} -c NAME --embedder '{embedder}'")


def import_(
    source: Annotated[
        str,
        typer.Argument(
            help="A file (.npy, .jsonl, .json, .parquet, .csv), a folder (Parquet, Chroma), or postgresql://..."
        ),
    ],
    layout: Layout,
    collection: Collection = "default",
    embedder: Annotated[
        str | None,
        _option(
            "What made the vectors, for a new collection: openai:MODEL ..., or given:NAME if questions "
            "come as embeddings."
        ),
    ] = None,
    tenant: Tenant = None,
    strict: Annotated[bool, typer.Option(help="Exit with 1 if any row failed.")] = False,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Take in what another store or a file holds, with its vectors: nothing is embedded."""
    from pgrecall.transfer import ImportOptions, VectorSource

    options = ImportOptions(
        table=layout.table,
        collection=layout.source_collection,
        id_field=layout.id_field,
        content_field=layout.content_field,
        metadata_field=layout.metadata_field,
        vector_field=layout.vector_field,
        group_by=layout.group_by,
        order_by=layout.order_by,
        tenant_field=layout.tenant_field,
        tenant_id=tenant,
    )
    with open_database(url) as db:
        opened = VectorSource(source, options)
        report = _target(db, collection, embedder, opened).import_chunks(opened)
    if as_json_:
        print_json(as_json(report))
    else:
        _print(report)
    failed = report.ingest.failed
    raise typer.Exit(1 if failed and (strict or not report.ingest.documents) else 0)


def _target(db: Database, name: str, embedder: str | None, source: VectorSource) -> Target:
    from pgrecall.embed import declare_embedder
    from pgrecall.errors import CollectionNotFound, InvalidArgument

    if embedder is not None:
        declared = declare_embedder(embedder, source.dimensions)
        return db.create_collection(name, embedder=declared, exist_ok=True)
    try:
        return db.collection(name)
    except CollectionNotFound as exc:
        raise InvalidArgument(
            f'There is no collection "{name}" yet: say what made these vectors of {source.dimensions} '
            "dimensions (--embedder openai:text-embedding-3-small, say), or --embedder given:NAME if "
            "questions will come as embeddings."
        ) from exc


def _print(report: ImportReport) -> None:
    done = report.ingest
    out().print(
        f"{report.rows} rows read as {report.layout}: {done.new} new, {done.changed} changed, "
        f"{done.unchanged} unchanged, {len(done.failed)} failed; {done.chunks} chunks, "
        f"{done.seconds:.1f} s",
        markup=False,
    )
    for name, purpose in sorted(report.taken.items(), key=lambda item: item[1]):
        out().print(f"taken: {name} as {purpose}", markup=False)
    for name, rows in sorted(report.left.items()):
        out().print(f"left behind: {name} in {rows} rows", markup=False)
    print_failures(done.failed)
