"""Leaving hits out: below a similarity, or beyond a number for each document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from uuid import UUID

from pgrecall.types import Hit


def above(hits: Iterable[Hit], min_similarity: float) -> list[Hit]:
    """The hits whose vector score is at least that; one without a vector score is not among them."""
    return [
        hit for hit in hits if hit.vector_score is not None and hit.vector_score >= min_similarity
    ]


def per_document(hits: Iterable[Hit], most: int) -> Iterator[Hit]:
    """The first ``most`` hits of each document, as they come."""
    seen: Counter[tuple[str, UUID]] = Counter()
    for hit in hits:
        document = hit.tenant_id, hit.document_id
        if seen[document] < most:
            seen[document] += 1
            yield hit
