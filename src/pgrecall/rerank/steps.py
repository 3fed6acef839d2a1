"""Reranking as a step of a flow: blocking in one flavour, awaiting in the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pgrecall import telemetry
from pgrecall.errors import RerankingError
from pgrecall.flow import Flow
from pgrecall.rerank.base import Reranker, can_await
from pgrecall.rerank.registry import open_reranker
from pgrecall.types import FloatArray


@dataclass(frozen=True, slots=True)
class Rerank:
    """Score texts by a question."""

    reranker: Reranker
    question: str
    texts: Sequence[str]

    def perform(self, session: object) -> FloatArray:
        """Blocking."""
        return self.reranker.rerank(self.question, self.texts)

    async def perform_async(self, session: object) -> FloatArray:
        """Awaiting; a reranker that can only block gets a thread."""
        if can_await(self.reranker):
            return await self.reranker.rerank_async(self.question, self.texts)
        return await asyncio.to_thread(self.reranker.rerank, self.question, self.texts)


@dataclass(frozen=True, slots=True)
class OpenReranker:
    """Open a reranker by its name, which may read a model from the disk."""

    name: str

    def perform(self, session: object) -> Reranker:
        """Blocking."""
        return open_reranker(self.name)

    async def perform_async(self, session: object) -> Reranker:
        """In a thread."""
        return await asyncio.to_thread(open_reranker, self.name)


def opened(name: str) -> Flow[Reranker]:
    """The reranker of that name; raises as ``open_reranker`` does."""
    reranker: Reranker = yield OpenReranker(name)
    return reranker


def _observed(reranker: Reranker, texts: int) -> telemetry.Span:
    vendor, _, model = reranker.name.partition(":")
    labels = {
        "gen_ai.operation.name": "rerank",
        "gen_ai.provider.name": vendor,
        "gen_ai.request.model": model or vendor,
    }
    return telemetry.span(
        f"rerank {model or vendor}",
        labels,
        details={"pgrecall.texts": texts},
        duration="gen_ai.client.operation.duration",
    )


def rerank(reranker: Reranker, questions: Sequence[str], texts: Sequence[str]) -> Flow[FloatArray]:
    """The score of each text for the question that it answers best: shape (len(texts),).

    Raises RerankingError if a reranker of somebody's own answers with something else, and whatever the
    reranker raises.
    """
    best = np.full(len(texts), -np.inf, dtype=np.float32)
    for question in questions:
        with _observed(reranker, len(texts)):
            answer = yield Rerank(reranker, question, texts)
        scores: FloatArray = np.asarray(answer, dtype=np.float32)
        if scores.shape != best.shape or not np.isfinite(scores).all():
            raise RerankingError(
                f"{reranker.name} answered with the shape {scores.shape}, or with what is not a number, "
                f"where {len(texts)} scores were asked for."
            )
        best = np.maximum(best, scores)
    return best
