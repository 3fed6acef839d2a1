"""Embeddings from OpenAI, or from any server that speaks its protocol (Ollama, vLLM, TEI ...)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from threading import Event, Lock
from typing import Any

import numpy as np
from tenacity import AsyncRetrying, Retrying

from pgrecall.embed import openai_wire as wire
from pgrecall.embed.batching import batches
from pgrecall.embed.checks import check_lengths, checked_query, checked_texts, normalised
from pgrecall.embed.gather import handing_over, in_tasks, in_threads
from pgrecall.embed.openai_clients import Clients
from pgrecall.embed.openai_options import OpenAIOptions, endpoint, parsed
from pgrecall.embed.retry import rules, sleep_unless, time_left
from pgrecall.errors import EmbeddingError
from pgrecall.tokens import Tokenizer, open_tokenizer
from pgrecall.types import FloatArray

#: What a server is asked to embed if the length of its vectors has to be counted.
_PROBE = "dimensions"


def open_openai(model: str, options: Mapping[str, Any]) -> OpenAIEmbedder:
    """The embedder for ``MODEL`` or ``MODEL@DIMENSIONS``; options are fields of OpenAIOptions."""
    return OpenAIEmbedder(*parsed(model, options))


class OpenAIEmbedder:
    """Sends texts to ``POST /embeddings``. Safe to share between threads and event loops.

    Close it when done, or use it as a context manager (``async with`` where it was awaited).
    """

    def __init__(self, model: str, options: OpenAIOptions | None = None) -> None:
        """Raises InvalidArgument for dimensions the model cannot have, CredentialsMissing."""
        self.model = model
        self._options = options or OpenAIOptions()
        self._dimensions = wire.dimensions(model, self._options.dimensions)
        self._learning = Lock()
        self._endpoint = endpoint(self._options)
        self._clients = Clients(self._endpoint)

    def __repr__(self) -> str:
        return f"OpenAIEmbedder({self.name!r}, host={self._endpoint.host!r})"

    @property
    def name(self) -> str:
        """E.g. ``openai:text-embedding-3-large@1024``; the model's own length is not named."""
        asked = self._options.dimensions
        natural = asked in (None, wire.DIMENSIONS.get(self.model))
        return f"openai:{self.model}" if natural else f"openai:{self.model}@{asked}"

    @property
    def dimensions(self) -> int:
        """Length of each vector; the server is asked once if neither the name nor we know it."""
        if self._dimensions is None:
            return len(self.embed_query(_PROBE))
        return self._dimensions

    @property
    def max_tokens(self) -> int:
        """Longest text that is taken, in tokens of ``tokenizer``."""
        return self._options.max_tokens

    @property
    def tokenizer(self) -> Tokenizer:
        """cl100k_base, which all of OpenAI's embedding models use."""
        return open_tokenizer("cl100k_base")

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Embed passages: shape (len(texts), dimensions).

        Raises InvalidArgument for a text that is empty or too long, EmbeddingError.
        """
        chosen = checked_texts(texts)
        answered: dict[int, FloatArray] = {}

        def work(part: slice, stopped: Event) -> FloatArray:
            vectors = self._embed(chosen[part], part.start, stopped)
            answered.update(enumerate(vectors, part.start))
            return vectors

        with handing_over(answered):
            parts = in_threads(work, self._parts(chosen), self._options.concurrency)
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)

    def embed_query(self, text: str) -> FloatArray:
        """Embed one question: shape (dimensions,)."""
        self._check_query(text)
        vector: FloatArray = self._embed([text], None, Event())[0]
        return vector

    def embed_queries(self, texts: Sequence[str]) -> FloatArray:
        """Embed several questions in one request: shape (len(texts), dimensions)."""
        for text in texts:
            self._check_query(text)
        return self._embed(list(texts), None, Event())

    async def embed_documents_async(self, texts: Sequence[str]) -> FloatArray:
        """As ``embed_documents``."""
        chosen = checked_texts(texts)
        answered: dict[int, FloatArray] = {}

        async def work(part: slice) -> FloatArray:
            vectors = await self._embed_async(chosen[part], part.start)
            answered.update(enumerate(vectors, part.start))
            return vectors

        # In a thread: counting the tokens of a long list would hold up the event loop.
        slices = await asyncio.to_thread(self._parts, chosen)
        with handing_over(answered):
            parts = await in_tasks(work, slices, self._options.concurrency)
        if not parts and self._dimensions is None:
            await self.embed_query_async(_PROBE)
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)

    async def embed_query_async(self, text: str) -> FloatArray:
        """As ``embed_query``."""
        self._check_query(text)
        vector: FloatArray = (await self._embed_async([text], None))[0]
        return vector

    async def embed_queries_async(self, texts: Sequence[str]) -> FloatArray:
        """As ``embed_queries``."""
        for text in texts:
            self._check_query(text)
        return await self._embed_async(list(texts), None)

    def _check_query(self, text: str) -> None:
        length = self.tokenizer.count(checked_query(text))
        check_lengths(np.array([length]), self.max_tokens, first=None)

    def _parts(self, texts: Sequence[str]) -> list[slice]:
        """How the texts are cut into requests."""
        tokens = [self.tokenizer.count(text) for text in texts]
        check_lengths(np.array(tokens, dtype=np.int64), self.max_tokens)
        charged = list(map(wire.charged_tokens, texts, tokens))
        items, budget = wire.MAX_ITEMS_PER_REQUEST, wire.MAX_TOKENS_PER_REQUEST
        return list(batches(charged, max_items=items, max_tokens=budget))

    def _embed(self, texts: Sequence[str], first: int | None, stopped: Event) -> FloatArray:
        until, embeddings = self._until(first), self._clients.sync.embeddings

        def attempt() -> FloatArray:
            with self._errors():
                answer = embeddings.create(**self._request(texts, until))
            return self._accepted(answer, len(texts), first)

        return Retrying(sleep=sleep_unless(stopped), **rules(self._options.backoff, until))(attempt)

    async def _embed_async(self, texts: Sequence[str], first: int | None) -> FloatArray:
        until, embeddings = self._until(first), self._clients.of_running_loop().embeddings

        async def attempt() -> FloatArray:
            with self._errors():
                answer = await embeddings.create(**self._request(texts, until))
            return self._accepted(answer, len(texts), first)

        return await AsyncRetrying(**rules(self._options.backoff, until))(attempt)

    def _until(self, first: int | None) -> float:
        options = self._options
        return time.monotonic() + (options.query_deadline if first is None else options.deadline)

    def _request(self, texts: Sequence[str], until: float) -> dict[str, Any]:
        request = {
            "model": self.model,
            "input": list(texts),
            "encoding_format": self._options.encoding_format,
            "timeout": time_left(until, self._options.timeout),
        }
        if self._options.dimensions is not None and wire.shortens(self.model):
            request["dimensions"] = self._options.dimensions
        return request

    def _errors(self) -> AbstractContextManager[None]:
        at = self._endpoint
        return wire.translated_errors(model=self.model, host=at.host, key=at.key)

    def _accepted(self, answer: object, count: int, first: int | None) -> FloatArray:
        vectors = wire.vectors(answer, count)
        self._check_dimensions(vectors.shape[1])
        return normalised(vectors, first=first)

    def _check_dimensions(self, found: int) -> None:
        with self._learning:
            if self._dimensions is None:
                self._dimensions = found
        if found != self._dimensions:
            raise EmbeddingError(
                f"{self.model} at {self._endpoint.host} answers with {found} dimensions, not with "
                f"{self._dimensions}: write openai:{self.model}@{found}, or choose another model."
            )

    def close(self) -> None:
        """Close the connections of the synchronous methods; another call opens new ones."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close the connections that belong to this event loop, and the synchronous ones."""
        await self._clients.aclose()

    def __enter__(self) -> OpenAIEmbedder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> OpenAIEmbedder:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
