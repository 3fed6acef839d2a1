"""One run of an ingestion: what it writes with, what it has done, and what goes through it together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from uuid import UUID

from pgrecall import errors
from pgrecall.chunking import ChunkConfig
from pgrecall.embed.base import Embedder
from pgrecall.store.collections import Generation
from pgrecall.store.documents import Former, Prepared
from pgrecall.types import Document, Failure, IngestReport

#: Documents whose hashes are compared in one round trip.
LEDGER_BATCH = 64
#: Chunks that are embedded, and then written, together. A document is never divided between
#: transactions, so a long one makes a batch of its own.
CHUNK_BATCH = 512
#: Characters of text in one such batch, which bounds memory whatever the chunks' size.
TEXT_BATCH = 8_000_000
#: Groups that are written at the same time, each on a connection of its own.
WRITERS = 2
#: Batches in a row that may fail to be embedded before the run gives up on the embedder.
PATIENCE = 3

Progress = Callable[[IngestReport], None]


@dataclass(slots=True, kw_only=True)
class Ingestion:
    """One run into one generation: what it writes with, and what it has done so far."""

    generation: Generation
    embedder: Embedder
    #: Under which sources that cannot be read are kept in the ledger.
    tenant_id: str = ""
    progress: Progress | None = None
    report: IngestReport = field(default_factory=IngestReport)
    #: What could not be read, by uri, and why: whether it has gone, nobody knows.
    unread: dict[str, str] = field(default_factory=dict)
    #: Stored documents that are as they were, by the word of the server that has their pages.
    unsent: list[UUID] = field(default_factory=list)
    #: Stored documents whose files have gone, by SHA-256 of their text; filled by runs that stay in step.
    gone: dict[bytes, Former] = field(default_factory=dict)
    #: Those of them that are to be stored under another name, and those that are by now.
    moving: set[UUID] = field(default_factory=set)
    moved: set[UUID] = field(default_factory=set)
    _failing: int = 0
    _seen: dict[int, bytes] = field(default_factory=dict)

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

    def met(self, prepared: Prepared) -> bytes | None:
        """The content hash under which this run met the document before; None if it did not."""
        key = prepared.document_id.int
        before = self._seen.get(key)
        self._seen.setdefault(key, prepared.content_hash[:8])
        return before

    def count_unsent(self) -> None:
        """Count the documents that were not sent, once nothing else counts."""
        for document_id in self.unsent:
            self.report.unchanged += document_id.int not in self._seen
            self._seen.setdefault(document_id.int, b"")
        self.unsent.clear()

    def has_met(self, document_id: UUID) -> bool:
        """Whether this run met the document."""
        return document_id.int in self._seen

    def former(self, prepared: Prepared) -> Former | None:
        """What the document was before its file was renamed; each former document is taken once."""
        if not self.gone:
            return None
        text = prepared.document.text.encode("utf-8", "replace")
        former = self.gone.pop(sha256(text).digest(), None)
        if former is not None:
            self.moving.add(former.document_id)
        return former

    def embedded(self, failure: errors.EmbeddingError | None) -> None:
        """Lose patience with an embedder that fails batch after batch."""
        self._failing = self._failing + 1 if failure else 0
        if failure is not None and self._failing >= PATIENCE:
            raise failure

    def written(self, group: Sequence[Prepared]) -> None:
        """Count documents that are in. One thread calls it, whoever wrote them."""
        report = self.report
        for item in group:
            report.new += not item.known and not item.former
            report.renamed += item.former is not None
            report.changed += item.known
            if item.former is not None:
                self.moved.add(item.former.document_id)
            report.chunks += len(item.chunks)
            report.notes.extend((item.document.uri, note) for note in item.document.notes)
        report.reused = max(0, report.chunks - report.embedded)
        self.tell()


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
