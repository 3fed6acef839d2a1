"""What happens to documents on their way in: the rules, as flows and functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import TypeVar

from pgrecall import errors, telemetry
from pgrecall.chunking import split, split_parts
from pgrecall.embed.base import TakesTokenIds
from pgrecall.flow import Flow, compute
from pgrecall.ingest import lanes
from pgrecall.ingest.job import PATIENCE, Ingestion, Intake, Lane
from pgrecall.ingest.vectors import Known
from pgrecall.load.discover import NO_DOCUMENT
from pgrecall.load.markup import markup_of
from pgrecall.longtext import LongDocument, Spooled
from pgrecall.store import documents, identity, ledger, queue
from pgrecall.store.collections import Generation
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import transaction
from pgrecall.types import Chunk, Document, Failure

#: Why a document is left out whose uri was already met; which of the two is meant, nobody knows.
TWICE = "An earlier document of this run has the same uri; give each its own (rows: id_field)."

#: Characters of the longest document whose token ids are kept from chunking to embedding.
TRACED = 1_000_000

T = TypeVar("T")
J = TypeVar("J", bound=Intake)
D = TypeVar("D")

Refusal = errors.EmbeddingError | errors.InvalidArgument


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


def chunk(job: Ingestion, prepared: Prepared) -> None:
    """Cut a document into chunks and name each by the hash of what will be embedded."""
    _cut(job.lane, prepared)
    job.report.cut += len(prepared.chunks)


def _cut(lane: Lane, prepared: Prepared) -> None:
    document = prepared.document
    prepared.refused = None
    prepared.generation = lane.generation
    if document.media is not None:
        # Embedded as a picture: its text is for those who search by words.
        end = len(document.text)
        prepared.chunks = [Chunk(ordinal=0, start=0, end=end, content=document.text)]
        prepared.hashes = [identity.media_hash(document.media)]
        return
    if isinstance(document, LongDocument):
        try:
            prepared.chunks, prepared.hashes = _cut_long(lane, prepared, document)
        except errors.UnreadableSource as exc:
            prepared.chunks, prepared.hashes, prepared.refused = [], [], str(exc)
        return
    prepared.chunks = split(
        document.text,
        lane.chunking,
        tokenizer=lane.embedder.tokenizer,
        markup=prepared.markup,
        title=prepared.embedded_title,
        # Those of a very long document would take as much memory as its text.
        token_ids=isinstance(lane.embedder, TakesTokenIds) and len(document.text) <= TRACED,
    )
    prepared.hashes = [identity.chunk_hash(piece) for piece in prepared.chunks]


def _cut_long(
    lane: Lane, prepared: Prepared, document: LongDocument
) -> tuple[Spooled[Chunk], Spooled[bytes]]:
    """As the others are, a window of the text in memory at a time. Raises UnreadableSource."""
    chunks, hashes = Spooled[Chunk](), Spooled[bytes]()
    for piece in split_parts(
        document.long.parts(),
        lane.chunking,
        tokenizer=lane.embedder.tokenizer,
        markup=prepared.markup,
        title=prepared.embedded_title,
    ):
        chunks.append(piece)
        hashes.append(identity.chunk_hash(piece))
    return chunks, hashes


def admitted(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Those of the group that could be cut; the others are reported."""
    for item in group:
        if item.refused is not None:
            yield from give_up(job, [item], item.refused)
    return [item for item in group if item.refused is None]


