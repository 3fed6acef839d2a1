"""Taking in documents whose chunks and vectors were made elsewhere: nothing is cut, nothing embedded.

The rest is as with any ingestion: the ledger, whole versions, generations that are being built (which cut
and embed the text themselves), the record of the run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from pgrecall import errors
from pgrecall.embed import Embedder
from pgrecall.exchange.documents import EmbeddedDocument, placed, vectors
from pgrecall.flow import Flow, compute, run, run_async
from pgrecall.ingest.embedding import branch_out, give_up
from pgrecall.ingest.job import CHUNK_BATCH, TEXT_BATCH, Ingestion, Lane
from pgrecall.ingest.record import recorded, recorded_async
from pgrecall.ingest.stages import identified, swap
from pgrecall.settle import settle
from pgrecall.store import collections, exporting, identity, ledger, queue
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import AsyncSession, Session, transaction
from pgrecall.store.vectors import decode_all, encode_all
from pgrecall.types import Failure, IngestReport

#: What goes in: documents, and what could not be read as one.
Given = EmbeddedDocument | Failure


def add(session: Session, job: Ingestion, given: Iterable[Given]) -> IngestReport:
    """Take the documents in. Raises InvalidArgument if the collection has another embedder by now."""
    began = time.perf_counter()
    with recorded(session, job):
        run(_add(job, iter(given)), session)
        job.report.seconds = time.perf_counter() - began
    return job.report


async def add_async(session: AsyncSession, job: Ingestion, given: Iterable[Given]) -> IngestReport:
    """As ``add``, awaiting."""
    began = time.perf_counter()
    async with recorded_async(session, job):
        await run_async(_add(job, iter(given)), session)
        job.report.seconds = time.perf_counter() - began
    return job.report


def _add(job: Ingestion, given: Iterator[Given]) -> Flow[None]:
    yield from _follow(job)
    while batch := (yield from compute(partial(_next, given))):
        job.report.read += len(batch)
        ready = yield from _select(job, (yield from compute(partial(_prepared, job, batch))))
        yield from branch_out(job, ready)
        job.written((yield from _write(job, ready)))
    yield from settle(job.generation, lambda: job.open(job.generation), written=job.report.chunks)


def _follow(job: Ingestion) -> Flow[None]:
    """Go on with the generation that is active now, if its vectors are of the same kind."""
    before = job.generation
    generation = yield from collections.active(before.collection)
    if (generation.embedder, generation.dimensions) != (before.embedder, before.dimensions):
        raise errors.InvalidArgument(
            f'"{generation.collection}" is searched with {generation.embedder} now, and these vectors are '
            f"those of {before.embedder}: ingest the texts, or go back (rollback)."
        )
    job.lane = Lane(generation, job.embedder)


def _next(given: Iterator[Given]) -> list[Given]:
    """As many as are written together; none at the end."""
    batch: list[Given] = []
    chunks = size = 0
    for item in given:
        batch.append(item)
        if isinstance(item, EmbeddedDocument):
            chunks += len(item.chunks)
            size += item.size
        if len(batch) >= CHUNK_BATCH or chunks >= CHUNK_BATCH or size >= TEXT_BATCH:
            break
    return batch


def _prepared(job: Ingestion, batch: Sequence[Given]) -> list[Prepared]:
    """Those that are sound and were not met before; the others are reported."""
    found = []
    for item in batch:
        if isinstance(item, Failure):
            job.fail(item.uri, item.reason)
            continue
        try:
            prepared = prepare(job.generation, job.embedder, item)
        except errors.InvalidArgument as exc:
            job.fail(item.uri, str(exc))
            continue
        if job.met(prepared) is not None:
            job.fail(
                item.uri, f"{item.place} has an id that an earlier one has; give each its own."
            )
            continue
        job.report.cut += len(prepared.chunks)
        found.append(prepared)
    return found


def prepare(
    generation: collections.Generation, embedder: Embedder, given: EmbeddedDocument
) -> Prepared:
    """The document with chunks and vectors as they are stored; raises InvalidArgument."""
    if not given.uri:
        raise errors.InvalidArgument(f"{given.place} has no id.")
    document = given.document()
    for text in (given.uri, given.tenant_id, document.text, given.title or ""):
        _check_text(given.place, text)
    chunks = placed(given, document.text, lambda text: embedder.tokenizer.count(text))
    wires = encode_all(
        vectors(
            given,
            generation.dimensions,
            metric=generation.storage.metric,
            precision=generation.storage.element,
        ),
        generation.storage.element,
    )
    prepared = identified(generation, document)
    prepared.given = True
    prepared.chunks = chunks
    prepared.hashes = (
        [identity.chunk_hash(chunk) for chunk in chunks]
        if document.media is None
        else [identity.media_hash(document.media)]
    )
    prepared.vectors = wires
    return prepared


def _check_text(place: str, text: str) -> None:
    if "\x00" in text:
        raise errors.InvalidArgument(f"{place} holds a NUL character, which Postgres cannot store.")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise errors.InvalidArgument(
            f"{place} holds half of a surrogate pair, which is no valid Unicode; remove it."
        ) from exc


def _select(job: Ingestion, batch: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Those that are new or changed."""
    waiting = yield from queue.waiting(job.generation, [item.document for item in batch])
    entries = yield from ledger.entries([item.key for item in batch])
    unchanged = []
    for item in batch:
        stored = entries.get(item.key)
        item.known = stored is not None and stored.content_hash is not None
        here = stored is not None and job.generation.generation_id in stored.generations
        text = stored is not None and stored.content_hash == item.content_hash
        if text and here and item.name not in waiting:
            unchanged.append(item)
    # The ledger knows the text; where it is cut, and the vectors, stand with the chunks.
    same = yield from exporting.same(job.generation, unchanged)
    changed = [item for item in batch if item.key not in same]
    for _ in same:
        job.skipped()
    job.tell()
    return changed


def _write(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Swap the group in; what was written. If it is refused, its documents are tried one by one."""
    if not group:
        return []
    try:
        yield from transaction(swap(group))
    except errors.GenerationChanged:
        yield from _follow(job)
        for item in group:
            given = decode_all(item.vectors, item.generation.storage.element)
            item.generation = job.generation
            item.vectors = encode_all(given, item.generation.storage.element)
        yield from branch_out(job, group)
        return (yield from _write(job, group))
    except errors.DatabaseUnavailable:
        raise
    except (errors.DatabaseError, errors.InvalidArgument) as exc:
        if len(group) == 1:
            yield from give_up(job, group, str(exc))
            return []
        written = []
        for item in group:
            written += yield from _write(job, [item])
        return written
    return list(group)
