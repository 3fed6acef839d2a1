"""The write river: sources in, searchable documents out.

    read --> changed? --> chunk --> vector known? --> embed --> write

A run is a chain of iterators, each a stage; between two stages stands a bounded buffer with a thread of
its own behind it (a task, when awaited), so that reading, embedding and writing overlap while memory
stays flat. Each rule is a function or a flow here, and both chains are made of the same ones.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from uuid import UUID

from pgrecall import errors
from pgrecall.chunking import ChunkConfig, split
from pgrecall.embed.base import Embedder
from pgrecall.embed.steps import embed_documents
from pgrecall.flow import Flow, run, run_async
from pgrecall.load import LoadOptions, read
from pgrecall.load.discover import StrPath
from pgrecall.load.markup import markup_of
from pgrecall.pipeline import ahead, ahead_async, from_thread
from pgrecall.store import documents, indexes
from pgrecall.store.collections import Generation
from pgrecall.store.documents import Prepared
from pgrecall.store.session import AsyncSession, Session
from pgrecall.store.vectors import encode_all
from pgrecall.types import Document, Failure, IngestReport

#: Documents whose hashes are compared in one round trip.
LEDGER_BATCH = 64
#: Chunks that are embedded, and then written, together. A document is never divided between
#: transactions, so a long one makes a batch of its own.
CHUNK_BATCH = 512
#: Characters of text in one such batch, which bounds memory whatever the chunks' size.
TEXT_BATCH = 8_000_000
#: Why a document is left out whose uri was already met; which of the two is meant, nobody knows.
TWICE = "An earlier document of this run has the same uri; give each its own (rows: id_field)."
#: Batches in a row that may fail to be embedded before the run gives up on the embedder.
PATIENCE = 3

Progress = Callable[[IngestReport], None]


@dataclass(slots=True, kw_only=True)
class Ingestion:
    """One run into one generation: what it writes with, and what it has done so far."""

    generation: Generation
    embedder: Embedder
    progress: Progress | None = None
    report: IngestReport = field(default_factory=IngestReport)
    _failing: int = 0
    _seen: set[int] = field(default_factory=set)

    @property
    def chunking(self) -> ChunkConfig:
        """How the generation cuts its documents."""
        return ChunkConfig.from_dict(self.generation.chunking)

    def tell(self) -> None:
        """Report progress to whoever wants to know."""
        if self.progress is not None:
            self.progress(self.report)

    def fail(self, uri: str, reason: str) -> None:
        """Count a document that could not be taken in."""
        self.report.failed.append(Failure(uri=uri, reason=reason))

    def meets(self, document_id: UUID) -> bool:
        """Whether a document is met for the first time in this run."""
        before = len(self._seen)
        self._seen.add(document_id.int)
        return len(self._seen) > before

    def embedded(self, failure: errors.EmbeddingError | None) -> None:
        """Lose patience with an embedder that fails batch after batch."""
        self._failing = self._failing + 1 if failure else 0
        if failure is not None and self._failing >= PATIENCE:
            raise failure


def batched(items: Iterable[Document | Failure]) -> Iterator[list[Document | Failure]]:
    """Documents for one look at the ledger: at most LEDGER_BATCH, at most TEXT_BATCH characters."""
    batch: list[Document | Failure] = []
    size = 0
    for item in items:
        batch.append(item)
        size += len(item.text) if isinstance(item, Document) else 0
        if len(batch) >= LEDGER_BATCH or size >= TEXT_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def select(job: Ingestion, batch: Sequence[Document | Failure]) -> Flow[list[Prepared]]:
    """Those of the batch that are new or changed, not yet chunked. Failures go to the ledger."""
    found: dict[documents.Key, Prepared] = {}
    for item in batch:
        if isinstance(item, Failure):
            job.fail(item.uri, item.reason)
            yield from documents.record_failure(job.generation, item)
            continue
        prepared = _identified(job.generation, item)
        if job.meets(prepared.document_id):
            found[prepared.key] = prepared
        else:
            job.fail(item.uri, TWICE)
    ledger = yield from documents.ledger(list(found))
    changed = []
    for key, prepared in found.items():
        stored = ledger.get(key)
        prepared.known = stored is not None and stored.content_hash is not None
        if stored is None or stored.content_hash != prepared.content_hash:
            changed.append(prepared)
            continue
        job.report.unchanged += 1
        if stored.error is not None:
            yield from documents.forget_failure(key)
    job.tell()
    return changed


def _identified(generation: Generation, document: Document) -> Prepared:
    markup = markup_of(document)
    return Prepared(
        document=document,
        document_id=documents.document_id(generation.collection, document),
        content_hash=documents.document_hash(document, markup),
        markup=markup,
    )


def chunk(job: Ingestion, prepared: Prepared) -> None:
    """Cut a document into chunks and name each by the hash of what will be embedded."""
    document = prepared.document
    prepared.chunks = split(
        document.text,
        job.chunking,
        tokenizer=job.embedder.tokenizer,
        markup=prepared.markup,
        title=document.title,
    )
    prepared.hashes = [documents.chunk_hash(piece) for piece in prepared.chunks]


@dataclass(slots=True)
class Group:
    """Whole documents for one embedding pass and one transaction."""

    items: list[Prepared] = field(default_factory=list)
    chunks: int = 0
    size: int = 0

    def takes(self, item: Prepared) -> bool:
        """Whether the document still fits; the first always does."""
        return not self.items or (
            self.chunks + len(item.chunks) <= CHUNK_BATCH
            and self.size + len(item.document.text) <= TEXT_BATCH
        )

    def add(self, item: Prepared) -> None:
        """Take the document in."""
        self.items.append(item)
        self.chunks += len(item.chunks)
        self.size += len(item.document.text)


def embed(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Give every chunk of the group its vector.

    Returns the documents that are complete. Those that the embedder refuses are reported, and keep
    their old versions. Raises EmbeddingError when group after group fails.
    """
    failure = yield from _embed(job, group)
    done = list(group) if failure is None else (yield from _one_by_one(job, group, failure))
    # A text that is refused says nothing about the embedder.
    job.embedded(None if done or isinstance(failure, errors.InvalidArgument) else failure)
    return done


