"""The graph of vectors: built of rows in mixed order, and anew when it was outgrown.

A row is linked to what a search through the graph finds when it comes. Rows that come subject by subject
become islands, and a question about one of them starts on another. Of 36,674 chunks of five subjects, real
questions about one found 0.48 of their nearest rows at ef_search 100 where most were added to a graph of the
first, 0.57 in a graph of all rows as they were stored, and 0.92 where these lay in an order by chance.
The breadth for a recall of 0.98 fell from 736 to 198.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import psycopg
from psycopg import sql

from pgrecall.errors import DatabaseError
from pgrecall.flow import Flow
from pgrecall.store import indexes
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch, transaction
from pgrecall.store.together import together

#: Below that, searches are exact.
SMALL = 2_000
#: Up to so many rows a graph that is in use is taken away while rows are mixed (readers wait some seconds) and
#: a new one is built (they search exactly). Of more rows, a new one is built beside it, of rows as they lie.
MIXED = 200_000
#: Chunks of a document that stay side by side when rows are mixed: what comes next is near in the graph, and
#: still in the processor's caches. A build took 0.77 of the time that it took where each row lay by chance.
RUN = 32
#: How often, and for how many milliseconds, one waits for readers that are at work. Whoever comes meanwhile
#: stands behind it in the queue of the lock.
ATTEMPTS, PATIENCE = 40, 100


def build(generation: Generation) -> Flow[bool]:
    """Create the indexes that are missing, each in a transaction of its own; whether the graph was.

    The rows are mixed before their first graph. The others are built beside it.
    """
    absent = yield from indexes.missing(generation)
    if "embedding" in absent and (yield from _alone()) and (yield from _rows(generation)) > SMALL:
        try:
            yield from _without_readers(partial(_mix, generation))
        except DatabaseError as exc:
            # Somebody keeps reading: the graph is built of the rows as they lie.
            if not _busy(exc):
                raise
    graph = [name for name in absent if name == "embedding"]
    others = [name for name in absent if name != "embedding"]
    yield from together(_create(generation, graph), _create(generation, others))
    return bool(graph)


def _create(generation: Generation, names: Sequence[str]) -> Flow[None]:
    for name in names:
        yield from transaction(indexes.create(generation, name))


def outgrown(generation: Generation) -> Flow[bool]:
    """Whether the table has grown by half since the graph was built."""
    rows = yield from fetch(
        """
        SELECT chunk_count > %s AND chunk_count > graph_chunks * 3 / 2
          FROM pgrecall.generations WHERE generation_id = %s
        """,
        [SMALL, generation.generation_id],
    )
    return bool(rows and rows[0][0] and (yield from _alone()))


def rebuild(generation: Generation) -> Flow[bool]:
    """Build the graph anew, and forget the recall of the old one.

    Writers of the generation wait meanwhile. False if readers that stay kept the old one in its place.
    """
    try:
        if (yield from _rows(generation)) <= MIXED:
            yield from _without_readers(partial(_mix, generation))
            yield from transaction(indexes.create(generation, "embedding"))
        else:
            # Tried before the work as well: who keeps reading now may do so at its end.
            yield from _without_readers(partial(_lock, generation))
            yield from transaction(_replace(generation))
    except DatabaseError as exc:
        if _busy(exc):
            return False
        raise
    yield from fetch(
        "UPDATE pgrecall.generations SET recall_chunks = NULL WHERE generation_id = %s",
        [generation.generation_id],
    )
    return True


def _rows(generation: Generation) -> Flow[int]:
    rows = yield from fetch(sql.SQL("SELECT count(*) FROM {}").format(generation.partition))
    return int(rows[0][0])


def _alone() -> Flow[bool]:
    """Whether locks end with each statement: in a caller's transaction readers would wait until it ends."""
    rows = yield from fetch("SELECT pg_current_xact_id_if_assigned() IS NULL")
    return bool(rows[0][0])


def _replace(generation: Generation) -> Flow[None]:
    former = sql.Identifier("pgrecall", f"{generation.table}_embedding")
    away = f"{generation.table}_former"
    yield from fetch(sql.SQL("ALTER INDEX {} RENAME TO {}").format(former, sql.Identifier(away)))
    yield from indexes.create(generation, "embedding")
    yield from _without_readers(partial(_drop, away))


def _mix(generation: Generation) -> Flow[None]:
    """Put the rows in an order by chance, but for runs of neighbours.

    Without a graph, since all indexes are built anew by this.
    """
    yield from _lock(generation)
    index = f"{generation.table}_embedding"
    graph = yield from fetch(
        """
        SELECT chunk_count <= graph_chunks * 3 / 2 FROM pgrecall.generations
         WHERE generation_id = %s AND to_regclass(%s) IS NOT NULL
        """,
        [generation.generation_id, f"pgrecall.{index}"],
    )
    if graph and graph[0][0]:
        return  # by somebody else, meanwhile
    if graph:
        yield from _drop(index)
    order = f"{generation.table}_order"
    for statement in (
        "CREATE INDEX {order} ON {partition}"
        " (uuid_hash_extended(document_id, ordinal / {run}), ordinal)",
        "CLUSTER {partition} USING {order}",
    ):
        yield from fetch(
            sql.SQL(statement).format(
                order=sql.Identifier(order), partition=generation.partition, run=sql.Literal(RUN)
            )
        )
    yield from _drop(order)


def _without_readers(steps: Callable[[], Flow[None]]) -> Flow[None]:
    """A transaction that locks readers out, begun as soon as there is a gap between them."""
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


def _drop(index: str) -> Flow[None]:
    yield from fetch(sql.SQL("DROP INDEX {}").format(sql.Identifier("pgrecall", index)))


def _busy(exc: DatabaseError) -> bool:
    return isinstance(exc.__cause__, psycopg.errors.LockNotAvailable)
