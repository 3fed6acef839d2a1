"""The generations of a collection: one is searched, others are being built or retired. Which there are."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from pgrecall.errors import GenerationNotFound
from pgrecall.flow import Flow
from pgrecall.store.collections import COLUMNS, Generation, from_row
from pgrecall.store.session import fetch

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


def found(number: int) -> Flow[Generation | None]:
    """The generation of that number, of whatever collection; None if it was dropped."""
    rows = yield from fetch(sql.SQL(_EVERY) + sql.SQL(" WHERE g.generation_id = %s"), [number])
    return from_row(rows[0]) if rows else None


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
