"""Settling what was written, once it is quiet: jobs of their own, put off while there is more to come.

A collection is settled after documents were taken in (indexes, statistics, measured recall); a generation that
workers fill is finished after its batches (the same, and what was written meanwhile).
"""

from __future__ import annotations

from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.jobs import FINISH, QUEUE, SETTLE
from pgrecall.store.session import fetch

#: Seconds after something was written until it is looked at, whether to settle it.
DELAY = 2.0


def settle_soon(collection_id: int, since: float) -> Flow[None]:
    """Have the collection settled, unless that is planned already.

    ``since`` is when there was first something to settle, in seconds since 1970.
    """
    yield from _soon(SETTLE, collection_id, {"collection_id": collection_id, "since": since})


def finish_soon(generation: Generation) -> Flow[None]:
    """Have the generation finished, unless that is planned already."""
    number = generation.generation_id
    # One that has failed would stand in the way of the new one when it is tried again.
    yield from fetch(
        "DELETE FROM pgrecall.procrastinate_jobs WHERE status = 'failed' AND queueing_lock = %s",
        [_name(FINISH, number)],
    )
    yield from _soon(FINISH, number, {"generation_id": number})


def forget(number: int) -> Flow[None]:
    """Finishing the generation of that number is not planned any more."""
    yield from fetch(
        "DELETE FROM pgrecall.procrastinate_jobs WHERE status = 'todo' AND queueing_lock = %s",
        [_name(FINISH, number)],
    )


def _soon(task: str, number: int, args: dict[str, Any]) -> Flow[None]:
    name = _name(task, number)
    yield from fetch(
        """
        INSERT INTO pgrecall.procrastinate_jobs
               (queue_name, task_name, lock, queueing_lock, args, scheduled_at)
        VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s))
        ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING
        """,
        [QUEUE, task, name, name, Jsonb(args), DELAY],
    )


def _name(task: str, number: int) -> str:
    return f"{task}:{number}"


def settle_now() -> Flow[None]:
    """Whatever is to be settled soon, now."""
    yield from fetch(
        """
        UPDATE pgrecall.procrastinate_jobs SET scheduled_at = NULL
         WHERE status = 'todo' AND attempts = 0 AND queue_name = %s AND task_name = ANY(%s)
        """,
        [QUEUE, [SETTLE, FINISH]],
    )


def left() -> Flow[bool]:
    """Whether something is to be settled yet, and no worker has anything in hand: else that one will do it."""
    rows = yield from fetch(
        """
        SELECT coalesce(bool_or(task_name = ANY(%s) AND attempts = 0) AND NOT bool_or(status = 'doing'),
                        false)
          FROM pgrecall.procrastinate_jobs WHERE queue_name = %s AND status IN ('todo', 'doing')
        """,
        [[SETTLE, FINISH], QUEUE],
    )
    return bool(rows[0][0])


def due(collection_id: int) -> Flow[bool]:
    """Whether documents of the collection are in hand, or could be taken up now."""
    rows = yield from fetch(
        """
        SELECT EXISTS (
            SELECT FROM pgrecall.queue AS q JOIN pgrecall.procrastinate_jobs AS j ON j.id = q.job_id
             WHERE q.collection_id = %s AND (j.status = 'doing' OR j.status = 'todo'
                   AND (j.scheduled_at IS NULL OR j.scheduled_at <= now())))
        """,
        [collection_id],
    )
    return bool(rows[0][0])


def collection_name(collection_id: int) -> Flow[str | None]:
    """What the collection is called; None if it was dropped."""
    rows = yield from fetch(
        "SELECT name FROM pgrecall.collections WHERE collection_id = %s", [collection_id]
    )
    return str(rows[0][0]) if rows else None


def unsettled(generation: Generation) -> Flow[int]:
    """Chunks that came or went since the last settling, whoever wrote them; about."""
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT greatest(pg_stat_get_mod_since_analyze(c.oid), abs(c.reltuples - g.chunk_count))::bigint
              FROM pg_class AS c, pgrecall.generations AS g
             WHERE c.oid = {table}::regclass AND g.generation_id = %s
            """
        ).format(table=sql.Literal(f"pgrecall.{generation.table}")),
        [generation.generation_id],
    )
    return int(rows[0][0])
