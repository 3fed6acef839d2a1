"""Documents and their chunks: the ledger, and the transaction that swaps one version for the next."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID, uuid5

from psycopg.types.json import Jsonb

from pgrecall.errors import DatabaseError, GenerationChanged
from pgrecall.flow import Flow
from pgrecall.store import lanes, reuse
from pgrecall.store.collections import Generation
from pgrecall.store.session import Row, copy_rows, fetch, transaction
from pgrecall.types import Chunk, Document, Failure, Markup

#: Document ids are uuid5(NAMESPACE, [collection, tenant, uri]): made in the client, the same everywhere.
NAMESPACE = UUID("6f0d5f3e-6a0e-5b53-9d2a-5d3c1c1f7a10")

#: A document of more chunks is embedded and written in parts of so many.
LONG = 512

#: A document's identity: (tenant_id, document_id), as in every key.
Key = tuple[str, UUID]


@dataclass(frozen=True, slots=True)
class Former:
    """A stored document whose source has gone, perhaps to another name."""

    document_id: UUID
    title: str | None


@dataclass(slots=True, kw_only=True)
class Prepared:
    """A document on its way in: chunked, and embedded once ``vectors`` is complete."""

    document: Document
    document_id: UUID
    #: The one that chunks and vectors are for.
    generation: Generation
    content_hash: bytes
    markup: Markup
    chunks: list[Chunk] = field(default_factory=list)
    #: One a chunk: the key under which its vector is found again.
    hashes: list[bytes] = field(default_factory=list)
    #: One a chunk, in pgvector's wire format; empty until embedded. Those of a long document are never
    #: in memory at once: they wait in the database (``store.reuse``).
    vectors: list[bytes] = field(default_factory=list)
    #: Hashes of those vectors that wait in the database all the same, from an attempt that failed.
    waiting: set[bytes] = field(default_factory=set)
    #: Whether chunks and vectors were made elsewhere: the chunks need not cover the text.
    given: bool = False
    #: Whether the ledger held a version of it before.
    known: bool = False
    #: The document that it was before its source was renamed; None if it was not.
    former: Former | None = None
    #: The same document as generations that are being built hold it.
    others: list[Prepared] = field(default_factory=list)
    #: The only version that it may replace; None: whichever is there.
    replaces: int | None = None

    @property
    def key(self) -> Key:
        """The document's identity."""
        return self.document.tenant_id, self.document_id

    @property
    def name(self) -> tuple[str, str]:
        """What the queue knows it by."""
        return self.document.tenant_id, self.document.uri

    @property
    def embedded_title(self) -> str | None:
        """The title in the headers of its chunks: a renamed document keeps its vectors, and so the old one."""
        return self.former.title if self.former else self.document.title


def document_id(collection: str, document: Document) -> UUID:
    """The id of a document: the same uri of the same tenant and collection, the same id."""
    return uuid5(NAMESPACE, json.dumps([collection, document.tenant_id, document.uri]))


def document_hash(document: Document, markup: Markup) -> bytes:
    """SHA-256 over all of a document that reaches the database, and the same when it comes back."""
    fields = [document.uri, document.title, document.mime_type, markup, document.language]
    # As jsonb gives it back: keys are texts, and 1e22 is a whole number.
    metadata = json.loads(json.dumps(dict(document.metadata)), parse_float=_number)
    rest = json.dumps([*fields, document.pages, metadata], sort_keys=True)
    digest = hashlib.sha256(f"{rest}\n{document.text}".encode("utf-8", "replace"))
    if document.media is not None:
        digest.update(b"\0" + document.media)
    return digest.digest()


def _number(digits: str) -> float:
    # Decimal: 1e308 is a one with 308 zeros there, which no float is.
    value = Decimal(digits)
    return int(value) if value == value.to_integral_value() else float(digits)


def chunk_hash(chunk: Chunk) -> bytes:
    """The first 16 bytes of SHA-256 over what is embedded: equal text, equal vector."""
    return hashlib.sha256(chunk.embedded_text.encode("utf-8", "replace")).digest()[:16]


