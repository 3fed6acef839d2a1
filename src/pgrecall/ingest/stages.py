"""What happens to documents on their way in: the rules, as flows and functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TypeVar

from pgrecall import errors, telemetry
from pgrecall.flow import Flow
from pgrecall.ingest import lanes
from pgrecall.ingest.embedding import embed, give_up, keep
from pgrecall.ingest.job import Ingestion, Intake
from pgrecall.load.discover import NO_DOCUMENT
from pgrecall.load.markup import markup_of
from pgrecall.store import documents, identity, ledger, queue
from pgrecall.store.collections import Generation
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import transaction
from pgrecall.types import Document, Failure

#: Why a document is left out whose uri was already met; which of the two is meant, nobody knows.
TWICE = "An earlier document of this run has the same uri; give each its own (rows: id_field)."

T = TypeVar("T")
J = TypeVar("J", bound=Intake)
D = TypeVar("D")


def staged(
    stage: Callable[[J, Sequence[D]], Flow[T]],
) -> Callable[[J, Sequence[D]], Flow[T]]:
    """A stage that telemetry sees at work, batch by batch."""
    name = stage.__name__

    @wraps(stage)
    def seen(job: J, batch: Sequence[D]) -> Flow[T]:
        with telemetry.stage(name, len(batch)):
            return (yield from stage(job, batch))

    return seen


@staged
def select(job: Intake, batch: Sequence[Document | Failure]) -> Flow[list[Prepared]]:
    """Those of the batch that are new or changed, not yet chunked. Failures go to the ledger."""
    found: dict[identity.Key, Prepared] = {}
    job.report.read += len(batch)
    for item in batch:
        if isinstance(item, Failure):
            job.fail(item.uri, item.reason)
            if item.gone:
                continue
            job.unread[item.uri] = item.reason
            if not job.dry and item.reason not in NO_DOCUMENT:
                yield from ledger.record_failure(job.generation, item, job.tenant_id)
            continue
        prepared = identified(job.generation, item)
        before = job.met(prepared)
        if before is None:
            found[prepared.key] = prepared
        elif before != prepared.content_hash[: len(before)]:
            job.fail(item.uri, TWICE)
    # First: what a worker has written by the time that the ledger is read has left the queue.
    waiting = yield from queue.waiting(job.generation, [p.document for p in found.values()])
    entries = yield from ledger.entries(list(found))
    changed = []
    for key, prepared in found.items():
        stored = entries.get(key)
        prepared.known = stored is not None and stored.content_hash is not None
        here = stored is not None and job.generation.generation_id in stored.generations
        newer = prepared.name in waiting
        if newer or stored is None or stored.content_hash != prepared.content_hash or not here:
            prepared.former = None if prepared.known else job.former(prepared)
            changed.append(prepared)
            continue
        job.skipped()
        if job.dry:
            continue
        if stored.source != prepared.document.source:
            yield from ledger.found_at(key, prepared.document.source)
        if stored.error is not None:
            yield from ledger.forget_failure(key)
    job.tell()
    return changed


def identified(generation: Generation, document: Document) -> Prepared:
    """A document with its id and the hash of all that reaches the database; not yet chunked."""
    markup = markup_of(document)
    return Prepared(
        document=document,
        document_id=identity.document_id(generation.collection, document),
        generation=generation,
        content_hash=identity.document_hash(document, markup),
        markup=markup,
    )


@staged
def write(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Swap the group in; returns what was written.

    If the database refuses it, its documents are tried one by one, to report the one at fault.
    """
    if not group:
        return []
    try:
        yield from transaction(swap(group))
    except errors.GenerationChanged:
        yield from lanes.follow(job)
        return (yield from write(job, (yield from embed(job, group))))
    except errors.DatabaseUnavailable:
        raise
    except (errors.DatabaseError, errors.InvalidArgument) as exc:
        if len(group) == 1:
            yield from keep(job, group[0])
            yield from give_up(job, group, str(exc))
            return []
        written = []
        for item in group:
            written += yield from write(job, [item])
        return written
    return list(group)


def finish_group(job: Ingestion, group: Sequence[Prepared]) -> Flow[None]:
    """Write the group, and count what is in: for several groups at a time."""
    written = yield from write(job, group)
    job.settled(group)
    job.written(written)


def swap(group: Sequence[Prepared]) -> Flow[None]:
    """Versions that wait in the queue are older than these."""
    generation = group[0].generation
    yield from queue.supersede(generation, [item.name for item in group])
    yield from documents.write(generation, group)


def refused(job: Ingestion) -> list[Failure]:
    """What was read, and could not be embedded or written: worth another attempt."""
    return [
        failure
        for failure in job.report.failed
        if failure.uri not in job.unread and failure.reason != TWICE
    ]
