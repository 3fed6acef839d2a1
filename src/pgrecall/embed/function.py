"""Any function of the user's own as an embedder: texts in, vectors out."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from pgrecall.embed.bisect import Suspect, bisected
from pgrecall.embed.checks import check_lengths, checked_query, checked_texts, normalised
from pgrecall.embed.gather import check_reader
from pgrecall.embed.models import CAUTIOUS_TOKENIZER
from pgrecall.embed.outcome import Outcome
from pgrecall.errors import EmbeddingError, InvalidArgument, PgrecallError
from pgrecall.flow import Flow, run, run_async
from pgrecall.tokens import Tokenizer, open_tokenizer
from pgrecall.types import FloatArray

#: Takes a list of texts; returns a vector for each, or an awaitable of that.
EmbeddingFunction = Callable[[list[str]], Any]


class FunctionEmbedder:
    """Calls a function for passages, and the same or another one for questions.

    The function may be a coroutine function: it is awaited where pgrecall is awaited, and run in an
    event loop of its own where pgrecall blocks.

        embed = FunctionEmbedder(model.encode, name="my-model", dimensions=768)
    """

    def __init__(  # noqa: PLR0913 - what a model is cannot be said in fewer words
        self,
        function: EmbeddingFunction,
        *,
        name: str,
        dimensions: int | None = None,
        query: EmbeddingFunction | None = None,
        max_tokens: int = 512,
        tokenizer: str | Tokenizer = CAUTIOUS_TOKENIZER,
        batch_size: int = 128,
    ) -> None:
        """``name`` has to tell the vectors from those of any other function: they are reused by it.

        ``query`` embeds questions where they are treated in another way. ``dimensions`` None: asked
        once. ``max_tokens`` and ``tokenizer`` are the model's; ``batch_size`` is what one call takes.
        """
        if not name or not name.strip():
            raise InvalidArgument("A function needs a name that its vectors are kept under.")
        if max_tokens < 1 or batch_size < 1:
            raise InvalidArgument("max_tokens and batch_size have to be positive.")
        self.name = name
        self.max_tokens = max_tokens
        self.tokenizer = open_tokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer
        self._function, self._query = function, query or function
        self._dimensions, self._batch = dimensions, batch_size

    def __repr__(self) -> str:
        return f"FunctionEmbedder({self.name!r})"

    @property
    def dimensions(self) -> int:
        """Length of each vector; the function is asked once if it was not said."""
        if self._dimensions is None:
            self._dimensions = len(run(self._called(self._query, ["dimensions"]), None)[0])
        return self._dimensions

    def recall_dimensions(self, dimensions: int) -> None:
        """Take what a collection has kept, instead of asking."""
        self._dimensions = self._dimensions or dimensions

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Embed passages: shape (len(texts), dimensions).

        Raises InvalidArgument for a text that is empty or too long, EmbeddingError if the function fails:
        what it raises is its cause.
        """
        return run(self._documents(self._checked(texts)), None)

    def embed_query(self, text: str) -> FloatArray:
        """Embed one question: shape (dimensions,)."""
        vector: FloatArray = run(self._called(self._query, [self._checked_query(text)]), None)[0]
        return vector

    async def embed_documents_async(self, texts: Sequence[str]) -> FloatArray:
        """As ``embed_documents``; a function that blocks gets a thread."""
        return await run_async(self._documents(self._checked(texts)), None)

    async def embed_query_async(self, text: str) -> FloatArray:
        """As ``embed_query``."""
        called = self._called(self._query, [self._checked_query(text)])
        vector: FloatArray = (await run_async(called, None))[0]
        return vector

    def _documents(self, texts: list[str]) -> Flow[FloatArray]:
        if not texts:
            return np.empty((0, self.dimensions), np.float32)
        outcome = Outcome()
        with outcome.handed_over():
            for start in range(0, len(texts), self._batch):
                check_reader()
                part = range(start, min(start + self._batch, len(texts)))
                found = yield from bisected(lambda at, _: self._asked(texts, at), part)
                outcome.answered.update(found.answered)
                outcome.refused.update(found.refused)
        return outcome.vectors(len(texts))

    def _asked(self, texts: Sequence[str], positions: Sequence[int]) -> Flow[FloatArray]:
        try:
            chosen = [texts[position] for position in positions]
            return (yield from self._called(self._function, chosen))
        except EmbeddingError as exc:
            raise Suspect(str(exc)) from (exc.__cause__ or exc)

    def _called(self, function: EmbeddingFunction, texts: list[str]) -> Flow[FloatArray]:
        try:
            answer = yield Call(function, texts)
            vectors = np.array(answer, dtype=np.float32)
        except PgrecallError:
            raise
        except Exception as exc:
            said = f"{type(exc).__name__}: {exc}".rstrip(".")
            raise EmbeddingError(f"The function {self.name} failed: {said}.") from exc
        wanted = self._dimensions if self._dimensions is not None else vectors.shape[-1:]
        if vectors.shape != (len(texts), *np.atleast_1d(wanted)):
            raise EmbeddingError(
                f"The function {self.name} answered {len(texts)} texts with the shape "
                f"{vectors.shape}; it returns a vector"
                + (f" of {self._dimensions} numbers" if self._dimensions else "")
                + " for each text."
            )
        return normalised(vectors)

    def _checked(self, texts: Sequence[str]) -> list[str]:
        chosen = checked_texts(texts)
        counts = np.array([self.tokenizer.count(text) for text in chosen], dtype=np.int64)
        check_lengths(counts, self.max_tokens)
        return chosen

    def _checked_query(self, text: str) -> str:
        count = np.array([self.tokenizer.count(checked_query(text))], dtype=np.int64)
        check_lengths(count, self.max_tokens, first=None)
        return text


class Call:
    """A call of the function as a step of a flow."""

    def __init__(self, function: EmbeddingFunction, texts: list[str]) -> None:
        self._function, self._texts = function, texts

    def perform(self, session: object) -> Any:
        """Blocking."""
        answer = self._function(self._texts)
        return _finished(answer) if inspect.isawaitable(answer) else answer

    async def perform_async(self, session: object) -> Any:
        """Awaiting."""
        if inspect.iscoroutinefunction(self._function):
            return await self._function(self._texts)
        answer = await asyncio.to_thread(self._function, self._texts)
        return await answer if inspect.isawaitable(answer) else answer


def _finished(answer: Any) -> Any:
    """What an awaitable comes to, whether or not an event loop runs in this thread."""

    async def wait() -> Any:
        return await answer

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, wait()).result()
