"""The values that flow through pgrecall: frozen, compared by value, free of behaviour that needs I/O.

All offsets are code points of the document's text, half open: ``text[start:end]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import UUID

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: float32 embeddings: shape (n, dimensions), or (dimensions,) for one query.
FloatArray: TypeAlias = "npt.NDArray[np.float32]"
#: How the text of a document is structured: what the chunker may rely on.
Markup: TypeAlias = Literal["plain", "markdown", "code"]
#: Which arms of the search run.
Mode: TypeAlias = Literal["hybrid", "vector", "text"]
#: What of its document is shown with a hit: the chunks before and after it, or those of them under the
#: same headings.
Around: TypeAlias = Literal["neighbours", "section"]
#: Where the best document of a context stands: first, or last, next to the question, for models that read
#: the end best.
Order: TypeAlias = Literal["best_first", "best_last"]
#: A filter over metadata, e.g. ``{"lang": "en", "year": {"$gte": 2024}}``.
Where: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text with a name, as it goes in."""

    #: The name under which the document is known; the same uri again is a new version of it.
    uri: str
    text: str
    title: str | None = None
    #: Anything JSON can hold. Chunks carry a copy, so that searches can filter on it.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tenant_id: str = ""
    mime_type: str = "text/plain"
    #: ``None``: taken from the uri's suffix and the mime type.
    markup: Markup | None = None
    #: The text search configuration of Postgres that splits it into words, such as "german".
    #: ``None``: the collection's.
    language: str | None = None
    #: Offset at which each page starts; page n (from 1) starts at ``pages[n - 1]``. Empty: no pages.
    pages: tuple[int, ...] = ()
    #: What loading had to change, for the report, e.g. "removed 2 NUL characters".
    notes: tuple[str, ...] = ()
    #: A picture (PNG, JPEG, WebP or GIF): embedded instead of the text, which says what it shows. It is
    #: stored as it is, so give a small one; loading an image file makes a thumbnail.
    media: bytes | None = field(default=None, repr=False)
    #: Where it was found: the uri of its file, its sitemap, or the name of its table. ``None`` for one that
    #: was given. Runs that stay in step with a source remove documents of that source only.
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A picture to search with."""

    #: Path of a file, or its content.
    source: str | PathLike[str] | bytes

    def read(self) -> bytes:
        """The content; raises OSError."""
        return self.source if isinstance(self.source, bytes) else Path(self.source).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A slice of a document's text: ``text[start:end] == content``."""

    ordinal: int
    start: int
    end: int
    content: str
    #: The headings above the chunk, outermost first.
    headings: tuple[str, ...] = ()
    #: Title and headings as one line, embedded and indexed in front of the content; "" for none.
    header: str = ""
    #: Tokens of ``embedded_text``, in the tokenizer of the embedder.
    tokens: int = 0
    #: Their ids, where they were asked for: int32, shape (tokens,). They are not stored.
    token_ids: npt.NDArray[np.int32] | None = field(default=None, repr=False, compare=False)

    @property
    def embedded_text(self) -> str:
        """What is given to the embedder: the header, an empty line, the content."""
        return f"{self.header}\n\n{self.content}" if self.header else self.content


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that was found."""

    text: str
    #: The score that ordered the hits: higher is better. Its scale depends on the mode.
    score: float
    uri: str
    title: str | None
    metadata: Mapping[str, Any]
    tenant_id: str
    document_id: UUID
    ordinal: int
    start: int
    end: int
    #: Page on which the chunk starts, from 1; None where the document has no pages.
    page: int | None
    headings: tuple[str, ...]
    #: Cosine similarity (or the metric's own similarity) and rank from 1 in the vector arm.
    vector_score: float | None = None
    text_score: float | None = None
    vector_rank: int | None = None
    text_rank: int | None = None
    #: What the reranker gave, on its own scale; None where none ran.
    rerank_score: float | None = None

    @property
    def image(self) -> str | None:
        """Where the picture is, if the hit is one."""
        return self.uri if "image" in self.metadata else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How one arm of a search ran."""

    #: "vector" or "text".
    arm: str
    #: "exact", "hnsw" or "text".
    strategy: str
    #: About how many chunks match the conditions, from a sample.
    matching: int
    #: Breadth of the index scan; None where there was none.
    ef_search: int | None
    #: The indexes that Postgres used.
    indexes: tuple[str, ...]
    #: Rows that the arm returned.
    rows: int
    planning_ms: float
    execution_ms: float
    #: Postgres' own EXPLAIN (ANALYZE, FORMAT JSON).
    plan: Any


