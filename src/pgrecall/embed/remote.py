"""What embedders have in common that ask a provider over the network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from functools import cached_property
from threading import Lock
from typing import Any, Self

import numpy as np

from pgrecall.embed.batching import batches
from pgrecall.embed.bisect import Refused, bisected
from pgrecall.embed.checks import (
    check_lengths,
    checked_query,
    checked_texts,
    has_direction,
    no_direction,
    normalised,
)
from pgrecall.embed.gather import in_tasks, in_threads
from pgrecall.embed.models import CAUTIOUS_TOKENIZER, KnownModel
from pgrecall.embed.options import RemoteOptions
from pgrecall.embed.outcome import Outcome
from pgrecall.embed.sending import Sender
from pgrecall.embed.service import Service
from pgrecall.embed.throttle import Throttle
from pgrecall.errors import EmbeddingError
from pgrecall.flow import Flow, run, run_async
from pgrecall.tokens import Tokenizer, open_tokenizer
from pgrecall.types import FloatArray

#: Longest text of a model that nobody knows: what most models take that are not made for long ones.
UNKNOWN_MAX_TOKENS = 512
#: Texts that a request holds at least, where there are so many. Of a server that takes 200 ms and 2 ms a text,
#: a batch of 512 came in half the time in requests of 128 as in one; 64 were no quicker, in twice as many.
FEWEST_ITEMS = 128
#: Tokens that a model of the hub adds to a text, at most, e.g. [CLS] and [SEP].
_SPECIAL = 4


class RemoteEmbedder:
    """Sends texts to a provider. Safe to share between threads and event loops.

    Close it when done, or use it as a context manager (``async with`` where it was awaited).
    """

    def __init__(
        self,
        name: str,
        service: Service,
        throttle: Throttle,
        options: RemoteOptions,
        known: KnownModel | None,
    ) -> None:
        self.name = name
        self._service = service
        self._sender = Sender(service, throttle, options)
        self._options = options
        self._known = known
        self._prompts = options.prompts(known)
        self._dimensions = options.dimensions or (known.dimensions if known else None)
        self._learning = Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, host={self._service.host!r})"

    @property
    def dimensions(self) -> int:
        """Length of each vector; the server is asked once if neither the name nor we know it."""
        if self._dimensions is None:
            run(self._probe(), Future())
        assert self._dimensions is not None
        return self._dimensions

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at a time, at most; all its calls share them."""
        return self._options.concurrency

    def recall_dimensions(self, dimensions: int) -> None:
        """Take what a collection has kept of an unknown model, instead of asking for it."""
        with self._learning:
            self._dimensions = self._dimensions or dimensions

    @cached_property
    def max_tokens(self) -> int:
        """Longest text that is taken, in tokens of ``tokenizer``; the prompt is not part of it."""
        return self._limit - self.tokenizer.count(self._prompts.passage)

    @property
    def _limit(self) -> int:
        if self._options.max_tokens is not None:
            return self._options.max_tokens
        if self._known is None:
            return UNKNOWN_MAX_TOKENS
        return self._known.max_tokens - (0 if self._known.owner == "openai" else _SPECIAL)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's own, as far as it is in a package or was given; else one that counts more."""
        known = self._known.tokenizer if self._known else None
        return open_tokenizer(self._options.tokenizer or known or CAUTIOUS_TOKENIZER)

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Embed passages: shape (len(texts), dimensions).

        Raises InvalidArgument for a text that is empty or too long, EmbeddingError. A text that the
        provider refuses keeps no other from being embedded: see ``answered`` and ``refused`` of the error.
        """
        chosen = self._passages(texts)
        counts, parts = self._parts(chosen)
        outcome = Outcome()

        def work(part: range, stopped: Future[None]) -> None:
            run(self._embedded(chosen, counts, part, outcome), stopped)

        with outcome.handed_over():
            in_threads(work, parts, self._options.concurrency)
        if not chosen:
            return np.empty((0, self.dimensions), np.float32)
        return outcome.vectors(len(chosen))

    async def embed_documents_async(self, texts: Sequence[str]) -> FloatArray:
        """As ``embed_documents``."""
        chosen = self._passages(texts)
        # In a thread: counting the tokens of a long list would hold up the event loop.
        counts, parts = await asyncio.to_thread(self._parts, chosen)
        outcome = Outcome()

        async def work(part: range) -> None:
            await run_async(self._embedded(chosen, counts, part, outcome), None)

        with outcome.handed_over():
            await in_tasks(work, parts, self._options.concurrency)
        if not chosen:
            if self._dimensions is None:
                await run_async(self._probe(), None)
            return np.empty((0, self.dimensions), np.float32)
        return outcome.vectors(len(chosen))

    def embed_query(self, text: str, *, instruction: str | None = None) -> FloatArray:
        """Embed one question: shape (dimensions,).

        Raises InvalidArgument for an instruction if the model was not trained to follow any.
        """
        vector: FloatArray = self.embed_queries([text], instruction=instruction)[0]
        return vector

    def embed_queries(self, texts: Sequence[str], *, instruction: str | None = None) -> FloatArray:
        """Embed several questions in one request: shape (len(texts), dimensions)."""
        return run(self._asked(self._questions(texts, instruction)), Future())

    async def embed_query_async(self, text: str, *, instruction: str | None = None) -> FloatArray:
        """As ``embed_query``."""
        vector: FloatArray = (await self.embed_queries_async([text], instruction=instruction))[0]
        return vector

    async def embed_queries_async(
        self, texts: Sequence[str], *, instruction: str | None = None
    ) -> FloatArray:
        """As ``embed_queries``."""
        return await run_async(self._asked(self._questions(texts, instruction)), None)

    def _passages(self, texts: Sequence[str]) -> list[str]:
        return [self._prompts.passage + text for text in checked_texts(texts)]

    def _questions(self, texts: Sequence[str], instruction: str | None) -> list[str]:
        for text in texts:
            checked_query(text)
        found = [self._prompts.question(text, instruction, model=self.name) for text in texts]
        check_lengths(self._counts(found), self._limit, first=None)
        return found

    def _counts(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([self.tokenizer.count(text) for text in texts], dtype=np.int64)

    def _parts(self, texts: Sequence[str]) -> tuple[list[int], list[range]]:
        """The tokens that each text is charged, and how the texts are cut into requests."""
        tokens = self._counts(texts)
        check_lengths(tokens, self._limit)
        charged = list(map(self._service.charged, texts, tokens.tolist()))
        # A request of more than a minute's tokens could never be sent.
        budget = min(self._service.max_request_tokens, self._options.tpm or 2**62)
        budget = max(budget, max(charged, default=0))
        cut = batches(charged, max_items=self._items(len(texts)), max_tokens=budget)
        return charged, [range(part.start, part.stop) for part in cut]

    def _items(self, count: int) -> int:
        """Texts of a request: as many requests at a time as may be, unless requests are what is short."""
        if self._options.rpm is not None:
            return self._service.max_items
        share = -(-count // self._options.concurrency)
        return min(self._service.max_items, max(FEWEST_ITEMS, share))

    def _embedded(
        self, texts: Sequence[str], counts: Sequence[int], part: range, outcome: Outcome
    ) -> Flow[None]:
        """Fill the outcome for a part of the texts; what a provider refuses stops no other."""

        def ask(positions: Sequence[int], hasty: bool) -> Flow[FloatArray]:
            asked = [texts[position] for position in positions]
            tokens = sum(counts[position] for position in positions)
            reply = yield from self._sender.sent(asked, tokens, hasty=hasty)
            self._check_dimensions(reply.vectors.shape[1])
            if len(positions) > 1 and not has_direction(reply.vectors).any():
                # One bad text can spoil the vectors of all that were computed with it.
                raise Refused(no_direction(positions[0]))
            return reply.vectors

        try:
            found = yield from bisected(ask, part)
        except EmbeddingError as exc:
            outcome.normalise(exc.answered)
            exc.answered = {}
            raise
        outcome.refused.update(found.refused)
        outcome.normalise(found.answered)

    def _asked(self, texts: Sequence[str]) -> Flow[FloatArray]:
        try:
            return (yield from self._together(texts))
        except Refused as exc:
            raise EmbeddingError(str(exc)) from exc.__cause__

    def _together(self, texts: Sequence[str]) -> Flow[FloatArray]:
        """Embed questions in one request. Raises Refused, EmbeddingError."""
        tokens = sum(map(self._service.charged, texts, self._counts(texts).tolist()))
        reply = yield from self._sender.sent(texts, tokens, query=True)
        self._check_dimensions(reply.vectors.shape[1])
        return normalised(reply.vectors, first=None)

    def _probe(self) -> Flow[None]:
        """Ask an unknown model for the length of its vectors, and whether it cuts texts off.

        Two texts as long as may be that differ at their ends: a server that truncates (Ollama does,
        without a word) has one vector for both.
        """
        many = "a " * (self._limit - 16)
        texts = [many + "north", many + "south"]
        try:
            vectors = yield from self._together(texts)
        except Refused as exc:
            raise EmbeddingError(
                f"{exc} Its texts may be shorter than {self._limit} tokens: pass max_tokens."
            ) from exc
        if np.allclose(vectors[0], vectors[1], atol=1e-6):
            raise EmbeddingError(
                f"{self.name} at {self._service.host} cuts texts of {self._limit} tokens off without "
                "saying so: pass max_tokens as the model has it."
            )

    def _check_dimensions(self, found: int) -> None:
        with self._learning:
            if self._dimensions is None:
                self._dimensions = found
        if found != self._dimensions:
            raise EmbeddingError(
                f"{self.name} at {self._service.host} answers with {found} dimensions, not with "
                f"{self._dimensions}: write @{found} behind its name, or choose another model."
            )

    def close(self) -> None:
        """Close the connections of the synchronous methods; another call opens new ones."""
        self._service.close()

    async def aclose(self) -> None:
        """Close the connections that belong to this event loop, and the synchronous ones."""
        await self._service.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
