"""The protocols of this room: what reads a question and a text together, and what MaxSim needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard, runtime_checkable

from pgrecall.types import FloatArray


@runtime_checkable
class Reranker(Protocol):
    """Says how well each text answers a question. Any object with these members will do.

    Scores are finite and higher is better; their scale is the reranker's own. Implementations cut a long
    list into requests or batches themselves. Whatever fails is a ``pgrecall.errors.RerankingError``; a
    search then keeps its own order, and says so in ``hits.notes``.
    """

    @property
    def name(self) -> str:
        """What ``pgrecall.open_reranker`` finds it by: ``cohere:rerank-v3.5``."""

    def rerank(self, question: str, texts: Sequence[str]) -> FloatArray:
        """A score for each text: shape (len(texts),)."""


@runtime_checkable
class AsyncReranker(Reranker, Protocol):
    """A reranker that can also be awaited, without threads."""

    async def rerank_async(self, question: str, texts: Sequence[str]) -> FloatArray:
        """As ``rerank``."""


@runtime_checkable
class TokenEncoder(Protocol):
    """Turns a text into a vector for each of its tokens, as ColBERT does; for ``MaxSim``."""

    @property
    def name(self) -> str:
        """The name of the model."""

    def encode_query(self, text: str) -> FloatArray:
        """The vectors of a question: shape (tokens, dimensions)."""

    def encode_documents(self, texts: Sequence[str]) -> Sequence[FloatArray]:
        """The vectors of passages, one array a text: shape (tokens, dimensions)."""


def can_await(reranker: Reranker) -> TypeGuard[AsyncReranker]:
    """Whether it is an AsyncReranker."""
    return hasattr(reranker, "rerank_async")
