"""What a reindexing is to fill: the generation that the arguments mean, begun already or not yet there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pgrecall import errors
from pgrecall.chunking import ChunkConfig
from pgrecall.embed import open_embedder
from pgrecall.embed.base import Embedder
from pgrecall.flow import Flow
from pgrecall.store import filling, generations, lifecycle
from pgrecall.store.collections import Generation, NewGeneration
from pgrecall.store.storage import Storage, kept
from pgrecall.target import Target, follow, new_generation

#: The number of a generation that is not there yet.
NOT_BEGUN = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be another than it is; None stays as it is."""

    embedder: str | Embedder | None = None
    chunking: ChunkConfig | None = None
    storage: Storage | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reindexing is to fill."""

    active: Generation
    #: Its number is NOT_BEGUN if it is not there yet.
    generation: Generation
    new: NewGeneration
    embedder: Embedder


def choose(target: Target, wanted: Wanted, *, offline: bool = False) -> Flow[Choice]:
    """The generation that is meant. ``offline``: its embedder is opened without a key, and never asked.

    Raises InvalidArgument if there is nothing to do, or another generation is being built.
    """
    active = yield from follow(target)
    begun = yield from generations.unfinished(active.collection_id)
    base = begun or active
    chosen = _embedder(target, base, wanted.embedder, offline=offline)
    new = new_generation(
        chosen,
        # As it is; only a model that takes less gets smaller chunks.
        wanted.chunking or ChunkConfig.from_dict(base.chunking).narrowed(chosen.max_tokens),
        wanted.storage
        or kept(base.storage, chosen.dimensions or 1, chosen.name, before=base.dimensions),
    )
    lifecycle.check(begun, new)
    if begun is not None:
        return Choice(active, begun, new, chosen)
    if _spec(new) != _spec(active):
        planned = replace(
            active,
            generation_id=NOT_BEGUN,
            embedder=new.embedder,
            dimensions=new.dimensions,
            chunking=new.chunking,
            storage=new.storage,
        )
        return Choice(active, planned, new, chosen)
    lacking, _ = yield from filling.count_lacking(active)
    if not lacking:
        raise errors.InvalidArgument(
            f'"{active.collection}" is embedded with {active.embedder} chunked and stored like that '
            "already: name another embedder, other chunks or another storage."
        )
    return Choice(active, active, new, chosen)


def _embedder(
    target: Target, base: Generation, wanted: str | Embedder | None, *, offline: bool
) -> Embedder:
    if wanted is not None and not isinstance(wanted, str):
        target.know(open_embedder(wanted))
        return target.open(wanted.name)
    if wanted is None or wanted == base.embedder:
        if offline:
            return target.offline_of(base.embedder, base.dimensions)
        return target.embedder_of(base)
    return target.offline_of(wanted) if offline else target.open(wanted)


def _spec(generation: Generation | NewGeneration) -> tuple[Any, ...]:
    return (
        generation.embedder,
        generation.dimensions,
        dict(generation.chunking),
        generation.storage,
    )
