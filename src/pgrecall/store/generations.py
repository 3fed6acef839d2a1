"""The generations of a collection: one is searched, others are being built or retired. Which there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from psycopg import sql

from pgrecall.errors import GenerationNotFound
from pgrecall.flow import Flow
from pgrecall.store.collections import COLUMNS, Generation, from_row
from pgrecall.store.session import fetch
from pgrecall.store.storage import Storage

State: TypeAlias = Literal["building", "active", "retired"]


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


def retired(collection: str) -> Flow[Sequence[Generation]]:
    """The generations that were searched once and are not any more, oldest first."""
    rows = yield from fetch(
        sql.SQL(_EVERY)
        + sql.SQL(" WHERE c.name = %s AND g.state = 'retired' ORDER BY g.generation_id"),
        [collection],
    )
    return [from_row(row) for row in rows]