def media_hash(media: bytes) -> bytes:
    """The same of a picture; never that of a text, which has no NUL."""
    return hashlib.sha256(b"\0" + media).digest()[:16]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of a document."""

    #: None while only failures are on record.
    content_hash: bytes | None
    #: Why the last attempt failed; None if it did not.
    error: str | None
    #: The generations that hold this version.
    generations: Sequence[int]
    #: Where it was found.
    source: str | None


def ledger(keys: Sequence[Key]) -> Flow[dict[Key, Entry]]:
    """The entries of the documents that are known."""
    rows = yield from fetch(
        """
        SELECT tenant_id, document_id, content_hash, error, generations, source
          FROM pgrecall.documents
         WHERE tenant_id = ANY(%s) AND document_id = ANY(%s)
        """,
        [list({tenant for tenant, _ in keys}), [identity for _, identity in keys]],
    )
    return {(row[0], row[1]): Entry(*row[2:]) for row in rows}


def forget_failure(key: Key) -> Flow[None]:
    """The document was read again, and is as it was."""
    yield from fetch(
        "UPDATE pgrecall.documents SET error = NULL WHERE tenant_id = %s AND document_id = %s",
        list(key),
    )


def found_at(key: Key, source: str | None) -> Flow[None]:
    """The document is as it was, and comes from somewhere else now."""
    yield from fetch(
        "UPDATE pgrecall.documents SET source = %s WHERE tenant_id = %s AND document_id = %s",
        [source, *key],
    )


def write(generation: Generation, batch: Sequence[Prepared]) -> Flow[None]:
    """Swap whole documents for their new versions, in one short transaction.

    Generations that are being built get theirs of ``Prepared.others`` in the same one. Raises
    GenerationChanged if ``generation`` is not the active one any more.

    Several small documents share a transaction, for speed; each is still there in its old version or
    in its new one. Rows are locked in the order of their keys, so that two writers never deadlock.
    """
    ordered = sorted({p.key: p for p in batch}.values(), key=lambda p: p.key)
    yield from transaction(_write(generation, ordered))


def _write(generation: Generation, batch: Sequence[Prepared]) -> Flow[None]:
    # A crash may lose the last moments of an ingestion, never half a document, and the next run
    # finds what is missing; ``indexes.settle`` ends with a commit that waits for the disk.
    yield from fetch("SET LOCAL synchronous_commit = off")
    open_ = yield from lanes.lanes(generation)
    batch = yield from _expected(batch)
    if any(p.generation.generation_id != generation.generation_id for p in batch):
        raise GenerationChanged
    for item in batch:
        item.others = [o for o in item.others if o.generation.generation_id in open_.building]
    yield from know_languages([generation.generation_id, *open_.building], batch)
    versions = yield from fetch(UPSERT, _columns(generation, batch))
    # What is new has no chunks to make room.
    replaced = [(tenant, identity) for tenant, identity, version in versions if version > 1]
    if replaced:
        yield from fetch(
            """
            DELETE FROM pgrecall.chunks
             WHERE generation_id = ANY(%s) AND tenant_id = ANY(%s) AND document_id = ANY(%s)
            """,
            [
                list(open_.every),
                list({tenant for tenant, _ in replaced}),
                [identity for _, identity in replaced],
            ],
        )
    copies = [item for prepared in batch for item in (prepared, *prepared.others)]
    yield from copy_chunks(copies)


def copy_chunks(batch: Sequence[Prepared]) -> Flow[None]:
    """Write the chunks of documents, each into its generation; vectors that waited for them go."""
    # A long document that was made elsewhere brings its vectors.
    short = [item for item in batch if len(item.chunks) <= LONG or item.vectors]
    rows = (row for item in short for row in _rows(item, slice(None), item.vectors))
    yield from copy_rows(COPY, COPY_TYPES, rows)
    for item in short:
        yield from reuse.forget(item.generation.model, list(item.waiting))
    for item in batch:
        if len(item.chunks) > LONG and not item.vectors:
            yield from _write_long(item)


def _write_long(prepared: Prepared) -> Flow[None]:
    """The chunks of a long document, a part at a time, with the vectors that wait for them."""
    model = prepared.generation.model
    for part in reuse.slices(len(prepared.chunks), LONG):
        keys = prepared.hashes[part]
        found = (yield from reuse.stored(model, set(keys))).vectors
        if not found.keys() >= set(keys):
            raise DatabaseError("Vectors that waited for this document were removed; run it again.")
        vectors = [found[key] for key in keys]
        yield from copy_rows(COPY, COPY_TYPES, _rows(prepared, part, vectors))
    # Not before: a text may stand in two parts.
    for part in reuse.slices(len(prepared.chunks), LONG):
        yield from reuse.forget(model, prepared.hashes[part])


def _expected(batch: Sequence[Prepared]) -> Flow[Sequence[Prepared]]:
    """Without those that were to replace a version which somebody else has replaced."""
    bound = {p.key: p for p in batch if p.replaces is not None}
    if not bound:
        return batch
    rows = yield from fetch(
        """
        SELECT tenant_id, document_id, version FROM pgrecall.documents
         WHERE tenant_id = ANY(%s) AND document_id = ANY(%s)
         ORDER BY tenant_id, document_id FOR UPDATE
        """,
        [list({tenant for tenant, _ in bound}), [identity for _, identity in bound]],
    )
    versions = {(tenant, identity): version for tenant, identity, version in rows}
    return [p for p in batch if p.replaces in (None, versions.get(p.key))]


def know_languages(generations: Sequence[int], batch: Sequence[Prepared]) -> Flow[None]:
    """Questions are read in every language that a document of the generation is in."""
    others = {p.document.language for p in batch} - {None, batch[0].generation.language}
    if others:
        languages = sorted(filter(None, others))
        yield from fetch(
            """
            UPDATE pgrecall.generations
               SET languages = ARRAY(SELECT DISTINCT unnest(languages || %s::text[]))
             WHERE generation_id = ANY(%s) AND NOT languages @> %s::text[]
            """,
            [languages, list(generations), languages],
        )


UPSERT = """
    INSERT INTO pgrecall.documents AS d
           (tenant_id, document_id, collection_id, uri, source, title, mime_type, markup, language,
            content_hash, text, pages, metadata, notes, media, generations, given, version, status)
    SELECT tenant_id, document_id, collection_id, uri, source, title, mime_type, markup, language,
           content_hash, text, pages::integer[], metadata,
           ARRAY(SELECT jsonb_array_elements_text(notes)), media, generations::integer[], given, 1, 'ready'
      FROM unnest(%b::text[], %b::uuid[], %b::integer[], %b::text[], %b::text[], %b::text[], %b::text[],
                  %b::text[], %b::text[], %b::bytea[], %b::text[], %b::text[], %b::jsonb[],
                  %b::jsonb[], %b::bytea[], %b::text[], %b::boolean[])
           AS n (tenant_id, document_id, collection_id, uri, source, title, mime_type, markup, language,
                 content_hash, text, pages, metadata, notes, media, generations, given)
    ON CONFLICT (tenant_id, document_id) DO UPDATE
       SET uri = excluded.uri, source = excluded.source, title = excluded.title, mime_type = excluded.mime_type,
           markup = excluded.markup, language = excluded.language,
           content_hash = excluded.content_hash, text = excluded.text, pages = excluded.pages,
           metadata = excluded.metadata, notes = excluded.notes, media = excluded.media,
           generations = excluded.generations, given = excluded.given, version = d.version + 1,
           status = 'ready', error = NULL, updated_at = excluded.updated_at
    RETURNING tenant_id, document_id, version
