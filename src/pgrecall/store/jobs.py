"""The jobs of the queue: counted, listed, tried again, given up, taken over from the dead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pgrecall.flow import Flow
from pgrecall.store.session import fetch, transaction

#: The queue and the tasks, by the names that procrastinate knows them by.
QUEUE, INGEST, SETTLE = "pgrecall", "pgrecall.ingest", "pgrecall.settle"
REINDEX, FINISH = "pgrecall.reindex", "pgrecall.finish"
#: What is tried again, and listed when it has failed for good. Settling is planned anew by what comes next.
LISTED = [INGEST, REINDEX, FINISH]


#: What every job has to do with: a document of ``queue``, some of ``batches``, or the end of a generation.
_HANDED = """
    SELECT job_id, collection_id, uri, tenant_id, error, created_at, 1 AS documents,
           NULL::integer AS generation_id
      FROM pgrecall.queue
     UNION ALL
    SELECT job_id, g.collection_id, uri, tenant_ids[1], error, b.created_at, cardinality(document_ids),
           b.generation_id
      FROM pgrecall.batches AS b JOIN pgrecall.generations AS g ON g.generation_id = b.generation_id
     WHERE job_id IS NOT NULL
     UNION ALL
    SELECT j.id, g.collection_id, '', '', r.error, g.created_at, 0, g.generation_id
      FROM pgrecall.procrastinate_jobs AS j
      JOIN pgrecall.generations AS g ON g.generation_id = (j.args ->> 'generation_id')::integer
      LEFT JOIN pgrecall.reindexings AS r ON r.generation_id = g.generation_id
     WHERE j.task_name = 'pgrecall.finish'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedJob:
    """What no worker could do, and why: take a document in, add documents to a generation, finish one."""

    job_id: int
    collection: str
    #: Of the document, or of the first of them; empty for the end of a generation.
    uri: str
    tenant_id: str
    error: str
    attempts: int
    #: When it was handed over.
    enqueued: datetime
    documents: int
    #: The generation that they are for; None if the document was to be taken in.
    generation_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """Documents in the queue, by what happens to them. The end of a reindexing counts as one."""

    waiting: int
    #: Of these, a worker has them in hand.
    working: int
    #: Failed, and waiting for another attempt.
    retrying: int
    #: When the next of these is due.
    next_attempt: datetime | None
    #: Failed for good, until ``retry`` or ``discard``.
    failed: int
    #: Workers that gave a sign of life within the last half minute.
    workers: int


def status() -> Flow[QueueStatus]:
    """Count the documents in the queue of the database."""
    rows = yield from fetch(
        f"""
        SELECT coalesce(sum(counted) FILTER (WHERE status = 'todo' AND attempts = 0), 0),
               coalesce(sum(counted) FILTER (WHERE status = 'doing'), 0),
               coalesce(sum(counted) FILTER (WHERE status = 'todo' AND attempts > 0), 0),
               min(coalesce(scheduled_at, now())) FILTER (WHERE status = 'todo' AND attempts > 0),
               coalesce(sum(counted) FILTER (WHERE status = 'failed'), 0),
               (SELECT count(*) FROM pgrecall.procrastinate_workers
                 WHERE last_heartbeat > now() - interval '30 seconds')
          FROM pgrecall.procrastinate_jobs JOIN ({_HANDED}) AS q ON job_id = id,
               greatest(documents, 1) AS counted
        """  # noqa: S608 (constants only)
    )
    waiting, working, retrying, next_attempt, failed_, workers = rows[0]
    return QueueStatus(
        waiting=waiting,
        working=working,
        retrying=retrying,
        next_attempt=next_attempt,
        failed=failed_,
        workers=workers,
    )


