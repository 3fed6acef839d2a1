"""One run of an ingestion: what it writes with, what it has done, and what goes through it together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from threading import Lock
from uuid import UUID

from pgrecall import errors, telemetry
from pgrecall.chunking import ChunkConfig
from pgrecall.embed import reopen_embedder
from pgrecall.embed.base import Embedder, concurrency_of
from pgrecall.flow import Flow
from pgrecall.ingest.budget import Budget, Taken
from pgrecall.ingest.vectors import Known, Vectors
from pgrecall.longtext import length_of, parts_of
from pgrecall.store.collections import Generation
from pgrecall.store.identity import Key
from pgrecall.store.prepared import LONG, Former, Prepared
from pgrecall.types import Failure, IngestReport

logger = logging.getLogger(__name__)

#: Chunks that are embedded, and then written, together. A document is never divided between
#: transactions, so a long one makes a batch of its own.
CHUNK_BATCH = LONG
#: Characters of text in one such batch, which bounds memory whatever the chunks' size.
TEXT_BATCH = 8_000_000
#: Groups that are written at the same time, each on a connection of its own.
WRITERS = 2
#: Groups that are embedded at the same time, at most: each is shared out among several requests, and all of
#: them are in memory, and lost to a kill.
EMBEDDED_AT_ONCE = 4
#: Batches in a row that may fail to be embedded before the run gives up on the embedder.
PATIENCE = 3

Progress = Callable[[IngestReport], None]


@dataclass(frozen=True, slots=True)
class Lane:
    """A generation that is written to, and the embedder that makes its vectors."""

    generation: Generation
    embedder: Embedder

    @property
    def chunking(self) -> ChunkConfig:
        """How the generation cuts its documents."""
        return ChunkConfig.from_dict(self.generation.chunking)


@dataclass(slots=True, kw_only=True)
class Intake:
    """Documents on their way to a collection: which were met, and what became of them."""

    #: Under which sources that cannot be read are kept in the ledger.
    tenant_id: str = ""
    progress: Progress | None = None
    #: Only look: nothing is embedded, nothing written, not even a failure.
    dry: bool = False
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
    _seen: dict[int, bytes] = field(default_factory=dict)

    @property
    def generation(self) -> Generation:
        """The generation that is active, as far as is known."""
        raise NotImplementedError

    def tell(self) -> None:
        """Report progress to whoever wants to know."""
        if self.progress is not None:
            self.progress(self.report)

    def fail(self, uri: str, reason: str) -> None:
        """Count a document that could not be taken in."""
        self.report.failed.append(Failure(uri=uri, reason=reason))
        self.count("failed", 1)
        logger.info("%s: %s", uri, reason, extra={"uri": uri, "reason": reason})

    def note(self, source: str, note: str) -> None:
        """Say something of a source; before what is said of single documents, which may be much."""
        self.report.notes.insert(0, (source, note))

    def met(self, prepared: Prepared) -> bytes | None:
        """The content hash under which this run met the document before; None if it did not."""
        key = prepared.document_id.int
        before = self._seen.get(key)
        self._seen.setdefault(key, prepared.content_hash[:8])
        return before

    def count_unsent(self) -> None:
        """Count the documents that were not sent, once nothing else counts."""
        for document_id in self.unsent:
            if document_id.int not in self._seen:
                self._seen[document_id.int] = b""
                self.skipped()
        self.unsent.clear()

    def has_met(self, document_id: UUID) -> bool:
        """Whether this run met the document."""
        return document_id.int in self._seen

    def former(self, prepared: Prepared) -> Former | None:
        """What the document was before its file was renamed; each former document is taken once."""
        if not self.gone:
            return None
        digest = sha256()
        for part in parts_of(prepared.document):
            digest.update(part.encode("utf-8", "replace"))
        former = self.gone.pop(digest.digest(), None)
        if former is not None:
            self.moving.add(former.document_id)
        return former

    def removed(self, documents: int) -> None:
        """Count documents that have gone."""
        self.report.removed += documents
        self.count("removed", documents)
        self.tell()

    def skipped(self) -> None:
        """Count a document that is as it was."""
        self.report.unchanged += 1
        self.count("unchanged", 1)

    @property
    def labels(self) -> telemetry.Attributes:
        """What tells the figures of one collection from another's."""
        return {"pgrecall.collection": self.generation.collection}

    def count(self, outcome: str, documents: int) -> None:
        """Tell telemetry what became of documents."""
        if documents and not self.dry:
            labels = {**self.labels, "pgrecall.outcome": outcome}
            telemetry.record("pgrecall.ingest.documents", documents, labels)


@dataclass(slots=True, kw_only=True)
class HandOver(Intake):
    """Documents that a worker will take in: no embedder is needed for that, and no key."""

    into: Generation

    @property
    def generation(self) -> Generation:
        """The generation that was active when this began."""
        return self.into