"""

COPY = """
    COPY pgrecall.chunks
         (generation_id, tenant_id, document_id, ordinal, start_offset, end_offset, page,
          token_count, uri, title, headings, header, content, content_hash, language, metadata,
          embedding, embedding_full)
    FROM STDIN (FORMAT BINARY)
"""
#: Embedding and metadata go as bytes: they are the wire formats of pgvector and jsonb already, the
#: metadata encoded once for all chunks of a document.
COPY_TYPES = (
    *("int4", "text", "uuid", "int4", "int4", "int4", "int4", "int4", "text", "text", "text[]"),
    *("text", "text", "bytea", "text", "bytea", "bytea", "bytea"),
)
#: Stands in front of the text of a jsonb on the wire (PostgreSQL, jsonb_recv).
JSONB_VERSION = b"\x01"


def _columns(generation: Generation, batch: Sequence[Prepared]) -> list[list[object]]:
    documents = [p.document for p in batch]
    return [
        [d.tenant_id for d in documents],
        [p.document_id for p in batch],
        [generation.collection_id for _ in documents],
        [d.uri for d in documents],
        [d.source for d in documents],
        [d.title for d in documents],
        [d.mime_type for d in documents],
        [p.markup for p in batch],
        [d.language or generation.language for d in documents],
        [p.content_hash for p in batch],
        [d.text for d in documents],
        ["{" + ",".join(map(str, d.pages)) + "}" for d in documents],
        [Jsonb(dict(d.metadata)) for d in documents],
        [Jsonb(list(d.notes)) for d in documents],
        [d.media for d in documents],
        [_array([p.generation, *(other.generation for other in p.others)]) for p in batch],
        [p.given for p in batch],
    ]


def _array(generations: Sequence[Generation]) -> str:
    return "{" + ",".join(str(g.generation_id) for g in generations) + "}"


def _rows(
    prepared: Prepared, part: slice, vectors: Sequence[bytes]
) -> Iterator[tuple[object, ...]]:
    """The rows of some of a document's chunks; ``vectors`` are those of the part."""
    document = prepared.document
    metadata = JSONB_VERSION + json.dumps(dict(document.metadata)).encode()
    for chunk, key, vector in zip(
        prepared.chunks[part], prepared.hashes[part], vectors, strict=True
    ):
        yield (
            prepared.generation.generation_id,
            document.tenant_id,
            prepared.document_id,
            chunk.ordinal,
            chunk.start,
            chunk.end,
            page_of(document.pages, chunk.start),
            chunk.tokens,
            document.uri,
            document.title,
            list(chunk.headings),
            chunk.header,
            chunk.content,
            key,
            document.language or prepared.generation.language,
            metadata,
            *prepared.generation.storage.columns(vector),
        )


