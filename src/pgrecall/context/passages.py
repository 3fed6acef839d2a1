"""Spans and passages: which stretches of which documents the context wants to show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TypeVar
from uuid import UUID

from pgrecall.types import Citation, Hit

#: Code points between two hits that are shown, not left out: about the price of a second header.
MAX_GAP = 200

_Part = TypeVar("_Part", "Span", Citation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of one document that holds one or more hits: ``document_text[start:end]``."""

    start: int
    end: int
    #: At least one, all of one document, in its order.
    hits: tuple[Hit, ...]

    @property
    def tenant_id(self) -> str:
        """The tenant of the document."""
        return self.hits[0].tenant_id

    @property
    def document_id(self) -> UUID:
        """The id of the document."""
        return self.hits[0].document_id

    @property
    def uri(self) -> str:
        """The name of the document."""
        return self.hits[0].uri

    @property
    def title(self) -> str | None:
        """The title of the document."""
        return self.hits[0].title

    @property
    def headings(self) -> tuple[str, ...]:
        """The headings above the first hit, outermost first."""
        return self.hits[0].headings

    @property
    def score(self) -> float:
        """The best score of the hits."""
        return max(hit.score for hit in self.hits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A span with its text, and the page starts of its document."""

    span: Span
    #: ``document_text[span.start:span.end]``.
    text: str
    #: As ``Document.pages``: page n (from 1) starts at ``pages[n - 1]``; empty for no pages.
    pages: tuple[int, ...] = ()

    @property
    def current(self) -> bool:
        """True if every hit still stands where it was found; False if the document has changed."""
        origin = self.span.start
        return len(self.text) == self.span.end - origin and all(
            self.text[hit.start - origin : hit.end - origin] == hit.text for hit in self.span.hits
        )


def spans(hits: Iterable[Hit], *, max_gap: int = MAX_GAP) -> list[Span]:
    """Merge hits of one document that overlap, follow each other, or leave at most max_gap between.

    Best document first, by its best score; within a document in its own order. Spans never overlap.
    """
    merged: list[Span] = []
    for hit in sorted(hits, key=_place):
        if merged and _adjacent(merged[-1], hit, max_gap):
            last = merged[-1]
            merged[-1] = replace(last, end=max(last.end, hit.end), hits=(*last.hits, hit))
        else:
            merged.append(Span(start=hit.start, end=hit.end, hits=(hit,)))
    return best_document_first(merged)


def best_document_first(parts: Iterable[_Part]) -> list[_Part]:
    """By the best score of each document, then by place in the document."""
    found = list(parts)
    best: dict[tuple[str, UUID], float] = {}
    for part in found:
        best[_document(part)] = max(part.score, best.get(_document(part), part.score))
    return sorted(found, key=lambda part: (-best[_document(part)], _place(part)))


def documents(parts: Iterable[_Part]) -> list[list[_Part]]:
    """The parts of each document, as they stand side by side."""
    return [list(group) for _, group in groupby(parts, key=_document)]


def overlapping(spans: Iterable[Span]) -> bool:
    """True if two of the spans share text."""
    ordered = sorted(spans, key=_place)
    return any(_document(a) == _document(b) and b.start < a.end for a, b in pairwise(ordered))


def _adjacent(span: Span, hit: Hit, max_gap: int) -> bool:
    same = _document(span) == _document(hit)
    follows = hit.ordinal <= span.hits[-1].ordinal + 1
    return same and (follows or hit.start <= span.end + max_gap)


def _document(part: Hit | Span | Citation) -> tuple[str, UUID]:
    return part.tenant_id, part.document_id


def _place(part: Hit | Span | Citation) -> tuple[str, UUID, int, int]:
    return *_document(part), part.start, part.end