Refusal = errors.EmbeddingError | errors.InvalidArgument


def _one_by_one(
    job: Ingestion, group: Sequence[Prepared], failure: Refusal
) -> Flow[list[Prepared]]:
    """Find out which documents the embedder refuses.

    One that fails for the first few is down, and is not asked for the rest.
    """
    done: list[Prepared] = []
    fails = 0
    for item in group:
        asked = len(group) > 1 and fails < PATIENCE
        refusal = (yield from _embed(job, [item])) if asked else failure
        if refusal is None:
            done.append(item)
            continue
        yield from give_up(job, [item], str(refusal))
        if isinstance(refusal, errors.EmbeddingError) and not done:
            fails += 1
    return done


def _embed(job: Ingestion, group: Sequence[Prepared]) -> Flow[Refusal | None]:
    """Vectors for documents: stored ones where the text is known, else new ones, or why there are none."""
    texts = {
        key: piece for item in group for key, piece in zip(item.hashes, item.chunks, strict=True)
    }
    vectors = yield from documents.stored_vectors(job.generation, texts)
    missing = [key for key in texts if key not in vectors]
    try:
        fresh = yield from embed_documents(
            job.embedder, [texts[key].embedded_text for key in missing]
        )
        vectors.update(zip(missing, encode_all(fresh), strict=True))
    except errors.CredentialsMissing:
        raise
    except (errors.EmbeddingError, errors.InvalidArgument) as exc:
        return exc
    for item in group:
        item.vectors = [vectors[key] for key in item.hashes]
    job.report.embedded += len(missing)
    job.report.tokens += sum(texts[key].tokens for key in missing)
    return None


