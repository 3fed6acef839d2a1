"""Which generation is searched: activating one, going back, and dropping what is not needed any more."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pgrecall import errors
from pgrecall.flow import Flow
from pgrecall.reindex.fill import catch_up, of
from pgrecall.reindex.work import Reindexing
from pgrecall.settle import settle
from pgrecall.store import batches, filling, generations, indexes, lifecycle, runs
from pgrecall.store.collections import Generation
from pgrecall.target import Target, follow
from pgrecall.types import Failure

#: How often a generation catches up with what is written meanwhile before it is activated.
ROUNDS = 20


def activate(target: Target, number: int | None, *, force: bool) -> Flow[Generation]:
    """Search another generation from now on: the one that is being built, unless another is named.

    What it lacks is filled in first. With ``force`` it is activated at once, without what it lacks.
    Raises GenerationIncomplete, GenerationNotFound.
    """
    active = yield from follow(target)
    if number is not None:
        chosen = yield from generations.numbered(active.collection, number)
    else:
        unfinished = yield from generations.unfinished(active.collection_id)
        if unfinished is None:
            raise errors.GenerationNotFound(
                f'No generation of "{active.collection}" is being built: '
                "reindex with another embedder or other chunks first."
            )
        chosen = unfinished
    return (yield from _switch(target, chosen, force=force))


def rollback(target: Target, *, force: bool) -> Flow[Generation]:
    """Search the generation again that was searched before; twice is back and forth."""
    chosen = yield from generations.previous(target.generation.collection)
    return (yield from _switch(target, chosen, force=force))


def _switch(target: Target, chosen: Generation, *, force: bool) -> Flow[Generation]:
    if not force:
        yield from _undisturbed(chosen)
    yield from lifecycle.revive(chosen)
    try:
        lacking, failed = yield from _complete(target, chosen, force=force)
    except Exception:
        yield from lifecycle.retire_again(chosen)
        raise
    if lacking and not force:
        yield from lifecycle.retire_again(chosen)
        example = f" ({failed[0].uri}: {failed[0].reason.rstrip('.')})" if failed else ""
        raise errors.GenerationIncomplete(
            f"Generation {chosen.generation_id} lacks documents, {lacking} of them{example}: "
            "try again, or activate it without them (force)."
        )
    if not lacking:
        # What workers failed to add is there by now.
        yield from batches.withdraw(chosen)
    return (yield from follow(target))


def _undisturbed(chosen: Generation) -> Flow[None]:
    """Raises GenerationIncomplete while workers fill it: what they have not done would be done twice."""
    given = (yield from batches.handed(chosen.collection)).get(chosen.generation_id)
    if given is not None and given.queued:
        name = chosen.collection
        raise errors.GenerationIncomplete(
            f"Workers are to add {given.queued:,} documents to generation {chosen.generation_id} yet: "
            f"activate it when `pgrecall reindex {name} --status` says that it lacks none, or let "
            f"`pgrecall reindex {name}` do the rest here."
        )


def _complete(
    target: Target, chosen: Generation, *, force: bool
) -> Flow[tuple[int, Sequence[Failure]]]:
    """Activate it as soon as it lacks nothing; how many documents it does lack, and why."""
    lacking, _ = yield from filling.count_lacking(chosen)
    work: Reindexing | None = None
    began = time.monotonic()
    for _ in range(ROUNDS):
        if lacking and not force:
            work = work or (yield from of(target, chosen))
            yield from catch_up(work)
        yield from indexes.index_all_metadata(chosen)
        written = work.job.report.chunks if work else 0
        yield from settle(chosen, lambda: target.embedder_of(chosen), written=written)
        lacking = yield from lifecycle.activate(chosen, force=force)
        # Those that cannot be embedded are not waited for.
        if force or lacking <= (len(work.refused) if work else 0):
            break
    if work is not None:
        yield from runs.record(chosen, work.job.report, "reindex", ago=time.monotonic() - began)
    return lacking, work.job.report.failed if work else ()


def drop(target: Target, number: int | None) -> Flow[list[int]]:
    """Remove the generation of that number, or all that are retired; their numbers."""
    name = target.generation.collection
    if number is None:
        chosen: Sequence[Generation] = yield from generations.retired(name)
    else:
        chosen = [(yield from generations.numbered(name, number))]
    for generation in chosen:
        yield from lifecycle.drop(generation)
    return [generation.generation_id for generation in chosen]
