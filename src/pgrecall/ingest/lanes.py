"""Writing to several generations: the active one may change, and others may be being built.

A generation that is being built gets what is written in the same transaction as the active one. If its
embedder fails, the documents go without it: reindexing finds what is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from pgrecall import errors
from pgrecall.flow import Flow
from pgrecall.ingest.job import Ingestion, Lane
from pgrecall.store import collections, generations
from pgrecall.store.collections import Generation
from pgrecall.store.prepared import Prepared

logger = logging.getLogger(__name__)

#: What an embedder that cannot be had, or does not work, raises.
UNUSABLE = (errors.EmbeddingError, errors.InvalidArgument, errors.MissingExtra)


def follow(job: Ingestion) -> Flow[None]:
    """Write to the generation that is active now. Raises CollectionNotFound, and what opening raises."""
    generation = yield from collections.active(job.generation.collection)
    if generation.embedder == job.generation.embedder:
        job.lane = Lane(generation, job.embedder)
    else:
        job.lane = Lane(generation, job.open(generation))


def branches(job: Ingestion) -> Flow[list[Ingestion]]:
    """A run for each generation that is being built, of those whose embedder can be had."""
    found = []
    for generation in (yield from generations.building(job.generation.collection_id)):
        number = generation.generation_id
        if number not in job.branches:
            job.branches[number] = _branch(job, generation)
        branch = job.branches[number]
        if branch is not None and branch.usable:
            found.append(branch)
    return found


def _branch(job: Ingestion, generation: Generation) -> Ingestion | None:
    try:
        embedder = job.open(generation)
    except UNUSABLE as exc:
        _leave_out(generation, exc)
        return None
    budget = job.budget.shared(generation.embedder)
    return Ingestion(lane=Lane(generation, embedder), budget=budget, into_ledger=False)


def leave_out(branch: Ingestion, reason: Exception) -> None:
    """Have the rest of the run go without a generation whose embedder does not work."""
    branch.usable = False
    _leave_out(branch.generation, reason)


def _leave_out(generation: Generation, reason: Exception) -> None:
    logger.warning(
        "Generation %s of %s, which is being built with %s, does not get these documents yet (%s); "
        "`pgrecall reindex %s` adds them.",
        generation.generation_id,
        generation.collection,
        generation.embedder,
        str(reason).rstrip("."),
        generation.collection,
    )


def copies(branch: Ingestion, group: Sequence[Prepared]) -> list[Prepared]:
    """The documents as that generation is to hold them, not yet chunked."""
    return [
        replace(item, generation=branch.generation, chunks=[], hashes=[], vectors=[], others=[])
        for item in group
    ]
