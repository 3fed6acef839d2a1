"""Collections in and out with their vectors: what ``export_chunks`` and ``import_chunks`` do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from os import PathLike
from pathlib import Path

import numpy as np

from pgrecall.errors import InvalidArgument
from pgrecall.exchange import EmbeddedDocument
from pgrecall.exchange.chroma import SIGN, read_chroma
from pgrecall.exchange.columns import Columns, Taken, pieces, single
from pgrecall.exchange.grouping import grouped
from pgrecall.exchange.reading import VECTORS, dense, read_folder, read_records
from pgrecall.exchange.records import OURS, Record, documents
from pgrecall.exchange.writing import Writer, open_writer
from pgrecall.flow import Flow, compute
from pgrecall.store import exporting, foreign, migrate
from pgrecall.store.collections import Generation
from pgrecall.types import Failure, IngestReport

#: Rows in which a vector is looked for, to know how long they are.
LOOK = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How a source that is not one of our own files is to be read; ours need none of it."""

    #: The fields (columns, payload keys) that hold id, content, metadata and vector; None: the usual ones.
    id_field: str | None = None
    content_field: str | None = None
    metadata_field: str | None = None
    vector_field: str | None = None
    #: Of a database; None: the only one with vectors.
    table: str | None = None
    #: Of Chroma, or of LangChain's first tables; None: the only one.
    collection: str | None = None
    #: The key of the metadata that names the document of a row, and that numbers the rows of a document.
    #: None: each row is a document of its own, under its id.
    group_by: str | None = None
    order_by: str | None = None
    #: The field or key of the metadata that says whose a row is, such as Pinecone's "namespace". Equal ids of
    #: two tenants are two documents.
    tenant_field: str | None = None
    #: Whose the documents become; None: whose they were, in our own files, else nobody's.
    tenant_id: str | None = None


@dataclass(slots=True, kw_only=True)
class ImportReport:
    """What an import did."""

    #: What the source was read as: "LlamaIndex", "Chroma", "pgrecall" ...
    layout: str
    #: Rows that were read.
    rows: int
    #: Field -> what it was taken for: "id", "content", "vector" or "metadata".
    taken: dict[str, str]
    #: What was left behind, with the reason -> in how many rows.
    left: dict[str, int]
    #: What became of the documents; rows that could not be taken are in ``failed``.
    ingest: IngestReport


@dataclass(slots=True, kw_only=True)
class ExportReport:
    """What an export wrote."""

    documents: int = 0
    chunks: int = 0
    #: Documents that are in no file: a row is a chunk, and they have none, since they have no text.
    without_chunks: int = 0
    files: list[Path] = field(default_factory=list)


class VectorSource:
    """A file, folder or database with vectors, opened; it is read once.

    ``source`` is a .npy (with a .jsonl beside it), .jsonl, .json, .parquet or .csv file, a folder of .parquet
    files or of a Chroma client, or the URL of a Postgres. Raises InvalidArgument for what cannot be told apart,
    UnreadableSource, MissingExtra, DatabaseUnavailable.
    """

    def __init__(self, source: str | PathLike[str], options: ImportOptions | None = None) -> None:
        self.options = options or ImportOptions()
        self.taken = Taken()
        self._dimensions: int | None = None
        #: Column of a table -> why it is not read; None: the source is no table.
        self._left_columns: dict[str, str] | None = None
        self.layout, rows = self._open(source)
        first: list[Record | Failure] = []
        for row in rows:
            first.append(row)
            self._dimensions = self._dimensions or _length(row, self.options.vector_field)
            if self._dimensions or len(first) >= LOOK:
                break
        if any(isinstance(row, Record) and row.fields.keys() >= OURS for row in first):
            self.layout = "pgrecall"
        self._rows = chain(first, rows)

    @property
    def dimensions(self) -> int:
        """Of its vectors; raises InvalidArgument if there are none."""
        if self._dimensions is None:
            raise InvalidArgument(
                "No vector was found in the source, or several in each row: name the field that holds it "
                "(--vector-field)."
            )
        return self._dimensions

    def _open(self, source: str | PathLike[str]) -> tuple[str, Iterator[Record | Failure]]:
        options = self.options
        address = str(source)
        if address.startswith(("postgres://", "postgresql://", "postgresql+")):
            url = migrate.libpq_url(address)
            table = foreign.find(
                url, options.table, vector=options.vector_field, collection=options.collection
            )
            self._dimensions = table.dimensions
            self._left_columns = table.left
            return table.layout, foreign.rows(url, table)
        path = Path(source)
        if (path / SIGN).is_file():
            return "Chroma", read_chroma(path, options.collection)
        if path.is_dir():
            return "parquet", read_folder(path)
        return path.suffix.removeprefix("."), read_records(path)

    def documents(self) -> Iterator[EmbeddedDocument | Failure]:
        """What is in it. Can be called once."""
        tenant_id = self.options.tenant_id
        for item in self._documents():
            if isinstance(item, EmbeddedDocument) and tenant_id is not None:
                yield replace(item, tenant_id=tenant_id)
            else:
                yield item

    def _documents(self) -> Iterator[EmbeddedDocument | Failure]:
        if self.layout == "pgrecall":
            return documents(self._counted())
        options = self.options
        columns = Columns(
            id=options.id_field,
            content=options.content_field,
            metadata=options.metadata_field,
            # That of a table has been found already.
            vector=options.vector_field if self._left_columns is None else None,
            tenant=options.tenant_field,
        )
        found = pieces(self._rows, columns, self.taken)
        if options.group_by is None:
            return single(found)
        return grouped(found, options.group_by, options.order_by, self.taken)

    def _counted(self) -> Iterator[Record | Failure]:
        for row in self._rows:
            self.taken.rows += 1
            yield row

    def report(self, ingest: IngestReport) -> ImportReport:
        """What was taken, and what was left behind."""
        left = dict(self.taken.left)
        for name, why in (self._left_columns or {}).items():
            left[f"{name} ({why})"] = self.taken.rows
        return ImportReport(
            layout=self.layout,
            rows=self.taken.rows,
            taken=dict(self.taken.taken),
            left=left,
            ingest=ingest,
        )


def _length(row: Record | Failure, field: str | None) -> int | None:
    if isinstance(row, Failure):
        return None
    for name in (field, *VECTORS):
        able = dense(row.fields.get(name)) if name else {}
        value = able.get(field or "", next(iter(able.values())) if len(able) == 1 else None)
        if isinstance(value, list | np.ndarray) and len(value):
            return len(value)
    return None


def export(generation: Generation, path: str | PathLike[str]) -> Flow[ExportReport]:
    """Write the collection into files; they have their names when they are whole."""
    writer = yield from compute(partial(open_writer, Path(path), generation.dimensions))
    try:
        report = yield from _pages(generation, writer)
        report.files = yield from compute(writer.finish)
    except BaseException:
        writer.abandon()
        raise
    return report


def _pages(generation: Generation, writer: Writer) -> Flow[ExportReport]:
    report = ExportReport()
    after = None
    while (page := (yield from exporting.page(generation, after))) is not None:
        yield from compute(partial(writer.write, page.documents))
        report.documents += len(page.documents)
        report.chunks += sum(len(document.chunks) for document in page.documents)
        report.without_chunks += page.bare
        after = page.last
    return report
