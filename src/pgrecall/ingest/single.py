"""One document by itself, as a worker takes it: whatever refuses it is raised, and nothing is reported."""

from __future__ import annotations

from dataclasses import replace

from pgrecall.errors import GenerationChanged
from pgrecall.flow import Flow
from pgrecall.ingest import lanes
from pgrecall.ingest.embedding import embed_alone
from pgrecall.ingest.job import Ingestion
from pgrecall.ingest.stages import identified
from pgrecall.load import clean_document
from pgrecall.store import documents, ledger, queue, settling
from pgrecall.store.prepared import Prepared
from pgrecall.store.queue import Queued
from pgrecall.store.session import fetch, transaction


def changed(job: Ingestion, queued: Queued) -> Flow[Prepared | None]:
    """The document, to be chunked and embedded; None if it is stored as it is.

    Raises InvalidArgument for what SQL lets through and no document can have.
    """
    document = replace(clean_document(queued.document), uri=queued.document.uri)
    prepared = identified(job.generation, document)
    entry = (yield from ledger.entries([prepared.key])).get(prepared.key)
    prepared.known = entry is not None and entry.content_hash is not None
    here = entry is not None and job.generation.generation_id in entry.generations
    if entry is None or entry.content_hash != prepared.content_hash or not here:
        return prepared
    if entry.error is not None:
        yield from ledger.forget_failure(prepared.key)
    yield from queue.remove(queued.job_id)
    return None


def write(job: Ingestion, queued: Queued, prepared: Prepared, *, since: float) -> Flow[bool]:
    """Swap the document in, and have its collection settled later.

    False if the document has left the queue meanwhile: something newer has happened to it.
    """
    try:
        written: bool = yield from transaction(_write(queued, prepared, since))
    except GenerationChanged:
        yield from lanes.follow(job)
        yield from embed_alone(job, prepared)
        return (yield from write(job, queued, prepared, since=since))
    job.settled([prepared])
    return written


def _write(queued: Queued, prepared: Prepared, since: float) -> Flow[bool]:
    if not (yield from queue.remove(queued.job_id)):
        return False
    yield from documents.write(prepared.generation, [prepared])
    # Last, since it waits for others who do the same. And so that settling knows how much was written.
    yield from settling.settle_soon(queued.collection_id, since)
    yield from fetch("SELECT pg_stat_force_next_flush()")
    return True
