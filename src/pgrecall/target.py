"""A collection as whoever reads or fills it holds it: its active generation, followed when that changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pgrecall import errors
from pgrecall.chunking import ChunkConfig
from pgrecall.embed import open_embedder, reopen_embedder
from pgrecall.embed.base import Embedder, takes_images
from pgrecall.embed.offline import Offline, offline, sees
from pgrecall.flow import Flow
from pgrecall.rerank import Reranker
from pgrecall.store import collections, queries
from pgrecall.store.collections import Generation, NewGeneration
from pgrecall.store.storage import Storage

T = TypeVar("T")

#: How often a search follows a collection that changes its generation each time, before it gives up.
SWITCHES = 8


class Target:
    """A collection as a reader sees it: its active generation, and the embedder that made it."""

    def __init__(self, generation: Generation, embedder: Embedder | None) -> None:
        self.generation = generation
        self._embedders: dict[str, Embedder] = {}
        if embedder is not None:
            # Whatever an object of the caller's own is called, it is the one that was meant.
            self._embedders[generation.embedder] = embedder
        #: Those that were asked for by name.
        self.rerankers: dict[str, Reranker] = {}
        self.query_log = queries.QueryLog()

    @property
    def embedder(self) -> Embedder:
        """Opened at first use: a text search needs none."""
        return self.embedder_of(self.generation)

    def embedder_of(self, generation: Generation) -> Embedder:
        """The embedder that made the vectors of a generation.

        Raises as ``open_embedder`` does, and InvalidArgument if it makes vectors of another length.
        """
        embedder = self.open(generation.embedder, generation.dimensions)
        if embedder.dimensions != generation.dimensions:
            raise errors.InvalidArgument(
                f"{embedder.name} makes {embedder.dimensions} dimensions, the collection "
                f"has {generation.dimensions}: open it with the embedder that filled it "
                f"({generation.embedder})."
            )
        return embedder

    def open(self, name: str, dimensions: int | None = None) -> Embedder:
        """The embedder of that name: the caller's own if there is one, else opened once.

        Raises as ``open_embedder`` does.
        """
        if name not in self._embedders:
            try:
                self._embedders[name] = (
                    open_embedder(name) if dimensions is None else reopen_embedder(name, dimensions)
                )
            except errors.InvalidArgument as exc:
                raise errors.InvalidArgument(
                    f'{exc} If {name!r} is an object of your own, open "{self.generation.collection}" '
                    "with it (embedder=...)."
                ) from exc
        return self._embedders[name]

    @property
    def takes_images(self) -> bool:
        """Whether the embedder takes images, as far as that can be told without its key."""
        known = self._embedders.get(self.generation.embedder)
        return takes_images(known) if known else sees(self.generation.embedder)

    def know(self, embedder: Embedder) -> None:
        """Keep an embedder that the caller gave, for the generations that were made with it."""
        self._embedders[embedder.name] = embedder

    @property
    def offline(self) -> Offline:
        """The embedder as a plan needs it, which asks no provider."""
        return self.offline_of(self.generation.embedder, self.generation.dimensions)

    def offline_of(self, name: str, dimensions: int = 0) -> Offline:
        """The embedder of that name as a plan needs it; 0 dimensions where nobody has told them."""
        return offline(self._embedders.get(name) or name, dimensions)

    def switch(self, generation: Generation) -> None:
        """Follow the collection to another generation."""
        self.generation = generation


def follow(target: Target) -> Flow[Generation]:
    """The generation that is active now; the target knows it from here on."""
    target.switch((yield from collections.active(target.generation.collection)))
    return target.generation


def following(target: Target, work: Callable[[Generation], Flow[T]]) -> Flow[T]:
    """What ``work`` makes of the active generation; again, if another one is active by then."""
    for _ in range(SWITCHES):
        try:
            return (yield from work(target.generation))
        except errors.GenerationChanged:
            yield from follow(target)
    return (yield from work(target.generation))


def new_generation(
    embedder: Embedder, chunking: ChunkConfig | None, storage: Storage | None
) -> NewGeneration:
    """What a generation of that embedder would be; without ``chunking``, with chunks that the model takes.

    Raises InvalidArgument for chunks that it does not take, and storage that its vectors do not fit.
    """
    chunking = chunking or ChunkConfig.within(embedder.max_tokens)
    if chunking.max_tokens > embedder.max_tokens:
        raise errors.InvalidArgument(
            f"{embedder.name} takes at most {embedder.max_tokens:,} tokens, and chunks were to have up to "
            f"{chunking.max_tokens:,}: make ChunkConfig.max_tokens smaller."
        )
    return NewGeneration(
        embedder=embedder.name,
        dimensions=embedder.dimensions,
        chunking=chunking.to_dict(),
        # A plan may not know the length of vectors yet; nothing is made of it.
        storage=(storage or Storage()).of(embedder.dimensions or 1, embedder.name),
    )