@dataclass(slots=True, kw_only=True)
class Ingestion(Intake):
    """One run: what it writes with, and what it has done so far."""

    #: The generation that is active, as far as the run knows: another one if that changes (``follow``).
    lane: Lane
    #: Opens the embedders of other generations.
    open: Callable[[Generation], Embedder] = lambda one: reopen_embedder(
        one.embedder, one.dimensions
    )
    #: Whether failures are kept in the ledger. Not those of another generation than the active one.
    into_ledger: bool = True
    budget: Budget = field(default_factory=Budget)
    taken: Taken = field(default_factory=Taken)
    #: Whether the run goes on record even if it did nothing; those of a watch would fill the record.
    notable: bool = True
    #: Of a dry run: hashes of the texts that would be embedded by now.
    planned: set[bytes] = field(default_factory=set)
    #: By generation, the runs that give those that are being built their part; None if that is not possible.
    branches: dict[int, Ingestion | None] = field(default_factory=dict)
    #: Of a branch: whether its embedder works.
    usable: bool = True
    #: What has its vectors and is not in the database yet.
    unwritten: dict[Key, Prepared] = field(default_factory=dict)
    #: Held to count what several threads do.
    _counting: Lock = field(default_factory=Lock)
    _failing: int = 0
    _vectors: dict[int, Vectors] = field(default_factory=dict)

    @property
    def generation(self) -> Generation:
        """The generation of its lane."""
        return self.lane.generation

    @property
    def embedder(self) -> Embedder:
        """The embedder of its lane."""
        return self.lane.embedder

    @property
    def embedded_at_once(self) -> int:
        """Groups for which its embedder is asked at the same time."""
        return min(EMBEDDED_AT_ONCE, concurrency_of(self.embedder))

    def again(self) -> Ingestion:
        """The same run, which has met no document yet: rows may be read once more."""
        return replace(self, _seen={})

    def vectors(self, lane: Lane) -> Vectors:
        """Where the vectors of a lane come from."""
        number = lane.generation.generation_id
        if number not in self._vectors:
            self._vectors[number] = Vectors(
                lane.embedder, lane.generation.model, self.paid, self.taken.asked
            )
        return self._vectors[number]

    def known(self, lane: Lane, group: Sequence[Prepared]) -> Flow[Known]:
        """Which texts of the group are paid for; of long documents only if that decides anything."""
        return self.vectors(lane).known(group, long=self.dry or self.budget.limited)

    def embedded(self, failure: errors.EmbeddingError | None) -> None:
        """Lose patience with an embedder that fails batch after batch."""
        with self._counting:
            self._failing = self._failing + 1 if failure else 0
            if failure is not None and self._failing >= PATIENCE:
                raise failure

    def afford(self, group: Sequence[Prepared], known: Container[bytes]) -> list[Prepared]:
        """The documents of the group that the budget has tokens for; the others are counted as left.

        ``release`` has to follow.
        """
        if not (self.dry or self.budget.limited):
            return list(group)
        chosen, lacking = self.taken.afford(self.budget, group, known)
        with self._counting:
            self.report.left += len(lacking)
            self.report.left_tokens += sum(lacking)
        self.count("left", len(lacking))
        return chosen

    def release(self, group: Sequence[Prepared], known: Container[bytes]) -> None:
        """These documents, which were afforded, are through: what was taken and not asked for is given back."""
        if self.dry or self.budget.limited:
            self.taken.release(self.budget, group, known)

    def paid(self, chunks: int, tokens: int) -> None:
        """Count what was embedded."""
        with self._counting:
            self.report.embedded += chunks
            self.report.tokens += tokens
            self.report.cost = self.budget.cost(self.report.tokens)
        if not self.dry and (cost := self.budget.cost(tokens)):
            telemetry.record("pgrecall.ingest.cost", cost, self.labels)
        self.tell()

    def written(self, group: Sequence[Prepared]) -> None:
        """Count documents that are in. Several threads call it."""
        with self._counting:
            self.counted(group)

    def settled(self, group: Sequence[Prepared]) -> None:
        """These are in, or were given up."""
        for item in group:
            self.unwritten.pop(item.key, None)

    def counted(self, group: Sequence[Prepared]) -> None:
        """Count documents that are in, or would be."""
        report = self.report
        changed = sum(item.known for item in group)
        moved = {item.former.document_id for item in group if item.former is not None}
        new = len(group) - changed - len(moved)
        self.count("changed", changed)
        self.count("renamed", len(moved))
        self.count("new", new)
        report.changed += changed
        report.renamed += len(moved)
        report.new += new
        self.moved |= moved
        for item in group:
            report.chunks += len(item.chunks)
            report.notes.extend((item.document.uri, note) for note in item.document.notes)
        if not self.dry:
            chunks = sum(len(item.chunks) for item in group)
            telemetry.record("pgrecall.ingest.chunks", chunks, self.labels)
        report.reused = max(0, report.chunks - report.embedded)
        self.tell()


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
            and self.size + length_of(item.document) <= TEXT_BATCH
        )

    def add(self, item: Prepared) -> None:
        """Take the document in."""
        self.items.append(item)
        self.chunks += len(item.chunks)
        self.size += length_of(item.document)
