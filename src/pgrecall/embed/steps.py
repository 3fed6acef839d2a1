"""Embedding as a step of a flow: blocking in one flavour, awaiting in the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np

from pgrecall import telemetry
from pgrecall.embed.base import Embedder, TakesTokenIds, can_await, takes_images
from pgrecall.embed.gather import in_tasks
from pgrecall.errors import EmbeddingError, InvalidArgument, UnreadableSource
from pgrecall.flow import Flow
from pgrecall.tokens import Ids
from pgrecall.types import FloatArray


@dataclass(frozen=True, slots=True)
class EmbedQuery:
    """Embed one question."""

    embedder: Embedder
    text: str
    instruction: str | None = None

    def perform(self, session: object) -> FloatArray:
        """Blocking."""
        return self.embedder.embed_query(self.text, **_with(self.instruction))

    async def perform_async(self, session: object) -> FloatArray:
        """Awaiting; an embedder that can only block gets a thread."""
        if can_await(self.embedder):
            return await self.embedder.embed_query_async(self.text, **_with(self.instruction))
        return await asyncio.to_thread(self.perform, session)


@dataclass(frozen=True, slots=True)
class EmbedQueries:
    """Embed several questions, in one request if the embedder has ``embed_queries``."""

    embedder: Embedder
    texts: Sequence[str]
    instruction: str | None = None

    def perform(self, session: object) -> Sequence[FloatArray]:
        """Blocking."""
        given = _with(self.instruction)
        if hasattr(self.embedder, "embed_queries"):
            vectors: FloatArray = self.embedder.embed_queries(self.texts, **given)
            return list(vectors)
        return [self.embedder.embed_query(text, **given) for text in self.texts]

    async def perform_async(self, session: object) -> Sequence[FloatArray]:
        """Awaiting; an embedder that can only block gets a thread."""
        if not can_await(self.embedder):
            return await asyncio.to_thread(self.perform, session)
        given = _with(self.instruction)
        if hasattr(self.embedder, "embed_queries_async"):
            vectors: FloatArray = await self.embedder.embed_queries_async(self.texts, **given)
            return list(vectors)
        ask = partial(self.embedder.embed_query_async, **given)
        return await in_tasks(ask, self.texts, len(self.texts))


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


@dataclass(frozen=True, slots=True)
class EmbedImages:
    """Embed pictures."""

    embedder: Any
    images: Sequence[bytes]

    def perform(self, session: object) -> FloatArray:
        """Blocking."""
        vectors: FloatArray = self.embedder.embed_images(self.images)
        return vectors

    async def perform_async(self, session: object) -> FloatArray:
        """Awaiting; an embedder that can only block gets a thread."""
        if hasattr(self.embedder, "embed_images_async"):
            vectors: FloatArray = await self.embedder.embed_images_async(self.images)
            return vectors
        return await asyncio.to_thread(self.perform, session)


@dataclass(frozen=True, slots=True)
class EmbedTokenIds:
    """Embed passages whose token ids are known."""

    embedder: TakesTokenIds
    ids: Sequence[Ids]

    def perform(self, session: object) -> FloatArray:
        """Blocking."""
        return self.embedder.embed_token_ids(self.ids)

    async def perform_async(self, session: object) -> FloatArray:
        """In a thread: it computes."""
        return await asyncio.to_thread(self.perform, session)


def _observed(embedder: Embedder, texts: int) -> telemetry.Span:
    labels = _labels(embedder)
    model = labels["gen_ai.request.model"]
    return telemetry.span(
        f"embeddings {model}",
        labels,
        details={"pgrecall.texts": texts},
        duration="gen_ai.client.operation.duration",
    )


def _labels(embedder: Embedder) -> dict[str, str]:
    vendor, _, model = embedder.name.partition(":")
    return {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": vendor,
        "gen_ai.request.model": model.partition("?")[0].partition("@")[0] or vendor,
    }


def _with(instruction: str | None) -> dict[str, Any]:
    # An embedder that knows nothing of instructions need not take the argument.
    return {} if instruction is None else {"instruction": instruction}


def _check_instruction(embedder: Embedder, instruction: str | None) -> None:
    if instruction is not None and "instruction" not in signature(embedder.embed_query).parameters:
        raise InvalidArgument(
            f"{embedder.name} has no use for an instruction: leave it out, or choose an embedder that "
            "was trained to follow instructions."
        )


def embed_queries(
    embedder: Embedder, texts: Sequence[str], instruction: str | None = None
) -> Flow[Sequence[FloatArray]]:
    """The embeddings of one question or more, each of shape (dimensions,).

    Raises InvalidArgument for an instruction that the embedder has no use for, EmbeddingError for an answer
    with another number of vectors.
    """
    _check_instruction(embedder, instruction)
    if len(texts) == 1:
        with _observed(embedder, 1):
            vector: FloatArray = yield EmbedQuery(embedder, texts[0], instruction)
        return [vector]
    with _observed(embedder, len(texts)):
        vectors: Sequence[FloatArray] = yield EmbedQueries(embedder, texts, instruction)
    if len(vectors) != len(texts):
        raise EmbeddingError(
            f"{embedder.name} answered {len(texts)} questions with {len(vectors)} vectors; "
            "embed_queries returns one row for each."
        )
    return vectors


def embed_documents(
    embedder: Embedder,
    texts: Sequence[str],
    *,
    tokens: int | None = None,
    ids: Sequence[Ids | None] = (),
) -> Flow[FloatArray]:
    """The embeddings of passages: shape (len(texts), dimensions).

    ``tokens``: how many they have, for telemetry; ``ids``: theirs, for an embedder that takes them.

    Raises EmbeddingError if an embedder of somebody's own answers in another shape.
    """
    shape = len(texts), embedder.dimensions
    if not texts:
        return np.empty(shape, dtype=np.float32)
    with _observed(embedder, len(texts)) as span:
        known = [each for each in ids if each is not None]
        if len(known) == len(texts) and isinstance(embedder, TakesTokenIds):
            answer = yield EmbedTokenIds(embedder, known)
        else:
            answer = yield EmbedDocuments(embedder, texts)
        if tokens is not None:
            span.set({"gen_ai.usage.input_tokens": tokens})
            labels = {**_labels(embedder), "gen_ai.token.type": "input"}
            telemetry.record("gen_ai.client.token.usage", tokens, labels)
    vectors: FloatArray = np.asarray(answer, dtype=np.float32)
    if vectors.shape != shape:
        raise EmbeddingError(
            f"{embedder.name} answered with the shape {vectors.shape} where {shape} was asked for; "
            "embed_documents returns one row for each text."
        )
    return vectors


def embed_images(embedder: Embedder, images: Sequence[bytes]) -> Flow[FloatArray]:
    """The embeddings of pictures, PNG, JPEG, WebP or GIF: shape (len(images), dimensions).

    Raises InvalidArgument if the embedder takes only texts, or a picture cannot be read, EmbeddingError for
    an answer in another shape.
    """
    shape = len(images), embedder.dimensions
    if not images:
        return np.empty(shape, dtype=np.float32)
    if not takes_images(embedder):
        raise InvalidArgument(
            f"{embedder.name} takes texts and no images: choose an embedder for both, such as "
            "sentence-transformers:clip-ViT-B-32."
        )
    with _observed(embedder, len(images)):
        try:
            answer = yield EmbedImages(embedder, images)
        except UnreadableSource as exc:
            raise InvalidArgument(str(exc)) from exc
    vectors: FloatArray = np.asarray(answer, dtype=np.float32)
    if vectors.shape != shape:
        raise EmbeddingError(
            f"{embedder.name} answered with the shape {vectors.shape} where {shape} was asked for; "
            "embed_images returns one row for each picture."
        )
    return vectors
