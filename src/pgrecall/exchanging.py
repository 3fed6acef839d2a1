"""What a collection can do with vectors that were made elsewhere, and to hand out its own."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike

from pgrecall.embed.declared import DeclaredEmbedder
from pgrecall.exchange import EmbeddedDocument
from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest import Ingestion, Lane, Progress, given
from pgrecall.store.session import AsyncSession, Session
from pgrecall.target import Target, follow
from pgrecall.transfer import ExportReport, ImportReport, VectorSource, export
from pgrecall.types import Failure, IngestReport


class _Exchange:
    """What both flavours prepare without asking the database."""

    _target: Target

    def _given(self, progress: Progress | None) -> Ingestion:
        # Without the embedder itself, which may not be at hand here: nothing is embedded.
        target = self._target
        generation = target.generation
        embedder = DeclaredEmbedder(generation.embedder, generation.dimensions)
        return Ingestion(
            lane=Lane(generation, embedder), open=target.embedder_of, progress=progress
        )

    def _export(self, path: str | PathLike[str]) -> Flow[ExportReport]:
        return (yield from export((yield from follow(self._target)), path))


class Exchanging(_Exchange):
    """The part of ``Collection``."""

    _session: Session

    def add_chunks(
        self,
        documents: EmbeddedDocument | Iterable[EmbeddedDocument | Failure],
        *,
        progress: Progress | None = None,
    ) -> IngestReport:
        """Take in documents with chunks and vectors that this collection's embedder made elsewhere.

        As with ``ingest``, a document is swapped whole, and skipped if it is as it was. One whose chunks
        or vectors cannot be used (dimensions, NaN, zeros, an id that came before) is reported in
        ``failed``, and stops nothing; a Failure among the documents is reported too.

        Raises InvalidArgument if the collection has changed to another embedder.
        """
        return given.add(self._session, self._given(progress), _embedded(documents))

    def import_chunks(
        self, source: VectorSource, *, progress: Progress | None = None
    ) -> ImportReport:
        """Take in what another store or a file of ``export_chunks`` holds, with its vectors.

        A row that cannot be used is reported, and stops nothing. Raises as ``add_chunks``.
        """
        return source.report(self.add_chunks(source.documents(), progress=progress))

    def export_chunks(self, path: str | PathLike[str]) -> ExportReport:
        """Write all documents with chunks and vectors: .npy with a .jsonl beside it, .parquet, or .csv.

        Each document is as it was at one moment of the export; those without text have no chunks, and are only
        counted (``without_chunks``). Raises InvalidArgument for another suffix,
        MissingExtra for Parquet.
        """
        return run(self._export(path), self._session)


class AsyncExchanging(_Exchange):
    """The part of ``AsyncCollection``."""

    _session: AsyncSession

    async def add_chunks(
        self,
        documents: EmbeddedDocument | Iterable[EmbeddedDocument | Failure],
        *,
        progress: Progress | None = None,
    ) -> IngestReport:
        """As ``Collection.add_chunks``."""
        job = self._given(progress)
        return await given.add_async(self._session, job, _embedded(documents))

    async def import_chunks(
        self, source: VectorSource, *, progress: Progress | None = None
    ) -> ImportReport:
        """As ``Collection.import_chunks``."""
        return source.report(await self.add_chunks(source.documents(), progress=progress))

    async def export_chunks(self, path: str | PathLike[str]) -> ExportReport:
        """As ``Collection.export_chunks``."""
        return await run_async(self._export(path), self._session)


def _embedded(
    documents: EmbeddedDocument | Iterable[EmbeddedDocument | Failure],
) -> Iterable[EmbeddedDocument | Failure]:
    return [documents] if isinstance(documents, EmbeddedDocument) else documents
