"""The embedders that the jobs of a worker share: each opened once, and closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pgrecall import errors
from pgrecall.embed import reopen_embedder
from pgrecall.embed.base import Embedder
from pgrecall.embed.joined import JoinedEmbedder
from pgrecall.store.collections import Generation
from pgrecall.target import Target


class Embedders:
    """Those that were given, and those that are opened by name; up to ``callers`` jobs ask one at a time."""

    def __init__(self, given: Iterable[Embedder], *, callers: int) -> None:
        self._callers = callers
        self._open = {embedder.name: self._joined(embedder) for embedder in given}
        self._given = set(self._open)
        self._opening = asyncio.Lock()

    async def open(self, generation: Generation) -> JoinedEmbedder:
        """The embedder of a generation. Raises EmbeddingError where there is none of that name."""
        async with self._opening:
            if generation.embedder not in self._open:
                try:
                    opened = await asyncio.to_thread(
                        reopen_embedder, generation.embedder, generation.dimensions
                    )
                except errors.InvalidArgument as exc:
                    # Another worker may have it, so this is no fault of the document.
                    raise errors.EmbeddingError(
                        f"This worker has no embedder {generation.embedder!r}: give it one "
                        "(AsyncDatabase.work, embedders=[...])."
                    ) from exc
                self._open[generation.embedder] = self._joined(opened)
            joined = self._open[generation.embedder]
            # Compares the dimensions, which may ask a server.
            await asyncio.to_thread(getattr, Target(generation, joined.embedder), "embedder")
            return joined

    def opened(self, generation: Generation) -> Embedder:
        """The embedder of a generation that was met before; raises EmbeddingError for another one."""
        if generation.embedder not in self._open:
            raise errors.EmbeddingError(
                f"This worker has no embedder {generation.embedder!r} open."
            )
        return self._open[generation.embedder]

    def _joined(self, embedder: Embedder) -> JoinedEmbedder:
        return JoinedEmbedder(embedder, callers=self._callers)

    async def close(self) -> None:
        """Give up what is under way, and close the embedders that were opened here."""
        for name, joined in self._open.items():
            await joined.aclose()
            close = getattr(joined.embedder, "aclose", None)
            if close is not None and name not in self._given:
                await close()
