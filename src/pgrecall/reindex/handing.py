"""Handing a generation over to the workers: what it lacks, in batches, and its end when they are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgrecall.embed import open_embedder
from pgrecall.errors import CredentialsMissing, InvalidArgument, MissingExtra
from pgrecall.flow import Flow
from pgrecall.reindex.choice import NOT_BEGUN, Wanted, choose
from pgrecall.reindex.fill import Limits
from pgrecall.store import batches, filling, lifecycle, reindexings, settling
from pgrecall.store.collections import Generation
from pgrecall.store.filling import Place
from pgrecall.store.session import transaction
from pgrecall.target import Target

#: Documents of a batch, and bytes of their texts, at most: what a worker holds for one of its jobs. A
#: document that is larger is a batch of its own.
BATCH, BATCH_BYTES = 64, 2_000_000
#: Documents that are looked up together.
PAGE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ReindexHandOver:
    """What was handed over to the workers."""

    generation_id: int
    embedder: str
    #: Documents that the generation lacks, and how many jobs they make.
    documents: int
    batches: int


def hand_over(target: Target, wanted: Wanted, limits: Limits) -> Flow[ReindexHandOver]:
    """Begin a generation, or go on with the one that was begun, and leave it to the workers.

    Whatever was handed over before and is not in hand is handed over anew. Raises as ``choose`` does, and
    InvalidArgument for an embedder that workers cannot open.
    """
    choice = yield from choose(target, wanted, offline=True)
    _check(choice.new.embedder)
    if not choice.new.dimensions:
        # Of a model that nobody knows, only its server can tell how long its vectors are.
        choice = yield from choose(target, wanted)
    tokens = limits.budget(choice.new.embedder).ceiling
    generation = choice.generation
    if generation.generation_id == NOT_BEGUN:
        generation = yield from lifecycle.begin(choice.active, choice.new)
    documents, jobs = yield from transaction(_hand_over(generation, tokens))
    return ReindexHandOver(
        generation_id=generation.generation_id,
        embedder=generation.embedder,
        documents=documents,
        batches=jobs,
    )


def _check(embedder: str) -> None:
    try:
        open_embedder(embedder)
    except InvalidArgument as exc:
        raise InvalidArgument(
            f"{embedder!r} is an embedder of your own, which workers cannot open: reindex without the queue."
        ) from exc
    except (CredentialsMissing, MissingExtra):
        # Theirs to have.
        return


def _hand_over(generation: Generation, tokens: int | None) -> Flow[tuple[int, int]]:
    yield from batches.claim(generation)
    yield from batches.withdraw(generation)
    yield from reindexings.begin(generation, tokens)
    handed = yield from _rest(generation)
    yield from settling.finish_soon(generation)
    return handed


def hand_over_rest(generation: Generation) -> Flow[None]:
    """What the generation lacks and nobody was given yet: what was written meanwhile. Part of a transaction."""
    yield from batches.claim(generation)
    documents, _ = yield from _rest(generation)
    if documents:
        yield from settling.finish_soon(generation)


def _rest(generation: Generation) -> Flow[tuple[int, int]]:
    """Hand over what is in no batch; the documents and the batches."""
    others = yield from batches.members(generation)
    documents = jobs = 0
    after: Place | None = None
    while page := (yield from filling.lacking(generation, after, PAGE, others)):
        for batch in _batched(page):
            yield from batches.add(generation, batch[0].uri, [place.key for place in batch])
            jobs += 1
        documents += len(page)
        after = page[-1]
    return documents, jobs


def _batched(places: Sequence[Place]) -> list[list[Place]]:
    found: list[list[Place]] = []
    size = 0
    for place in places:
        if not found or len(found[-1]) == BATCH or size + place.size > BATCH_BYTES:
            found.append([])
            size = 0
        found[-1].append(place)
        size += place.size
    return found
