"""Which generations a write reaches, and who waits for whom.

A document's column ``generations`` names those that hold the chunks of its stored version. Every write goes
to the active generation, and to those that are being built as far as the writer knew of them; the rest find
out by that column what they lack (``store.filling``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import errors as driver
from psycopg import sql

from pgrecall.errors import CollectionNotFound, DatabaseError, GenerationChanged
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch, transaction


def share(collection_id: int) -> Flow[None]:
    """Until the transaction ends no generation of the collection begins, ends or changes its state.

    Not by a lock on a row, which one writer after another could keep shared for ever: locks of this kind
    are granted in the order in which they are asked for.
    """
    yield from fetch(
        "SELECT pg_advisory_xact_lock_shared(hashtext('pgrecall.generations'), %s)", [collection_id]
    )


def claim(collection_id: int) -> Flow[None]:
    """Until the transaction ends nobody writes documents of the collection; searches go on."""
    yield from fetch(
        "SELECT pg_advisory_xact_lock(hashtext('pgrecall.generations'), %s)", [collection_id]
    )


@dataclass(frozen=True, slots=True)
class Lanes:
    """The generations that a write may touch just now."""

    #: Those that get the new versions besides the active one, if the writer has them at hand.
    building: Sequence[int]
    #: Those that old versions are taken out of: all but what is busy (``_busy``).
    every: Sequence[int]


def lanes(generation: Generation) -> Flow[Lanes]:
    """Where a write of this generation may go; held (``share``) until the transaction ends.

    Raises GenerationChanged if it is not the active one any more, CollectionNotFound.
    """
    yield from share(generation.collection_id)
    # The row too, so that dropping the collection waits for the writers, or they for it.
    rows = yield from fetch(
        """
        SELECT active_generation_id,
               ARRAY(SELECT generation_id FROM pgrecall.generations AS g
                      WHERE g.collection_id = c.collection_id AND state <> 'building'),
               ARRAY(SELECT generation_id FROM pgrecall.generations AS g
                      WHERE g.collection_id = c.collection_id AND state = 'building')
          FROM pgrecall.collections AS c WHERE collection_id = %s FOR KEY SHARE OF c
        """,
        [generation.collection_id],
    )
    if not rows:
        raise CollectionNotFound("The collection was dropped meanwhile.")
    active, settled, building = rows[0]
    if active != generation.generation_id:
        raise GenerationChanged
    free = []
    for number in building:
        if not (yield from _busy(number)):
            free.append(number)
    return Lanes(free, [*settled, *free])


def _busy(number: int) -> Flow[bool]:
    """Whether writers would have to wait: while its indexes are built, which takes minutes.

    It keeps old versions then, which the documents do not name; filling it takes them out.
    """
    try:
        yield from transaction(
            fetch(
                sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE NOWAIT").format(
                    sql.Identifier("pgrecall", f"chunks_g{number}")
                )
            )
        )
    except DatabaseError as exc:
        if not isinstance(exc.__cause__, driver.LockNotAvailable):
            raise
        return True
    return False
