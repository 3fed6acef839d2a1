"""The generations of a collection: one is searched, others are being built or retired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from psycopg import errors as driver
from psycopg import sql
from psycopg.types.json import Jsonb

from pgrecall.errors import DatabaseError, GenerationNotFound, InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store.collections import (
    COLUMNS,
    Generation,
    NewGeneration,
    create_partition,
    drop_partition,
    from_row,
)
from pgrecall.store.filling import count_lacking, sweep
from pgrecall.store.lanes import claim
from pgrecall.store.session import fetch, transaction
from pgrecall.store.storage import Storage

State: TypeAlias = Literal["building", "active", "retired"]

#: How long a drop may make searches wait, how often it tries, and how long it rests between.
LOCK_TIMEOUT, ATTEMPTS, REST = "100ms", 200, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStatus:
    """A generation in figures."""

    generation_id: int
    #: "active": searched. "building": gets all that is written. "retired": can be gone back to.
    state: State
    embedder: str
    dimensions: int
    chunking: Mapping[str, Any]
    storage: Storage
    #: Documents whose stored version it holds, and those that it lacks.
    documents: int
    lacking: int
    #: On disk, with its indexes.
    bytes: int
    #: Whether its HNSW index is there.
    indexed: bool
    created_at: datetime
    #: When it became the one that is searched, last; None while it never was.
    activated_at: datetime | None


def statuses(collection: str) -> Flow[list[GenerationStatus]]:
    """All generations of a collection, oldest first. Counts documents, so it reads their table."""
    rows = yield from fetch(
        """
        WITH held AS (
            SELECT g.generation_id, count(d.uri) AS held
              FROM pgrecall.generations AS g
              JOIN pgrecall.collections AS c ON c.collection_id = g.collection_id AND c.name = %s
              LEFT JOIN pgrecall.documents AS d
                ON d.collection_id = c.collection_id AND d.content_hash IS NOT NULL
               AND d.generations @> ARRAY[g.generation_id]
             GROUP BY g.generation_id
        )
        SELECT g.generation_id, g.state, g.embedder, g.dimensions, g.chunking, held.held,
               (SELECT count(*) FROM pgrecall.documents AS d
                 WHERE d.collection_id = g.collection_id AND d.content_hash IS NOT NULL) - held.held,
               coalesce(pg_total_relation_size(to_regclass('pgrecall.chunks_g' || g.generation_id)), 0),
               EXISTS (SELECT FROM pg_index WHERE indisvalid AND indexrelid =
                       to_regclass('pgrecall.chunks_g' || g.generation_id || '_embedding')),
               g.created_at, g.activated_at, g.storage, g.metric, g.prefix
          FROM pgrecall.generations AS g JOIN held USING (generation_id)
         ORDER BY g.generation_id
        """,
        [collection],
    )
    return [
        GenerationStatus(
            generation_id=row[0],
            state=row[1],
            embedder=row[2],
            dimensions=row[3],
            chunking=row[4],
            documents=row[5],
            lacking=row[6],
            bytes=row[7],
            indexed=row[8],
            created_at=row[9],
            activated_at=row[10],
            storage=Storage(type=row[11], metric=row[12], prefix=row[13]),
        )
        for row in rows
    ]


_EVERY = f"""
    SELECT {COLUMNS} FROM pgrecall.generations AS g
      JOIN pgrecall.collections AS c ON c.collection_id = g.collection_id
"""  # noqa: S608 (constants only)


def numbered(collection: str, number: int) -> Flow[Generation]:
    """The generation of that number; raises GenerationNotFound."""
    rows = yield from fetch(
        sql.SQL(_EVERY) + sql.SQL(" WHERE c.name = %s AND g.generation_id = %s"),
        [collection, number],
    )
    if not rows:
        raise GenerationNotFound(
            f'The collection "{collection}" has no generation {number}; '
            f"`pgrecall reindex {collection} --status` lists them."
        )
    return from_row(rows[0])


def building(collection_id: int) -> Flow[list[Generation]]:
    """The generations that get what is written, though they are not searched."""
    rows = yield from fetch(
        sql.SQL(_EVERY)
        + sql.SQL(" WHERE g.collection_id = %s AND g.state = 'building' ORDER BY g.generation_id"),
        [collection_id],
    )
    return [from_row(row) for row in rows]


def unfinished(collection_id: int) -> Flow[Generation | None]:
    """The generation that is being built and was never searched; there is one at most."""
    rows = yield from fetch(
        sql.SQL(_EVERY)
        + sql.SQL(
            " WHERE g.collection_id = %s AND g.state = 'building' AND g.activated_at IS NULL"
        ),
        [collection_id],
    )
    return from_row(rows[0]) if rows else None


def previous(collection: str) -> Flow[Generation]:
    """The one that was searched last before the active one; raises GenerationNotFound."""
    rows = yield from fetch(
        sql.SQL(_EVERY)
        + sql.SQL(
            """
            WHERE c.name = %s AND g.activated_at IS NOT NULL
              AND g.generation_id <> c.active_generation_id
            ORDER BY g.activated_at DESC, g.generation_id DESC LIMIT 1
            """
        ),
        [collection],
    )
    if not rows:
        raise GenerationNotFound(
            f'The collection "{collection}" has no earlier generation to go back to.'
        )
    return from_row(rows[0])


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
    yield from fetch(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(LOCK_TIMEOUT)))
    yield from drop_partition(number)
    yield from fetch("DELETE FROM pgrecall.generations WHERE generation_id = %s", [number])


def retired(collection: str) -> Flow[Sequence[Generation]]:
    """The generations that were searched once and are not any more, oldest first."""
    rows = yield from fetch(
        sql.SQL(_EVERY)
        + sql.SQL(" WHERE c.name = %s AND g.state = 'retired' ORDER BY g.generation_id"),
        [collection],
    )
    return [from_row(row) for row in rows]
