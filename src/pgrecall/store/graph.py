"""The graph of vectors, built anew when it was outgrown.

Rows that are added one by one are linked to what a search through the graph finds at that moment, and new
subjects end up as islands: of 36,674 chunks of five subjects, an index built on the first 12,700 and grown with
the rest found half of the nearest rows of real questions at ef_search 100, one built of all at once 0.77.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import psycopg
from psycopg import sql

from pgrecall.errors import DatabaseError
from pgrecall.flow import Flow
from pgrecall.store import indexes
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch, transaction

#: How often, and for how many milliseconds, a rebuild waits for readers that are at work, at its end.
#: Whoever comes meanwhile stands behind it in the queue of the lock.
ATTEMPTS, PATIENCE = 40, 100


def outgrown(generation: Generation) -> Flow[bool]:
    """Whether the table has grown by half since the graph was built.

    False within a transaction of the caller's own that has written: readers would wait until it ends.
    """
    rows = yield from fetch(
        """
        SELECT chunk_count > 2000 AND chunk_count > graph_chunks * 3 / 2
               AND pg_current_xact_id_if_assigned() IS NULL
          FROM pgrecall.generations WHERE generation_id = %s
        """,
        [generation.generation_id],
    )
    return bool(rows and rows[0][0])


def rebuild(generation: Generation) -> Flow[bool]:
    """Build the graph anew, and forget the recall of the old one, which is searched until then.

    Writers of the generation wait meanwhile. False if readers that stay kept the old one in its place.
    """
    # Tried before the work as well: who keeps reading now may do so at its end.
    for work in (_exchange(partial(_lock, generation)), _rebuild(generation)):
        try:
            yield from transaction(work)
        except DatabaseError as exc:
            if _busy(exc):
                return False
            raise
    return True


def _rebuild(generation: Generation) -> Flow[None]:
    former = sql.Identifier("pgrecall", f"{generation.table}_embedding")
    away = sql.Identifier(f"{generation.table}_former")
    yield from fetch(sql.SQL("ALTER INDEX {} RENAME TO {}").format(former, away))
    yield from indexes.create(generation, "embedding")
    yield from _exchange(partial(_drop, generation))
    yield from fetch(
        "UPDATE pgrecall.generations SET recall_chunks = NULL WHERE generation_id = %s",
        [generation.generation_id],
    )


def _exchange(steps: Callable[[], Flow[None]]) -> Flow[None]:
    """What locks readers out for a moment, as soon as there is a gap between them."""
    for left in reversed(range(ATTEMPTS)):
        try:
            return (yield from transaction(_briefly(steps())))
        except DatabaseError as exc:
            if not left or not _busy(exc):
                raise
        yield from fetch("SELECT pg_sleep(0.05)")


def _briefly(steps: Flow[None]) -> Flow[None]:
    yield from fetch("SELECT set_config('lock_timeout', %s, true)", [str(PATIENCE)])
    yield from steps


def _lock(generation: Generation) -> Flow[None]:
    yield from fetch(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(generation.partition))


def _drop(generation: Generation) -> Flow[None]:
    yield from fetch(
        sql.SQL("DROP INDEX {}").format(sql.Identifier("pgrecall", f"{generation.table}_former"))
    )


def _busy(exc: DatabaseError) -> bool:
    return isinstance(exc.__cause__, psycopg.errors.LockNotAvailable)
