"""What happens to documents on their way in: the rules, as flows and functions."""

from __future__ import annotations

from collections.abc import Sequence

from pgrecall import errors
from pgrecall.chunking import split
from pgrecall.embed.steps import embed_documents
from pgrecall.flow import Flow
from pgrecall.ingest.job import PATIENCE, Ingestion
from pgrecall.load.markup import markup_of
from pgrecall.store import documents
from pgrecall.store.collections import Generation
from pgrecall.store.documents import Prepared
from pgrecall.store.vectors import encode_all
from pgrecall.types import Document, Failure

#: Why a document is left out whose uri was already met; which of the two is meant, nobody knows.
TWICE = "An earlier document of this run has the same uri; give each its own (rows: id_field)."

Refusal = errors.EmbeddingError | errors.InvalidArgument


def select(job: Ingestion, batch: Sequence[Document | Failure]) -> Flow[list[Prepared]]:
    """Those of the batch that are new or changed, not yet chunked. Failures go to the ledger."""
    found: dict[documents.Key, Prepared] = {}
    for item in batch:
        if isinstance(item, Failure):
            job.fail(item.uri, item.reason)
            if item.gone:
                continue
            job.unread[item.uri] = item.reason
            yield from documents.record_failure(job.generation, item, job.tenant_id)
            continue
        prepared = _identified(job.generation, item)
        before = job.met(prepared)
        if before is None:
            found[prepared.key] = prepared
        elif before != prepared.content_hash[: len(before)]:
            job.fail(item.uri, TWICE)
    ledger = yield from documents.ledger(list(found))
    changed = []
    for key, prepared in found.items():
        stored = ledger.get(key)
        prepared.known = stored is not None and stored.content_hash is not None
        if stored is None or stored.content_hash != prepared.content_hash:
            prepared.former = None if prepared.known else job.former(prepared)
            changed.append(prepared)
            continue
        job.report.unchanged += 1
        if stored.source != prepared.document.source:
            yield from documents.found_at(key, prepared.document.source)
        if stored.error is not None:
            yield from documents.forget_failure(key)
    job.tell()
    return changed


def _identified(generation: Generation, document: Document) -> Prepared:
    markup = markup_of(document)
    return Prepared(
        document=document,
        document_id=documents.document_id(generation.collection, document),
        content_hash=documents.document_hash(document, markup),
        markup=markup,
    )


def chunk(job: Ingestion, prepared: Prepared) -> None:
    """Cut a document into chunks and name each by the hash of what will be embedded."""
    document = prepared.document
    prepared.chunks = split(
        document.text,
        job.chunking,
        tokenizer=job.embedder.tokenizer,
        markup=prepared.markup,
        title=prepared.embedded_title,
    )
    prepared.hashes = [documents.chunk_hash(piece) for piece in prepared.chunks]


def embed(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Give every chunk of the group its vector.

    Returns the documents that are complete. Those that the embedder refuses are reported, and keep
    their old versions. Raises EmbeddingError when group after group fails.
    """
    failure = yield from _embed(job, group)
    done = list(group) if failure is None else (yield from _one_by_one(job, group, failure))
    # A text that is refused says nothing about the embedder.
    job.embedded(None if done or isinstance(failure, errors.InvalidArgument) else failure)
    return done


def _one_by_one(
    job: Ingestion, group: Sequence[Prepared], failure: Refusal
) -> Flow[list[Prepared]]:
    """Find out which documents the embedder refuses.

    One that fails for the first few is down, and is not asked for the rest.
    """
    done: list[Prepared] = []
    fails = 0
    for item in group:
        asked = len(group) > 1 and fails < PATIENCE
        refusal = (yield from _embed(job, [item])) if asked else failure
        if refusal is None:
            done.append(item)
            continue
        yield from give_up(job, [item], str(refusal))
        if isinstance(refusal, errors.EmbeddingError) and not done:
            fails += 1
    return done


def _embed(job: Ingestion, group: Sequence[Prepared]) -> Flow[Refusal | None]:
    """Vectors for documents: stored ones where the text is known, else new ones, or why there are none."""
    texts = {
        key: piece for item in group for key, piece in zip(item.hashes, item.chunks, strict=True)
    }
    vectors = yield from documents.stored_vectors(job.generation, texts)
    missing = [key for key in texts if key not in vectors]
    try:
        fresh = yield from embed_documents(
            job.embedder, [texts[key].embedded_text for key in missing]
        )
        vectors.update(zip(missing, encode_all(fresh), strict=True))
    except errors.CredentialsMissing:
        raise
    except (errors.EmbeddingError, errors.InvalidArgument) as exc:
        return exc
    for item in group:
        item.vectors = [vectors[key] for key in item.hashes]
    job.report.embedded += len(missing)
    job.report.tokens += sum(texts[key].tokens for key in missing)
    return None


def write(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Swap the group in; returns what was written.

    If the database refuses it, its documents are tried one by one, to report the one at fault.
    """
    try:
        yield from documents.write(job.generation, group)
    except errors.DatabaseUnavailable:
        raise
    except (errors.DatabaseError, errors.InvalidArgument) as exc:
        if len(group) == 1:
            yield from give_up(job, group, str(exc))
            return []
        written = []
        for item in group:
            written += yield from write(job, [item])
        return written
    return list(group)


def give_up(job: Ingestion, group: Sequence[Prepared], reason: str) -> Flow[None]:
    """Report documents as failed, and keep that in the ledger."""
    for item in group:
        job.fail(item.document.uri, reason)
        failure = Failure(uri=item.document.uri, reason=reason, source=item.document.source)
        yield from documents.record_failure(job.generation, failure, item.document.tenant_id)


def refused(job: Ingestion) -> list[Failure]:
    """What was read, and could not be embedded or written: worth another attempt."""
    return [
        failure
        for failure in job.report.failed
        if failure.uri not in job.unread and failure.reason != TWICE
    ]
