"""The life of a generation: begun, searched, retired, searched again, dropped. Each step is a transaction."""

from __future__ import annotations

from psycopg import errors as driver
from psycopg import sql
from psycopg.types.json import Jsonb

from pgrecall.errors import DatabaseError, InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store import jobs
from pgrecall.store.collections import Generation, NewGeneration, create_partition, drop_partition
from pgrecall.store.filling import count_lacking, sweep
from pgrecall.store.generations import numbered, unfinished
from pgrecall.store.lanes import claim
from pgrecall.store.session import fetch, transaction

#: How long a drop may make searches wait, how often it tries, and how long it rests between.
LOCK_TIMEOUT, ATTEMPTS, REST = "100ms", 200, 0.1


def check(begun: Generation | None, new: NewGeneration) -> None:
    """Raises InvalidArgument if the one that is being built is another than is wanted."""
    if begun is None:
        return
    wanted = new.embedder, new.dimensions, dict(new.chunking), new.storage
    if (begun.embedder, begun.dimensions, dict(begun.chunking), begun.storage) != wanted:
        name, number = begun.collection, begun.generation_id
        raise InvalidArgument(
            f'Generation {number} of "{name}" is being built already, with {begun.embedder} and '
            f"{dict(begun.chunking)}: finish it with `pgrecall reindex {name}`, or give it up with "
            f"`pgrecall reindex {name} --drop --generation {number}`."
        )


def begin(active: Generation, new: NewGeneration) -> Flow[Generation]:
    """A generation to be built beside the active one, or the one that was begun if it is the same.

    Raises InvalidArgument if another one is being built.
    """
    return (yield from transaction(_begin(active, new)))


def _begin(active: Generation, new: NewGeneration) -> Flow[Generation]:
    yield from claim(active.collection_id)
    begun = yield from unfinished(active.collection_id)
    check(begun, new)
    if begun is not None:
        return begun
    rows = yield from fetch(
        """
        INSERT INTO pgrecall.generations
               (collection_id, embedder, dimensions, storage, metric, prefix, chunking, state, languages)
        VALUES (%s, %s, %s, %s, %s, %s, %s, 'building', %s) RETURNING generation_id
        """,
        [
            active.collection_id,
            new.embedder,
            new.dimensions,
            new.storage.type,
            new.storage.metric,
            new.storage.prefix,
            Jsonb(new.chunking),
            [active.language],
        ],
    )
    generation = yield from numbered(active.collection, rows[0][0])
    yield from create_partition(generation)
    return generation


def revive(generation: Generation) -> Flow[None]:
    """Have a retired generation written to again, so that it does not fall behind further."""
    yield from transaction(_revive(generation))


def _revive(generation: Generation) -> Flow[None]:
    yield from claim(generation.collection_id)
    yield from fetch(
        """
        UPDATE pgrecall.generations SET state = 'building'
         WHERE generation_id = %s AND state = 'retired'
        """,
        [generation.generation_id],
    )


def retire_again(generation: Generation) -> Flow[None]:
    """Stop writing to a generation that was searched once and was to be searched again."""
    yield from fetch(
        """
        UPDATE pgrecall.generations SET state = 'retired'
         WHERE generation_id = %s AND state = 'building' AND activated_at IS NOT NULL
        """,
        [generation.generation_id],
    )


def activate(generation: Generation, *, force: bool) -> Flow[int]:
    """Search this generation from now on, in every process; the one before is retired.

    The documents that it lacks are counted while nobody writes; if there are any, nothing happens unless
    forced. Returns their number. Raises GenerationNotFound if it was dropped.
    """
    return (yield from transaction(_activate(generation, force)))


def _activate(generation: Generation, force: bool) -> Flow[int]:
    yield from claim(generation.collection_id)
    yield from numbered(generation.collection, generation.generation_id)
    missing, _ = yield from count_lacking(generation)
    if missing and not force:
        return missing
    if missing:
        yield from sweep(generation)
    scope = [generation.generation_id, generation.collection_id]
    yield from fetch(
        """
        UPDATE pgrecall.generations SET state = 'retired'
         WHERE generation_id <> %s AND collection_id = %s AND state = 'active'
        """,
        scope,
    )
    yield from fetch(
        """
        UPDATE pgrecall.generations SET state = 'active', activated_at = now()
         WHERE generation_id = %s AND collection_id = %s
        """,
        scope,
    )
    yield from fetch(
        "UPDATE pgrecall.collections SET active_generation_id = %s WHERE collection_id = %s", scope
    )
    return missing


def drop(generation: Generation) -> Flow[None]:
    """Remove a generation that is not searched: a table is dropped, whatever its size.

    That wants tables for itself for a moment, and searches would queue behind it; so it waits for no
    more than LOCK_TIMEOUT and tries again. Raises InvalidArgument for the active generation,
    GenerationNotFound.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            yield from transaction(_drop(generation))
        except DatabaseError as exc:
            busy = isinstance(exc.__cause__, driver.LockNotAvailable | driver.DeadlockDetected)
            if not busy or attempt == ATTEMPTS:
                raise
            yield from fetch("SELECT pg_sleep(%s)", [REST])
        else:
            return


def _drop(generation: Generation) -> Flow[None]:
    number = generation.generation_id
    yield from claim(generation.collection_id)
    yield from numbered(generation.collection, number)
    active = yield from fetch(
        "SELECT true FROM pgrecall.collections WHERE active_generation_id = %s", [number]
    )
    if active:
        raise InvalidArgument(
            f'Generation {number} is the one that "{generation.collection}" is searched in: '
            "activate another one first."
        )
    yield from jobs.withdraw([number])
    yield from fetch(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
    yield from drop_partition(number)
    yield from fetch("DELETE FROM pgrecall.generations WHERE generation_id = %s", [number])
