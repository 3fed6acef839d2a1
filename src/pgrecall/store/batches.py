"""Batches: stored documents that workers are to add to a generation, each batch a job of the queue.

A row holds the keys of some documents. It goes when the generation has them. One whose job has failed for good
stays, and so does one whose job was discarded, without it: what has a row is not handed over once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg.types.json import Jsonb

from pgrecall.flow import Flow
from pgrecall.store import generations, settling
from pgrecall.store.collections import Generation
from pgrecall.store.identity import Key, any_of
from pgrecall.store.jobs import QUEUE, REINDEX
from pgrecall.store.session import fetch, transaction

#: Documents that are handed over come before those that are only to be made anew.
PRIORITY = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Documents whose turn it is."""

    batch_id: int
    generation: Generation
    keys: Sequence[Key]
    #: Whether what may be embedded for the generation is limited.
    limited: bool
    #: Why the last attempt failed.
    error: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """Documents of a generation that workers were given."""

    #: They wait, or are in hand.
    queued: int
    #: They failed for good, until ``retry`` or ``discard``.
    failed: int


def claim(generation: Generation) -> Flow[None]:
    """Until the transaction ends nobody else hands over documents of the generation."""
    yield from fetch(
        "SELECT pg_advisory_xact_lock(hashtext('pgrecall.batches'), %s)", [generation.generation_id]
    )


def add(
    generation: Generation, uri: str, keys: Sequence[Key], error: str | None = None
) -> Flow[None]:
    """One more job; ``uri`` is that of its first document."""
    yield from fetch(
        """
        WITH job AS (
            INSERT INTO pgrecall.procrastinate_jobs (queue_name, task_name, priority, args)
            VALUES (%s, %s, %s, %s) RETURNING id)
        INSERT INTO pgrecall.batches (generation_id, job_id, uri, tenant_ids, document_ids, error)
        SELECT %s, id, %s, %s, %s, %s FROM job
        """,
        [
            *(QUEUE, REINDEX, PRIORITY, Jsonb({"generation_id": generation.generation_id})),
            *(generation.generation_id, uri),
            *([tenant for tenant, _ in keys], [identity for _, identity in keys]),
            error and error.replace("\x00", ""),
        ],
    )


def withdraw(generation: Generation) -> Flow[None]:
    """Take back what no worker has in hand."""
    yield from fetch(
        """
        DELETE FROM pgrecall.procrastinate_jobs
         WHERE status IN ('todo', 'failed')
           AND id IN (SELECT job_id FROM pgrecall.batches WHERE generation_id = %s)
        """,
        [generation.generation_id],
    )
    yield from fetch(
        "DELETE FROM pgrecall.batches WHERE generation_id = %s AND job_id IS NULL",
        [generation.generation_id],
    )


def members(generation: Generation) -> Flow[list[UUID]]:
    """The documents that have a row, whatever became of their job."""
    rows = yield from fetch(
        "SELECT unnest(document_ids) FROM pgrecall.batches WHERE generation_id = %s",
        [generation.generation_id],
    )
    return [row[0] for row in rows]


def load(job_id: int) -> Flow[Batch | None]:
    """The batch of a job; None if it is done, was taken back, or its generation was dropped."""
    rows = yield from fetch(
        """
        SELECT batch_id, generation_id, tenant_ids, document_ids,
               EXISTS (SELECT FROM pgrecall.reindexings AS r
                        WHERE r.generation_id = b.generation_id AND r.remaining IS NOT NULL),
               error
          FROM pgrecall.batches AS b WHERE job_id = %s
        """,
        [job_id],
    )
    if not rows:
        return None
    batch_id, number, tenants, identities, limited, error = rows[0]
    generation = yield from generations.found(number)
    if generation is None:
        return None
    keys = list(zip(tenants, identities, strict=True))
    return Batch(batch_id=batch_id, generation=generation, keys=keys, limited=limited, error=error)


def divide(batch: Batch) -> Flow[None]:
    """Have each of its documents added by itself: one of them may be what its workers die of."""
    rows = yield from fetch(
        """
        SELECT tenant_id, document_id, uri FROM pgrecall.documents
         WHERE tenant_id = ANY(%s) AND document_id = ANY(%s) AND content_hash IS NOT NULL
        """,
        any_of(batch.keys),
    )
    yield from done(batch, {(tenant, identity): (uri, None) for tenant, identity, uri in rows})


#: Documents that are to be tried again, with their uris and why they were refused.
Again = Mapping[Key, tuple[str, str | None]]


def done(batch: Batch, again: Again) -> Flow[None]:
    """The generation has its documents, but for those that are to be tried again, each by itself."""
    yield from transaction(_done(batch, again))


def _done(batch: Batch, again: Again) -> Flow[None]:
    rows = yield from fetch(
        "DELETE FROM pgrecall.batches WHERE batch_id = %s RETURNING true", [batch.batch_id]
    )
    if rows:
        for key, (uri, reason) in again.items():
            yield from add(batch.generation, uri, [key], reason)
    yield from settling.finish_soon(batch.generation)


def keep_error(job_id: int, reason: str) -> Flow[bool]:
    """Note why an attempt failed; False if the batch was taken back meanwhile, or its generation dropped."""
    rows = yield from fetch(
        "UPDATE pgrecall.batches SET error = %s WHERE job_id = %s RETURNING true",
        [reason.replace("\x00", ""), job_id],
    )
    return bool(rows)


def due(generation: Generation) -> Flow[bool]:
    """Whether batches of the generation are in hand, or could be taken up now."""
    rows = yield from fetch(
        """
        SELECT EXISTS (
            SELECT FROM pgrecall.batches AS b JOIN pgrecall.procrastinate_jobs AS j ON j.id = b.job_id
             WHERE b.generation_id = %s AND (j.status = 'doing' OR j.status = 'todo'
                   AND (j.scheduled_at IS NULL OR j.scheduled_at <= now())))
        """,
        [generation.generation_id],
    )
    return bool(rows[0][0])


def handed(collection: str) -> Flow[dict[int, Handed]]:
    """By generation of the collection, the documents that workers were given."""
    rows = yield from fetch(
        """
        SELECT b.generation_id,
               coalesce(sum(cardinality(document_ids)) FILTER (WHERE j.status IN ('todo', 'doing')), 0),
               coalesce(sum(cardinality(document_ids)) FILTER (WHERE j.status = 'failed'), 0)
          FROM pgrecall.batches AS b
          JOIN pgrecall.procrastinate_jobs AS j ON j.id = b.job_id
          JOIN pgrecall.generations AS g ON g.generation_id = b.generation_id
          JOIN pgrecall.collections AS c ON c.collection_id = g.collection_id
         WHERE c.name = %s GROUP BY b.generation_id
        """,
        [collection],
    )
    return {row[0]: Handed(queued=row[1], failed=row[2]) for row in rows}