def page_of(pages: Sequence[int], offset: int) -> int | None:
    """The page (from 1) that an offset lies on; None where there are no pages."""
    return max(1, bisect_right(pages, offset)) if pages else None


def record_failure(generation: Generation, failure: Failure, tenant_id: str = "") -> Flow[None]:
    """Keep a failure in the ledger; a version that is already stored stays as it is."""
    probe = Document(uri=failure.uri, text="", tenant_id=tenant_id)
    yield from fetch(
        """
        INSERT INTO pgrecall.documents AS d
               (tenant_id, document_id, collection_id, uri, source, mime_type, markup, language, text,
                pages, metadata, notes, version, status, error)
        VALUES (%s, %s, %s, %s, %s, '', 'plain', %s, '', '{}', '{}', '{}', 0, 'failed', %s)
        ON CONFLICT (tenant_id, document_id) DO UPDATE
           SET error = excluded.error, updated_at = excluded.updated_at
        """,
        [
            tenant_id,
            document_id(generation.collection, probe),
            generation.collection_id,
            failure.uri,
            failure.source or failure.uri,
            generation.language,
            failure.reason,
        ],
    )


def delete(generation: Generation, uris: Sequence[str], tenant_id: str | None) -> Flow[int]:
    """Remove documents by uri, with their chunks and what waits of them; how many there were."""
    return (yield from transaction(_delete(generation, uris, tenant_id)))


def _delete(generation: Generation, uris: Sequence[str], tenant_id: str | None) -> Flow[int]:
    yield from fetch(
        """
        DELETE FROM pgrecall.queue
         WHERE collection_id = %s AND uri = ANY(%s) AND (%s::text IS NULL OR tenant_id = %s)
        """,
        [generation.collection_id, list(uris), tenant_id, tenant_id],
    )
    rows: list[Row] = yield from fetch(
        """
        DELETE FROM pgrecall.documents
         WHERE collection_id = %s AND uri = ANY(%s) AND (%s::text IS NULL OR tenant_id = %s)
        RETURNING document_id
        """,
        [generation.collection_id, list(uris), tenant_id, tenant_id],
    )
    return len(rows)