def write(job: Ingestion, group: Sequence[Prepared]) -> Flow[None]:
    """Swap the group in. If the database refuses it, find out which document it refuses."""
    try:
        yield from documents.write(job.generation, group)
    except errors.DatabaseUnavailable:
        raise
    except (errors.DatabaseError, errors.InvalidArgument) as exc:
        if len(group) == 1:
            yield from give_up(job, group, str(exc))
            return
        for item in group:
            yield from write(job, [item])
        return
    for item in group:
        job.report.new += not item.known
        job.report.changed += item.known
        job.report.chunks += len(item.chunks)
        job.report.notes.extend((item.document.uri, note) for note in item.document.notes)
    job.report.reused = max(0, job.report.chunks - job.report.embedded)
    job.tell()


def give_up(job: Ingestion, group: Sequence[Prepared], reason: str) -> Flow[None]:
    """Report documents as failed, and keep that in the ledger."""
    for item in group:
        job.fail(item.document.uri, reason)
        failure = Failure(uri=item.document.uri, reason=reason)
        yield from documents.record_failure(job.generation, failure, item.document.tenant_id)


Sources = Iterable[StrPath | Document]


def ingest(
    session: Session, job: Ingestion, sources: Sources, options: LoadOptions
) -> IngestReport:
    """Take the sources in. Raises EmbeddingError or DatabaseUnavailable when going on is no use."""
    began = time.perf_counter()
    groups = ahead(_groups(session, job, sources, options))
    # Closed at once if something fails: an exception that is kept would keep the threads too.
    with closing(ahead(_embedded(session, job, groups))) as embedded:
        for group in embedded:
            run(write(job, group), session)
    run(indexes.settle(job.generation, written=job.report.chunks), session)
    job.report.seconds = time.perf_counter() - began
    return job.report


def _groups(
    session: Session, job: Ingestion, sources: Sources, options: LoadOptions
) -> Iterator[Group]:
    group = Group()
    for batch in ahead(batched(read(sources, options))):
        for item in run(select(job, batch), session):
            chunk(job, item)
            if not group.takes(item):
                yield group
                group = Group()
            group.add(item)
    if group.items:
        yield group


def _embedded(
    session: Session, job: Ingestion, groups: Generator[Group, None, None]
) -> Iterator[list[Prepared]]:
    with closing(groups):
        for group in groups:
            yield run(embed(job, group.items), session)


async def ingest_async(
    session: AsyncSession, job: Ingestion, sources: Sources, options: LoadOptions
) -> IngestReport:
    """As ``ingest``, awaiting."""
    began = time.perf_counter()
    groups = ahead_async(_groups_async(session, job, sources, options))
    async with aclosing(ahead_async(_embedded_async(session, job, groups))) as embedded:
        async for group in embedded:
            await run_async(write(job, group), session)
    await run_async(indexes.settle(job.generation, written=job.report.chunks), session)
    job.report.seconds = time.perf_counter() - began
    return job.report


async def _groups_async(
    session: AsyncSession, job: Ingestion, sources: Sources, options: LoadOptions
) -> AsyncGenerator[Group, None]:
    group = Group()
    async with aclosing(ahead_async(from_thread(batched(read(sources, options))))) as batches:
        async for batch in batches:
            for item in await run_async(select(job, batch), session):
                await asyncio.to_thread(chunk, job, item)
                if not group.takes(item):
                    yield group
                    group = Group()
                group.add(item)
    if group.items:
        yield group


async def _embedded_async(
    session: AsyncSession, job: Ingestion, groups: AsyncGenerator[Group, None]
) -> AsyncGenerator[list[Prepared], None]:
    async with aclosing(groups):
        async for group in groups:
            yield await run_async(embed(job, group.items), session)
