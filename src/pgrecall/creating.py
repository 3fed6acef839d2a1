"""A collection that is to be there: made, opened, or foreseen by a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from pgrecall import errors
from pgrecall.chunking import ChunkConfig
from pgrecall.embed import open_embedder
from pgrecall.embed.base import Embedder
from pgrecall.flow import Flow
from pgrecall.store import collections, wordsearch
from pgrecall.store.collections import Generation, NewGeneration
from pgrecall.store.storage import Storage, StorageType
from pgrecall.target import Target, new_generation


class Described(TypedDict, total=False):
    """What describes a collection, as ``create_collection`` says; all of it may be left away."""

    embedder: str | Embedder | None
    chunking: ChunkConfig | None
    language: str
    text_search: str | None
    storage: Storage | StorageType | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a caller asks of a new collection; None where the caller does not mind."""

    embedder: str | Embedder | None
    default_embedder: str
    chunking: ChunkConfig | None
    language: str
    text_search: str | None
    storage: Storage | None
    #: How embedders are opened; a plan does it without a key.
    opened: Callable[[str | Embedder], Embedder] = open_embedder

    @property
    def defaults(self) -> dict[str, str]:
        """What its searches and documents do unless they say otherwise."""
        given = {"language": self.language, "text_search": self.text_search}
        return {name: value for name, value in given.items() if value is not None}

    def generation(self, embedder: Embedder) -> NewGeneration:
        """Its first generation. Raises InvalidArgument if the chunks would not fit the model."""
        return new_generation(embedder, self.chunking, self.storage)

    def existing(self, generation: Generation) -> Target:
        """The collection that is there. Raises InvalidArgument if it is not what the caller asked for."""
        embedder = self.opened(self.embedder) if self.embedder is not None else None
        if embedder is not None and embedder.name != generation.embedder:
            asked, there = embedder.name, generation.embedder
        elif self.chunking is not None and self.chunking.to_dict() != generation.chunking:
            asked, there = str(self.chunking), str(generation.chunking)
        elif self.text_search not in (None, generation.text_search):
            asked, there = f"text_search={self.text_search!r}", f"{generation.text_search!r}"
        elif self._stored_otherwise(generation):
            asked, there = str(self.storage), str(generation.storage)
        else:
            return Target(generation, embedder)
        raise errors.InvalidArgument(
            f'The collection "{generation.collection}" exists with {there}, not {asked}: '
            "leave that argument away, choose another name, or reindex the collection."
        )

    def _stored_otherwise(self, generation: Generation) -> bool:
        wanted = self.storage
        if wanted is None:
            return False
        return wanted.of(generation.dimensions, generation.embedder) != generation.storage


def create(name: str, wanted: Wanted, *, exist_ok: bool) -> Flow[Target]:
    """The collection, new; with ``exist_ok``, one that is there as it is wanted."""
    if exist_ok:
        try:
            generation = yield from collections.active(name)
        except errors.CollectionNotFound:
            pass
        else:
            return wanted.existing(generation)
    embedder = open_embedder(wanted.embedder or wanted.default_embedder)
    try:
        yield from wordsearch.check(wanted.text_search)
        generation = yield from collections.create(
            name, wanted.generation(embedder), defaults=wanted.defaults
        )
    except errors.CollectionExists:
        if not exist_ok:
            raise
        # Somebody else was quicker.
        return wanted.existing((yield from collections.active(name)))
    return Target(generation, embedder)


def foreseen(name: str, wanted: Wanted) -> Flow[Target]:
    """The collection that is there, or what would be created, without a word to a provider."""
    try:
        return wanted.existing((yield from collections.active(name)))
    except errors.CollectionNotFound:
        embedder = wanted.opened(wanted.embedder or wanted.default_embedder)
        new = wanted.generation(embedder)
        return Target(collections.imagined(name, new, wanted.defaults), embedder)


def opened(name: str, embedder: str | Embedder | None) -> Flow[Target]:
    """A collection that is there; raises CollectionNotFound."""
    generation = yield from collections.active(name)
    return Target(generation, open_embedder(embedder) if embedder is not None else None)