@staged
def embed(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Give every chunk of the group its vector.

    Returns the documents that are complete. Those that the embedder refuses are reported, and keep
    their old versions; those that the budget has nothing left for are left as they are. Raises
    EmbeddingError when group after group fails.
    """
    done = yield from vectorize(job, group)
    yield from branch_out(job, done)
    return done


def vectorize(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """As ``embed``, for the generation of the run alone."""
    # One lane for all of it: another thread may switch the run to another one meanwhile.
    lane = job.lane
    yield from _cut_anew(lane, group)
    group = yield from admitted(job, group)
    known = yield from job.known(lane, group)
    group = job.afford(group, known)
    failure = yield from _embed(job, lane, group, known)
    done = group if failure is None else (yield from _one_by_one(job, lane, group, failure))
    # A text that is refused says nothing about the embedder.
    job.embedded(None if done or isinstance(failure, errors.InvalidArgument) else failure)
    return done


def embed_alone(job: Ingestion, item: Prepared) -> Flow[None]:
    """As ``embed``, of one document: what refuses it is raised, and nothing is reported."""
    yield from vectorize_alone(job, item)
    yield from branch_out(job, [item])


def vectorize_alone(job: Ingestion, item: Prepared) -> Flow[None]:
    """As ``embed_alone``, for the generation of the run alone."""
    lane = job.lane
    yield from _cut_anew(lane, [item])
    known = yield from job.known(lane, [item])
    refusal = yield from _embed(job, lane, [item], known)
    if refusal is not None:
        raise refusal


def _cut_anew(lane: Lane, group: Sequence[Prepared]) -> Flow[None]:
    """Cut those again that were cut for another generation."""
    for item in group:
        if item.generation.generation_id != lane.generation.generation_id:
            yield from compute(partial(_cut, lane, item))


def branch_out(job: Ingestion, group: Sequence[Prepared]) -> Flow[None]:
    """Prepare the group for the generations that are being built, too."""
    for item in group:
        item.others = []
    for branch in (yield from lanes.branches(job)):
        copies = lanes.copies(branch, group)
        try:
            for item in copies:
                yield from compute(partial(chunk, branch, item))
            done = yield from vectorize(branch, copies)
        except lanes.UNUSABLE as exc:
            lanes.leave_out(branch, exc)
            continue
        prepared = {item.key: item for item in done}
        for item in group:
            if item.key in prepared:
                item.others.append(prepared[item.key])


def _one_by_one(
    job: Ingestion, lane: Lane, group: Sequence[Prepared], failure: Refusal
) -> Flow[list[Prepared]]:
    """Find out which documents the embedder refuses.

    One that fails for the first few is down, and is not asked for the rest. What was answered for the
    others is known by now.
    """
    done: list[Prepared] = []
    fails = 0
    for item in group:
        refusal: Refusal | None = failure
        if len(group) > 1 and fails < PATIENCE:
            known = yield from job.known(lane, [item])
            if not job.afford([item], known):
                continue
            refusal = yield from _embed(job, lane, [item], known)
        if refusal is None:
            done.append(item)
            continue
        yield from give_up(job, [item], str(refusal))
        if isinstance(refusal, errors.EmbeddingError) and not done:
            fails += 1
    return done


def _embed(
    job: Ingestion, lane: Lane, group: Sequence[Prepared], known: Known
) -> Flow[Refusal | None]:
    """Vectors for documents that the budget has granted, or why there are none."""
    try:
        yield from job.vectors(lane).complete(group, known)
    except errors.CredentialsMissing:
        raise
    except (errors.EmbeddingError, errors.InvalidArgument) as exc:
        return exc
    return None


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
            yield from job.vectors(job.lane).keep(group[0])
            yield from give_up(job, group, str(exc))
            return []
        written = []
        for item in group:
            written += yield from write(job, [item])
        return written
    return list(group)


def swap(group: Sequence[Prepared]) -> Flow[None]:
    """Versions that wait in the queue are older than these."""
    generation = group[0].generation
    yield from queue.supersede(generation, [item.name for item in group])
    yield from documents.write(generation, group)


def give_up(job: Ingestion, group: Sequence[Prepared], reason: str) -> Flow[None]:
    """Report documents as failed, and keep that in the ledger."""
    for item in group:
        job.fail(item.document.uri, reason)
        if job.dry or not job.into_ledger:
            continue
        failure = Failure(uri=item.document.uri, reason=reason, source=item.document.source)
        yield from ledger.record_failure(job.generation, failure, item.document.tenant_id)


def refused(job: Ingestion) -> list[Failure]:
    """What was read, and could not be embedded or written: worth another attempt."""
    return [
        failure
        for failure in job.report.failed
        if failure.uri not in job.unread and failure.reason != TWICE
    ]
