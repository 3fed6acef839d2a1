"""Putting hits in the order of a reranker's scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pgrecall.types import Hit


def reranked(hits: Sequence[Hit], scores: Iterable[float]) -> list[Hit]:
    """Best first by ``scores``, one a hit, which become ``score`` and ``rerank_score``.

    Equal scores leave the order as it was.
    """
    scored = [
        replace(hit, score=score, rerank_score=score)
        for hit, score in zip(hits, scores, strict=True)
    ]
    return best_first(scored)


def best_first(hits: Iterable[Hit]) -> list[Hit]:
    """By score; hits of equal score stay in their order."""
    return sorted(hits, key=lambda hit: -hit.score)
