"""One embedder for many callers: what several ask for at the same time goes to it as one batch.

A worker has many documents in hand at once, and most are small; a provider is asked with full batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np

from pgrecall.embed.base import Embedder, takes_images
from pgrecall.embed.steps import embed_documents
from pgrecall.errors import CredentialsMissing, EmbeddingError, InvalidArgument, PgrecallError
from pgrecall.flow import run_async
from pgrecall.tokens import Tokenizer
from pgrecall.types import FloatArray

T = TypeVar("T")

#: Texts that are sent without waiting for more.
FULL = 512
#: Seconds without a new text after which nobody else is expected, and how long that may go on.
QUIET, LONGEST = 0.1, 1.0
#: Callers in a row that may fail by themselves, after they failed together, before the rest fails too.
PATIENCE = 3


@dataclass(slots=True)
class _Request:
    """What one caller waits for."""

    texts: list[str]
    answer: asyncio.Future[FloatArray] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, vectors: FloatArray) -> None:
        if not self.answer.done():
            self.answer.set_result(vectors)

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class JoinedEmbedder:
    """An AsyncEmbedder in front of another, for up to ``callers`` tasks of one event loop.

    A batch departs when it is full or when every caller waits; else when none is under way and no other
    text has come for a moment. So it is the fuller the slower the embedder is. If a batch fails, its
    callers are tried one by one, with what was not answered, so that a text that is refused fails no documents
    that it met by chance.
    """

    def __init__(self, embedder: Embedder, *, callers: int) -> None:
        self.embedder = embedder
        self._callers = callers
        self._waiting: list[_Request] = []
        self._since = 0.0
        self._under_way: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """The embedder's own."""
        return self.embedder.name

    @property
    def dimensions(self) -> int:
        """The embedder's own."""
        return self.embedder.dimensions

    @property
    def max_tokens(self) -> int:
        """The embedder's own."""
        return self.embedder.max_tokens

    @property
    def tokenizer(self) -> Tokenizer:
        """The embedder's own."""
        return self.embedder.tokenizer

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Not joined: who blocks is alone."""
        return self.embedder.embed_documents(texts)

    @property
    def takes_images(self) -> bool:
        """Whether the embedder does."""
        return takes_images(self.embedder)

    def embed_images(self, images: Sequence[bytes]) -> FloatArray:
        """Not joined: a document has one picture, and models on this machine take turns."""
        vectors: FloatArray = cast(Any, self.embedder).embed_images(images)
        return vectors

    def embed_query(self, text: str) -> FloatArray:
        """Not joined: a question does not wait."""
        return self.embedder.embed_query(text)

    async def embed_query_async(self, text: str) -> FloatArray:
        """As ``embed_query``."""
        return await asyncio.to_thread(self.embedder.embed_query, text)

    async def embed_documents_async(self, texts: Sequence[str]) -> FloatArray:
        """Embed passages, together with what others ask for meanwhile: shape (len(texts), dimensions)."""
        request = _Request(list(texts))
        if not self._waiting:
            self._since = asyncio.get_running_loop().time()
        self._waiting.append(request)
        self._look()
        return await request.answer

    def _look(self) -> None:
        """Send a batch off if it is time, or see again when it may be."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        texts = sum(len(request.texts) for request in self._waiting)
        if texts >= FULL or len(self._waiting) >= self._callers:
            self._depart()
        elif texts and not self._under_way:
            loop = asyncio.get_running_loop()
            at = min(loop.time() + QUIET, self._since + LONGEST)
            self._timer = loop.call_at(at, self._depart)

    def _depart(self) -> None:
        batch = [request for request in self._waiting if not request.answer.done()]
        self._waiting = []
        if batch:
            task = asyncio.create_task(self._embed(batch))
            self._under_way.add(task)
            task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._look()

    async def aclose(self) -> None:
        """Give up what is under way: whoever asked for it has gone. The embedder stays open."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _embed(self, batch: list[_Request]) -> None:
        try:
            vectors = await self._ask([text for request in batch for text in request.texts])
        except (EmbeddingError, InvalidArgument) as exc:
            await self._one_by_one(batch, exc)
        except BaseException as exc:
            for request in batch:
                request.fail(exc)
        else:
            start = 0
            for request in batch:
                request.settle(vectors[start : start + len(request.texts)])
                start += len(request.texts)

    async def _one_by_one(
        self, batch: list[_Request], error: EmbeddingError | InvalidArgument
    ) -> None:
        """Find out whose texts are refused; an embedder that fails for the first few is down."""
        fails, down, start = 0, error, 0
        alone = len(batch) == 1 or isinstance(error, CredentialsMissing)
        for request in batch:
            part = range(start, start + len(request.texts))
            start = part.stop
            known = _at(part, _answered(error))
            if len(known) < len(part) and (alone or fails >= PATIENCE):
                request.fail(_told(down, known, _at(part, _refused(down))))
                continue
            try:
                request.settle(await self._completed(request.texts, known))
                fails = 0
            except Exception as exc:
                request.fail(exc)
                # A text that is refused says nothing about the embedder, nor about the texts after it.
                if isinstance(exc, EmbeddingError) and not exc.refused:
                    fails, down = fails + 1, exc

    async def _completed(self, texts: list[str], known: dict[int, FloatArray]) -> FloatArray:
        """The vectors of one caller's texts, some of which are known by position."""
        left = [place for place in range(len(texts)) if place not in known]
        try:
            vectors = await self._ask([texts[place] for place in left])
        except EmbeddingError as exc:
            answered = {left[at]: row for at, row in exc.answered.items()}
            refused = {left[at]: reason for at, reason in exc.refused.items()}
            raise _told(exc, known | answered, refused) from exc
        rows = known | dict(zip(left, vectors, strict=True))
        return np.stack([rows[place] for place in range(len(texts))])

    async def _ask(self, texts: list[str]) -> FloatArray:
        # With the check of the answer's shape: rows in the wrong place would be somebody else's vectors.
        return await run_async(embed_documents(self.embedder, texts), None)


def _answered(error: Exception) -> Mapping[int, FloatArray]:
    return error.answered if isinstance(error, EmbeddingError) else {}


def _refused(error: Exception) -> Mapping[int, PgrecallError]:
    return error.refused if isinstance(error, EmbeddingError) else {}


def _at(part: range, found: Mapping[int, T]) -> dict[int, T]:
    """What was found of a part of the texts, by position in the part."""
    return {place - part.start: found[place] for place in part if place in found}


def _told(
    error: Exception, answered: dict[int, FloatArray], refused: dict[int, PgrecallError]
) -> Exception:
    """The error as one caller is told it: with what is said of the caller's own texts, and of no others."""
    if not isinstance(error, EmbeddingError):
        return error
    kind = CredentialsMissing if isinstance(error, CredentialsMissing) else EmbeddingError
    told = kind(str(error), answered=answered)
    told.refused = refused
    told.__cause__ = error.__cause__ or error
    return told
