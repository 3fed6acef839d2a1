"""Embedding as a step of a flow: blocking in one flavour, awaiting in the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pgrecall.embed.base import Embedder, can_await
from pgrecall.errors import EmbeddingError
from pgrecall.flow import Flow
from pgrecall.types import FloatArray


@dataclass(frozen=True, slots=True)
class EmbedQuery:
    """Embed one question."""

    embedder: Embedder
    text: str

    def perform(self, session: object) -> FloatArray:
        """Blocking."""
        return self.embedder.embed_query(self.text)

    async def perform_async(self, session: object) -> FloatArray:
        """Awaiting; an embedder that can only block gets a thread."""
        if can_await(self.embedder):
            return await self.embedder.embed_query_async(self.text)
        return await asyncio.to_thread(self.embedder.embed_query, self.text)


@dataclass(frozen=True, slots=True)
class EmbedDocuments:
    """Embed passages."""

    embedder: Embedder
    texts: Sequence[str]

    def perform(self, session: object) -> FloatArray:
        """Blocking."""
        return self.embedder.embed_documents(self.texts)

    async def perform_async(self, session: object) -> FloatArray:
        """Awaiting; an embedder that can only block gets a thread."""
        if can_await(self.embedder):
            return await self.embedder.embed_documents_async(self.texts)
        return await asyncio.to_thread(self.embedder.embed_documents, self.texts)


def embed_query(embedder: Embedder, text: str) -> Flow[FloatArray]:
    """The embedding of a question: shape (dimensions,)."""
    vector: FloatArray = yield EmbedQuery(embedder, text)
    return vector


def embed_documents(embedder: Embedder, texts: Sequence[str]) -> Flow[FloatArray]:
    """The embeddings of passages: shape (len(texts), dimensions).

    Raises EmbeddingError if an embedder of somebody's own answers in another shape.
    """
    shape = len(texts), embedder.dimensions
    if not texts:
        return np.empty(shape, dtype=np.float32)
    vectors: FloatArray = np.asarray((yield EmbedDocuments(embedder, texts)), dtype=np.float32)
    if vectors.shape != shape:
        raise EmbeddingError(
            f"{embedder.name} answered with the shape {vectors.shape} where {shape} was asked for; "
            "embed_documents returns one row for each text."
        )
    return vectors