def failed(collection: str | None = None) -> Flow[list[FailedJob]]:
    """What failed for good, oldest first."""
    rows = yield from fetch(
        f"""
        SELECT q.job_id, c.name, q.uri, q.tenant_id, coalesce(q.error, ''), j.attempts, q.created_at,
               q.documents, q.generation_id
          FROM ({_HANDED}) AS q
          JOIN pgrecall.procrastinate_jobs AS j ON j.id = q.job_id
          JOIN pgrecall.collections AS c ON c.collection_id = q.collection_id
         WHERE j.status = 'failed' AND (%s::text IS NULL OR c.name = %s)
         ORDER BY q.job_id
        """,  # noqa: S608 (constants only)
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
            documents=row[7],
            generation_id=row[8],
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
             WHERE status = 'failed' AND queue_name = %s AND task_name = ANY(%s)
               AND (%s::bigint[] IS NULL OR id = ANY(%s))
            RETURNING id)
        SELECT id FROM again
        """,
        [QUEUE, LISTED, job_ids, job_ids],
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
         WHERE status = 'failed' AND queue_name = %s AND task_name = ANY(%s)
           AND (%s::bigint[] IS NULL OR id = ANY(%s))
        RETURNING id
        """,
        [QUEUE, LISTED, job_ids, job_ids],
    )
    return len(rows)


def withdraw(generations: Sequence[int], collection_id: int | None = None) -> Flow[None]:
    """Take back what was handed over for these generations, and for their collection if it goes too.

    What a worker has in hand is left to it: it will find nothing to do.
    """
    yield from fetch(
        """
        DELETE FROM pgrecall.procrastinate_jobs
         WHERE queue_name = %s AND status IN ('todo', 'failed') AND (
               id IN (SELECT job_id FROM pgrecall.batches WHERE generation_id = ANY(%s))
               OR task_name = %s AND (args ->> 'generation_id')::integer = ANY(%s)
               OR id IN (SELECT job_id FROM pgrecall.queue WHERE collection_id = %s)
               OR task_name = %s AND (args ->> 'collection_id')::integer = %s)
        """,
        [QUEUE, generations, FINISH, generations, collection_id, SETTLE, collection_id],
    )


def take_over(*, stalled_after: float, attempts: int) -> Flow[int]:
    """Give back what dead workers had in hand; the number of jobs.

    A worker is dead when it gave no sign of life for ``stalled_after`` seconds. A document that was in
    hand each time that a worker died counts as failed after so many attempts: it may be the cause.
    """
    return (yield from transaction(_take_over(stalled_after, attempts)))


def _take_over(stalled_after: float, attempts: int) -> Flow[int]:
    rows = yield from fetch(
        """
        SELECT j.id, j.task_name = ANY(%s), j.attempts + 1 >= %s FROM pgrecall.procrastinate_jobs AS j
         WHERE j.status = 'doing' AND j.queue_name = %s AND NOT EXISTS (
               SELECT FROM pgrecall.procrastinate_workers AS w
                WHERE w.id = j.worker_id
                  AND w.last_heartbeat > now() - make_interval(secs => %s))
         ORDER BY j.id FOR UPDATE SKIP LOCKED
        """,
        [[SETTLE, FINISH], attempts, QUEUE, stalled_after],
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
             WHERE id = ANY(%s) RETURNING id),
        documents AS (
            UPDATE pgrecall.queue SET error = 'Each worker that took the document died.'
              FROM dead WHERE job_id = id)
        UPDATE pgrecall.batches SET error = 'Each worker that took the documents died.'
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


def busy(worker_id: int) -> Flow[bool]:
    """Whether the worker has something in hand, or something could be taken up now."""
    rows = yield from fetch(
        """
        SELECT EXISTS (SELECT FROM pgrecall.procrastinate_jobs
                        WHERE queue_name = %s AND (status = 'doing' AND worker_id = %s OR
                              status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())))
        """,
        [QUEUE, worker_id],
    )
    return bool(rows[0][0])


def waits() -> Flow[bool]:
    """Whether something waits that could be taken up now, or as soon as another version of it is done."""
    rows = yield from fetch(
        """
        SELECT EXISTS (SELECT FROM pgrecall.procrastinate_jobs
                        WHERE status = 'todo' AND (task_name = ANY(%s) OR task_name = %s AND attempts > 0)
                          AND (scheduled_at IS NULL OR scheduled_at <= now()))
        """,
        [[INGEST, REINDEX], FINISH],
    )
    return bool(rows[0][0])
