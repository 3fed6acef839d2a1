"""The jobs of the queue: counted, listed, tried again, given up, taken over from the dead, and settling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.types.json import Jsonb

from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch, transaction

#: The queue and the tasks, by the names that procrastinate knows them by.
QUEUE, INGEST, SETTLE = "pgrecall", "pgrecall.ingest", "pgrecall.settle"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """A document that no worker could take in, and why."""

    job_id: int
    collection: str
    uri: str
    tenant_id: str
    error: str
    attempts: int
    #: When the document was handed over.
    enqueued: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """Documents in the queue, by what happens to them."""

    waiting: int
    #: Of these, a worker has them in hand.
    working: int
    #: Failed, and waiting for another attempt.
    retrying: int
    #: Failed for good, until ``retry`` or ``discard``.
    failed: int
    #: Workers that gave a sign of life within the last half minute.
    workers: int


def status() -> Flow[QueueStatus]:
    """Count the documents in the queue of the database."""
    rows = yield from fetch(
        """
        SELECT count(*) FILTER (WHERE status = 'todo' AND attempts = 0),
               count(*) FILTER (WHERE status = 'doing'),
               count(*) FILTER (WHERE status = 'todo' AND attempts > 0),
               count(*) FILTER (WHERE status = 'failed'),
               (SELECT count(*) FROM pgrecall.procrastinate_workers
                 WHERE last_heartbeat > now() - interval '30 seconds')
          FROM pgrecall.procrastinate_jobs JOIN pgrecall.queue ON job_id = id
        """
    )
    waiting, working, retrying, failed_, workers = rows[0]
    return QueueStatus(
        waiting=waiting, working=working, retrying=retrying, failed=failed_, workers=workers
    )


def failed(collection: str | None = None) -> Flow[list[FailedJob]]:
    """The documents that failed for good, oldest first."""
    rows = yield from fetch(
        """
        SELECT q.job_id, c.name, q.uri, q.tenant_id, coalesce(q.error, ''), j.attempts, q.created_at
          FROM pgrecall.queue AS q
          JOIN pgrecall.procrastinate_jobs AS j ON j.id = q.job_id
          JOIN pgrecall.collections AS c ON c.collection_id = q.collection_id
         WHERE j.status = 'failed' AND (%s::text IS NULL OR c.name = %s)
         ORDER BY q.job_id
        """,
        [collection, collection],
    )
    return [
        FailedJob(
            job_id=row[0],
            collection=row[1],
            uri=row[2],
            tenant_id=row[3],
            error=row[4],
            attempts=row[5],
            enqueued=row[6],
        )
        for row in rows
    ]


def retry(job_ids: Sequence[int] | None = None) -> Flow[int]:
    """Let failed documents be tried again, with all their attempts; how many there were."""
    rows = yield from fetch(
        """
        WITH again AS (
            UPDATE pgrecall.procrastinate_jobs
               SET status = 'todo', attempts = 0, scheduled_at = NULL, worker_id = NULL
             WHERE status = 'failed' AND queue_name = %s AND task_name = %s
               AND (%s::bigint[] IS NULL OR id = ANY(%s))
            RETURNING id)
        SELECT id FROM again
        """,
        [QUEUE, INGEST, job_ids, job_ids],
    )
    yield from _announce([row[0] for row in rows])
    return len(rows)


def _announce(job_ids: Sequence[int]) -> Flow[None]:
    """As procrastinate does when a job is new, so that no worker has to look by itself."""
    yield from fetch(
        """
        SELECT pg_notify('procrastinate_queue_v1#pgrecall',
                         json_build_object('type', 'job_inserted', 'job_id', id)::text)
          FROM unnest(%s::bigint[]) AS n (id)
        """,
        [job_ids],
    )


def discard(job_ids: Sequence[int] | None = None) -> Flow[int]:
    """Drop failed documents from the queue; how many there were. Stored versions stay as they are."""
    rows = yield from fetch(
        """
        DELETE FROM pgrecall.procrastinate_jobs
         WHERE status = 'failed' AND queue_name = %s AND task_name = %s
           AND (%s::bigint[] IS NULL OR id = ANY(%s))
        RETURNING id
        """,
        [QUEUE, INGEST, job_ids, job_ids],
    )
    return len(rows)


def take_over(*, stalled_after: float, attempts: int) -> Flow[int]:
    """Give back what dead workers had in hand; the number of jobs.

    A worker is dead when it gave no sign of life for ``stalled_after`` seconds. A document that was in
    hand each time that a worker died counts as failed after so many attempts: it may be the cause.
    """
    return (yield from transaction(_take_over(stalled_after, attempts)))


def _take_over(stalled_after: float, attempts: int) -> Flow[int]:
    rows = yield from fetch(
        """
        SELECT j.id, j.task_name = %s, j.attempts + 1 >= %s FROM pgrecall.procrastinate_jobs AS j
         WHERE j.status = 'doing' AND j.queue_name = %s AND NOT EXISTS (
               SELECT FROM pgrecall.procrastinate_workers AS w
                WHERE w.id = j.worker_id
                  AND w.last_heartbeat > now() - make_interval(secs => %s))
         ORDER BY j.id FOR UPDATE SKIP LOCKED
        """,
        [SETTLE, attempts, QUEUE, stalled_after],
    )
    exhausted = [job for job, settles, last in rows if last and not settles]
    again = [job for job, settles, last in rows if not last and not settles]
    yield from fetch(
        """
        UPDATE pgrecall.procrastinate_jobs SET status = 'todo', attempts = attempts + 1, worker_id = NULL
         WHERE id = ANY(%s)
        """,
        [again],
    )
    yield from _announce(again)
    yield from fetch(
        """
        WITH dead AS (
            UPDATE pgrecall.procrastinate_jobs SET status = 'failed', attempts = attempts + 1
             WHERE id = ANY(%s) RETURNING id)
        UPDATE pgrecall.queue SET error = 'Each worker that took the document died.'
          FROM dead WHERE job_id = id
        """,
        [exhausted],
    )
    yield from _settle_again([job for job, settles, _ in rows if settles])
    return len(rows)


def _settle_again(job_ids: Sequence[int]) -> Flow[None]:
    """A new job each, unless one waits already."""
    yield from fetch(
        """
        WITH dead AS (
            DELETE FROM pgrecall.procrastinate_jobs WHERE id = ANY(%s)
            RETURNING queue_name, task_name, lock, queueing_lock, args)
        INSERT INTO pgrecall.procrastinate_jobs (queue_name, task_name, lock, queueing_lock, args)
        SELECT * FROM dead ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING
        """,
        [job_ids],
    )


def settle_soon(collection_id: int, since: float, *, delay: float) -> Flow[None]:
    """Have the collection settled in so many seconds, unless that is planned already.

    ``since`` is when there was first something to settle, in seconds since 1970.
    """
    name = f"pgrecall.settle:{collection_id}"
    yield from fetch(
        """
        INSERT INTO pgrecall.procrastinate_jobs
               (queue_name, task_name, lock, queueing_lock, args, scheduled_at)
        VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s))
        ON CONFLICT (queueing_lock) WHERE status = 'todo' DO NOTHING
        """,
        [QUEUE, SETTLE, name, name, Jsonb({"collection_id": collection_id, "since": since}), delay],
    )


def settle_now() -> Flow[None]:
    """Whatever is to be settled soon, now."""
    yield from fetch(
        """
        UPDATE pgrecall.procrastinate_jobs SET scheduled_at = NULL
         WHERE status = 'todo' AND queue_name = %s AND task_name = %s
        """,
        [QUEUE, SETTLE],
    )


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


def waits() -> Flow[bool]:
    """Whether a document waits that could be taken up now, or as soon as another version of it is done."""
    rows = yield from fetch(
        """
        SELECT EXISTS (SELECT FROM pgrecall.procrastinate_jobs
                        WHERE status = 'todo' AND task_name = %s
                          AND (scheduled_at IS NULL OR scheduled_at <= now()))
        """,
        [INGEST],
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
