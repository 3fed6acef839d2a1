"""An answer, piece by piece as the model writes it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import aclosing, closing
from typing import Self

from pgrecall.answer.model import LanguageModel
from pgrecall.context import Context, Verification


class _Answered:
    """What both flavours know without waiting."""

    def __init__(self, context: Context, question: str, model: LanguageModel) -> None:
        self.context = context
        self.question = question
        self.model = model
        self._pieces: list[str] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model.name} to {self.question!r}>"

    @property
    def text(self) -> str:
        """What has arrived so far."""
        return "".join(self._pieces)

    def verify(self) -> Verification:
        """Hold what has arrived against the context's passages: see ``Context.verify``."""
        return self.context.verify(self.text)


class Answer(_Answered):
    """Iterate over it for the pieces as they come, or ``read`` it whole.

    The model is asked at the first piece. Raises LanguageModelError if it cannot be reached, refuses, or
    breaks off; ``text`` keeps what came before.
    """

    def __init__(self, context: Context, question: str, model: LanguageModel) -> None:
        super().__init__(context, question, model)
        self._stream = self._received()

    def __iter__(self) -> Iterator[str]:
        return self._stream

    def read(self) -> str:
        """Wait for the end; the whole text."""
        for _ in self:
            pass
        return self.text

    def close(self) -> None:
        """Hang up. What is read to its end, or with ``with``, is closed by itself."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _received(self) -> Generator[str, None, None]:
        from pgrecall.answer import wire

        messages = self.context.messages(self.question)
        with closing(wire.pieces(self.model, messages)) as pieces:
            for piece in pieces:
                self._pieces.append(piece)
                yield piece


class AsyncAnswer(_Answered):
    """As ``Answer``, awaited."""

    def __init__(self, context: Context, question: str, model: LanguageModel) -> None:
        super().__init__(context, question, model)
        self._stream = self._received()

    def __aiter__(self) -> AsyncIterator[str]:
        return self._stream

    async def read(self) -> str:
        """As ``Answer.read``."""
        async for _ in self:
            pass
        return self.text

    async def aclose(self) -> None:
        """As ``Answer.close``."""
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _received(self) -> AsyncGenerator[str, None]:
        from pgrecall.answer import wire

        messages = self.context.messages(self.question)
        async with aclosing(wire.pieces_async(self.model, messages)) as pieces:
            async for piece in pieces:
                self._pieces.append(piece)
                yield piece
