"""Hits, and the citations that are made of them: what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias
from uuid import UUID

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


@dataclass(frozen=True, kw_only=True)
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
    #: Postgres' own EXPLAIN (ANALYZE, FORMAT JSON); too long to be printed with the rest.
    plan: Any = field(repr=False)


class Hits(list[Hit]):
    """The hits, best first, and how they were found."""

    def __init__(
        self, hits: Iterable[Hit] = (), *, strategy: str = "exact", complete: bool = True
    ) -> None:
        super().__init__(hits)
        #: What ran: "exact", "hnsw", "text", "hybrid:exact", "hybrid:hnsw".
        self.strategy = strategy
        #: False if there are fewer than k hits, and rows that match were not looked at: limits such as
        #: ``per_document`` left so few of the candidates.
        self.complete = complete
        #: How each arm ran, if the search was asked to explain itself.
        self.explanation: tuple[Stage, ...] = ()
        #: Milliseconds by stage, if it was: "embed", "search" (the statement with both arms and their fusion,
        #: and the way there and back), "rerank", "refine" (what else is done with the candidates).
        self.timings: dict[str, float] = {}
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
