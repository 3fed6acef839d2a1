"""Collections that exist only for a measurement, and go even if whoever measures is killed.

Each is marked with the server's process that serves its owner. A mark whose process is gone is a leftover:
neither a clock nor a lock could tell a killed owner from one that waits for a slow model.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from uuid import uuid4

from psycopg import sql

from pgrecall.errors import CollectionNotFound
from pgrecall.flow import Flow
from pgrecall.store import collections
from pgrecall.store.collections import Generation, NewGeneration
from pgrecall.store.identity import Key
from pgrecall.store.session import fetch, transaction

#: What their names begin with.
PREFIX = "pgrecall-eval-"
_MARK = """
    UPDATE pgrecall.collections SET defaults = defaults || jsonb_build_object('throwaway', (
               SELECT jsonb_build_object('pid', pid, 'since', backend_start)
                 FROM pg_stat_activity WHERE pid = pg_backend_pid()))
     WHERE name = %s
"""


def new_name() -> str:
    """A name that no other collection has."""
    return PREFIX + uuid4().hex[:12]


def create(name: str, new: NewGeneration, *, language: str) -> Flow[Generation]:
    """A throw-away collection, marked from the first moment that others can see it."""
    return (yield from transaction(_create(name, new, language)))


def _create(name: str, new: NewGeneration, language: str) -> Flow[Generation]:
    generation = yield from collections.create(name, new, defaults={"language": language})
    yield from touch(name)
    return generation


def touch(name: str) -> Flow[None]:
    """Mark it as used by this connection: a pool may have taken another one meanwhile."""
    yield from fetch(_MARK, [name])


def drop(name: str) -> Flow[None]:
    """Remove it, if it is there."""
    with suppress(CollectionNotFound):
        yield from collections.drop(name)


def leftovers() -> Flow[list[str]]:
    """The names of those whose owners were killed."""
    rows = yield from fetch(
        """
        SELECT name FROM pgrecall.collections AS c
         WHERE starts_with(name, %s) AND defaults ? 'throwaway' AND NOT EXISTS (
               SELECT FROM pg_stat_activity AS a
                WHERE a.pid = (c.defaults->'throwaway'->>'pid')::integer
                  -- The times of other roles' processes are not shown to everybody.
                  AND coalesce(a.backend_start = (c.defaults->'throwaway'->>'since')::timestamptz,
                               true))
        """,
        [PREFIX],
    )
    return [name for (name,) in rows]


def sweep() -> Flow[None]:
    """Remove those whose owners were killed."""
    for name in (yield from leftovers()):
        yield from drop(name)


def sample(generation: Generation, wanted: Collection[str], count: int) -> Flow[list[Key]]:
    """The documents of the wanted uris, and others up to ``count``: the same each time."""
    # Ids are hashes, so their order is as good as chance.
    rows = yield from fetch(
        """
        SELECT tenant_id, document_id, uri = ANY(%s) FROM pgrecall.documents
         WHERE collection_id = %s AND content_hash IS NOT NULL
         ORDER BY 3 DESC, document_id LIMIT %s
        """,
        [list(wanted), generation.collection_id, max(count, len(wanted))],
    )
    return [(row[0], row[1]) for row in rows]


def size(generation: Generation) -> Flow[int]:
    """Bytes of the chunks on disk, with their indexes."""
    rows = yield from fetch(
        sql.SQL("SELECT pg_total_relation_size({}::regclass)").format(
            sql.Literal(f"pgrecall.{generation.table}")
        )
    )
    return int(rows[0][0])