class Hits(list[Hit]):
    """The hits, best first, and how they were found."""

    def __init__(
        self, hits: Iterable[Hit] = (), *, strategy: str = "exact", complete: bool = True
    ) -> None:
        super().__init__(hits)
        #: What ran: "exact", "hnsw", "text", "hybrid:exact", "hybrid:hnsw".
        self.strategy = strategy
        #: True if no matching row can have been left out for want of scanning.
        self.complete = complete
        #: How each arm ran, if the search was asked to explain itself.
        self.explanation: tuple[Stage, ...] = ()
        #: What did not go as asked, a sentence each: "The reranker failed (...)".
        self.notes: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """Where a passage of a context comes from: ``document_text[start:end] == quote``."""

    #: The number in the passage's marker: ``[1]``.
    number: int
    uri: str
    title: str | None
    document_id: UUID
    tenant_id: str
    start: int
    end: int
    quote: str
    #: Pages on which the quote starts and ends, from 1; None where the document has no pages.
    page: int | None = None
    last_page: int | None = None
    headings: tuple[str, ...] = ()
    #: The best score of the hits that the passage was made of.
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A source or document that could not be taken in, and why."""

    uri: str
    reason: str
    #: Where it was found, if that is more than the uri; as ``Document.source``.
    source: str | None = None
    #: The source says that there is no such document any more.
    gone: bool = False


@dataclass(slots=True, kw_only=True)
class IngestReport:
    """What an ingestion did.

    Documents: new, changed, renamed, unchanged, removed, failed, left. Chunks: chunks, embedded, reused.
    """

    new: int = 0
    changed: int = 0
    #: Documents that are where another name was before, with the same text. Only runs that stay in step
    #: with their sources look for them; they count neither as new nor as removed.
    renamed: int = 0
    unchanged: int = 0
    #: Documents whose source has gone; only runs that stay in step remove any.
    removed: int = 0
    failed: list[Failure] = field(default_factory=list)
    #: Chunks written: ``embedded + reused``.
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    #: Tokens that were embedded; reused chunks cost none.
    tokens: int = 0
    #: US dollars for them by the provider's list price: 0 on one's own machine, None if no price is known.
    cost: float | None = None
    #: Documents that the budget had nothing left for, and the tokens that they would have cost.
    left: int = 0
    left_tokens: int = 0
    seconds: float = 0.0
    #: So far: documents read, and chunks cut from those that are new or changed.
    read: int = 0
    cut: int = 0
    #: What loading changed or skipped: (uri, note).
    notes: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: IngestReport) -> None:
        """Count what another report counts; its seconds and notes are left."""
        for name in (
            *("new", "changed", "renamed", "unchanged", "removed", "left", "left_tokens"),
            *("chunks", "embedded", "reused", "tokens", "read", "cut"),
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed += other.failed
        if other.cost is not None:
            self.cost = (self.cost or 0.0) + other.cost

    @property
    def did_something(self) -> bool:
        """Whether anything was changed, or could not be."""
        done = self.new + self.changed + self.renamed + self.removed
        return bool(done or self.failed or self.left)

    @property
    def documents(self) -> int:
        """Documents that are searchable after the run: new, changed, renamed and unchanged."""
        return self.new + self.changed + self.renamed + self.unchanged


@dataclass(slots=True, kw_only=True)
class EnqueueReport:
    """What was handed over to the workers."""

    #: Documents that are in the queue now.
    queued: int = 0
    #: Documents that are stored already as they are.
    unchanged: int = 0
    failed: list[Failure] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an ingestion would do. Counts are called as in ``IngestReport``, and are the same."""

    collection: str
    embedder: str
    new: int
    changed: int
    renamed: int
    unchanged: int
    removed: int
    failed: Sequence[Failure]
    #: What loading changed or skipped, and what could not be told for sure to have gone: (uri, note).
    notes: Sequence[tuple[str, str]]
    #: Chunks that would be written: ``embedded + reused``.
    chunks: int
    embedded: int
    reused: int
    tokens: int
    #: What a budget would leave out.
    left: int
    left_tokens: int
    #: US dollars by the provider's list price: 0 on one's own machine, None if no price is known.
    cost: float | None
    #: The list price, in US dollars per million tokens, when it was read, and where.
    price: float | None
    price_as_of: date | None
    price_source: str | None
    #: By the throughput of the last runs with the same embedder; None if there was none.
    seconds: float | None

    @property
    def documents(self) -> int:
        """Documents that would be searchable after the run: new, changed, renamed and unchanged."""
        return self.new + self.changed + self.renamed + self.unchanged


#: What became of a run. One that says nothing any more was killed: nobody was left to write it down.
#: Documents taken in, or stored ones chunked and embedded anew for another generation.
RunKind: TypeAlias = Literal["ingest", "reindex"]
RunState: TypeAlias = Literal["running", "done", "stopped", "failed", "interrupted", "killed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One ingestion or reindexing, as the database remembers it: what it did, and what that cost."""

    run_id: int
    collection: str
    embedder: str
    kind: RunKind
    #: Whether it is what one worker did for the collection, over a span of time.
    by_worker: bool
    #: "stopped": by its budget; "interrupted": by Ctrl-C or a cancellation.
    state: RunState
    started_at: datetime
    #: When it ended, or was last heard of.
    ended_at: datetime
    seconds: float
    new: int
    changed: int
    renamed: int
    unchanged: int
    removed: int
    failed: int
    left: int
    chunks: int
    embedded: int
    tokens: int
    cost: float | None
    #: Why it ended early.
    error: str | None


Texts: TypeAlias = Sequence[str]
