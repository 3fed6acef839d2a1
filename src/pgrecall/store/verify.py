"""Whether what is stored is whole: the chunks of each document against its text, a batch at a time.

Nothing is locked, and no transaction is open between two reads: a document at which something looks wrong is
read again, and counts as broken only if nobody wrote it in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import sql

from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.identity import Key, document_hash, media_hash
from pgrecall.store.rows import page_of
from pgrecall.store.session import fetch, transaction
from pgrecall.types import Document

#: Documents, bytes of their texts, and chunks that are read at once: what bounds memory.
DOCUMENTS, TEXT, CHUNKS = 256, 8_000_000, 2048
#: How often a document is read again that is being written.
ATTEMPTS = 5


class Place(NamedTuple):
    """Where a batch ends, in the order of the index on uris."""

    uri: str
    tenant_id: str
    document_id: UUID


START = Place("", "", UUID(int=0))


@dataclass(slots=True)
class Checked:
    """One document, and what is wrong with it."""

    tenant_id: str
    document_id: UUID
    version: int
    #: As stored.
    content_hash: bytes | None
    document: Document
    #: Whether its chunks were made elsewhere, and need not cover the text.
    given: bool = False
    #: The first fault of each kind, and how many there are: "content": ("chunk 3 is not ...", 2).
    faults: dict[str, tuple[str, int]] = field(default_factory=dict)
    chunks: int = 0
    #: The text up to here is in chunks.
    covered: int = 0

    @property
    def key(self) -> Key:
        """The document's identity."""
        return self.tenant_id, self.document_id

    def fault(self, kind: str, detail: str) -> None:
        """Note what is wrong."""
        first, count = self.faults.get(kind, (detail, 0))
        self.faults[kind] = first, count + 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Some documents of a generation, checked."""

    #: Where the next batch begins; None if this was the last.
    after: Place | None
    documents: int
    chunks: int
    broken: list[Checked]


def batch(generation: Generation, after: Place) -> Flow[Batch]:
    """Check the next documents of a generation."""
    places = yield from _places(generation, after)
    checked = yield from _check(generation, [place[1:] for place in places])
    broken = []
    for item in checked:
        if item.faults and (again := (yield from _again(generation, item))):
            broken.append(again)
    return Batch(
        after=places[-1] if places else None,
        documents=len(checked),
        chunks=sum(item.chunks for item in checked),
        broken=broken,
    )


def faults(generation: Generation, key: Key) -> Flow[dict[str, tuple[str, int]]]:
    """What is wrong with one document; nothing if it is gone."""
    checked = yield from _check(generation, [key])
    broken = (yield from _again(generation, checked[0])) if checked and checked[0].faults else None
    return broken.faults if broken else {}


def take_out(generation: Generation, item: Checked) -> Flow[None]:
    """Remove a document from a generation that is not active; it is filled in again when that matters."""
    yield from transaction(_take_out(generation, item))


def _take_out(generation: Generation, item: Checked) -> Flow[None]:
    where = [item.tenant_id, item.document_id]
    yield from fetch(
        """
        UPDATE pgrecall.documents SET generations = array_remove(generations, %s)
         WHERE tenant_id = %s AND document_id = %s AND version = %s
        """,
        [generation.generation_id, *where, item.version],
    )
    yield from fetch(
        """
        DELETE FROM pgrecall.chunks AS c USING pgrecall.documents AS d
         WHERE c.generation_id = %s AND c.tenant_id = %s AND c.document_id = %s
           AND d.tenant_id = c.tenant_id AND d.document_id = c.document_id
           AND NOT d.generations @> ARRAY[%s::integer]
        """,
        [generation.generation_id, *where, generation.generation_id],
    )


def _again(generation: Generation, item: Checked) -> Flow[Checked | None]:
    """The document if it is broken, and was not just being written."""
    for _ in range(ATTEMPTS):
        found = yield from _check(generation, [item.key])
        after = yield from _read(generation, [item.key])
        if not found or not found[0].faults:
            return None
        if [(p.version, p.content_hash) for p in after] == [
            (found[0].version, found[0].content_hash)
        ]:
            return found[0]
    return None


def _places(generation: Generation, after: Place) -> Flow[list[Place]]:
    rows = yield from fetch(
        """
        SELECT uri, tenant_id, document_id, octet_length(text) FROM pgrecall.documents
         WHERE collection_id = %s AND (uri, tenant_id, document_id) > (%s, %s, %s)
           AND (status = 'ready' OR content_hash IS NOT NULL)
           -- The active one has all of them; another one those that name it.
           AND (generations @> ARRAY[%s::integer] OR EXISTS (
                SELECT FROM pgrecall.collections AS c WHERE c.active_generation_id = %s))
         ORDER BY uri, tenant_id, document_id LIMIT %s
        """,
        [generation.collection_id, *after, *[generation.generation_id] * 2, DOCUMENTS],
    )
    places: list[Place] = []
    size = 0
    for uri, tenant_id, document_id, length in rows:
        size += length
        if places and size > TEXT:
            break
        places.append(Place(uri, tenant_id, document_id))
    return places


def _check(generation: Generation, keys: Sequence[Key]) -> Flow[list[Checked]]:
    checked = yield from _read(generation, keys)
    by_key = {item.key: item for item in checked}
    for item in checked:
        _check_document(generation, item)
    last: tuple[object, ...] = ("", UUID(int=0), -1)
    while by_key:
        rows = yield from _chunks(generation, keys, last)
        for tenant_id, document_id, ordinal, *rest in rows:
            if (owner := by_key.get((tenant_id, document_id))) is not None:
                _check_chunk(owner, _Row(ordinal, *rest))
        if len(rows) < CHUNKS:
            break
        last = rows[-1][:3]
    for item in checked:
        left = item.document.text[item.covered :]
        if left.strip() and not item.given:
            item.fault("coverage", f"the text from {item.covered} on is in no chunk")
    return checked


def _read(generation: Generation, keys: Sequence[Key]) -> Flow[list[Checked]]:
    rows = yield from fetch(
        """
        SELECT tenant_id, document_id, version, content_hash, status, uri, text, title, metadata,
               mime_type, markup, language, pages, notes, source, media, given
          FROM pgrecall.documents
         WHERE tenant_id = ANY(%s) AND document_id = ANY(%s) AND collection_id = %s
           -- The active one has all of them; another one those that name it.
           AND (generations @> ARRAY[%s::integer] OR EXISTS (
                SELECT FROM pgrecall.collections AS c WHERE c.active_generation_id = %s))
        """,
        [
            list({k[0] for k in keys}),
            [k[1] for k in keys],
            generation.collection_id,
            *[generation.generation_id] * 2,
        ],
    )
    found = []
    for tenant_id, document_id, version, content_hash, status, uri, text, *rest in rows:
        title, metadata, mime_type, markup, language, pages, notes, source, media, given = rest
        document = Document(
            uri=uri,
            text=text,
            title=title,
            metadata=metadata,
            tenant_id=tenant_id,
            mime_type=mime_type,
            markup=markup,
            language=None if language == generation.language else language,
            pages=tuple(pages),
            notes=tuple(notes),
            source=source,
            media=media,
        )
        found.append(Checked(tenant_id, document_id, version, content_hash, document, given=given))
        if status != "ready":
            found[-1].fault("status", f"a version is stored, and its status is {status}")
    return found


def _check_document(generation: Generation, item: Checked) -> None:
    document = item.document
    markup = document.markup or "plain"
    # A document may have named its language, or left it to the collection.
    languages = {document.language, document.language or generation.language}
    hashes = {document_hash(replace(document, language=language), markup) for language in languages}
    if item.content_hash not in hashes:
        item.fault("document hash", "its hash is not that of its text and metadata")
    pages = document.pages
    if list(pages) != sorted(pages) or any(not 0 <= p <= len(document.text) for p in pages):
        item.fault("pages", "its pages do not ascend within the text")


class _Row(NamedTuple):
    ordinal: int
    start: int
    end: int
    page: int | None
    header: str
    content: str
    content_hash: bytes
    like_document: bool
    searchable: bool | None


def _chunks(
    generation: Generation, keys: Sequence[Key], after: tuple[object, ...]
) -> Flow[list[tuple[Any, ...]]]:
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT c.tenant_id, c.document_id, c.ordinal, c.start_offset, c.end_offset, c.page,
                   c.header, c.content, c.content_hash,
                   (c.token_count > 0 OR d.media IS NOT NULL) AND c.uri = d.uri
                   AND c.title IS NOT DISTINCT FROM d.title
                   AND c.language = d.language AND c.metadata = d.metadata,
                   vector_dims(c.{vector}) = {dimensions} AND vector_norm(c.{vector}::vector) > 0
                   AND vector_norm(c.{vector}::vector) < 'Infinity'
              FROM {partition} AS c
              JOIN pgrecall.documents AS d
                ON d.tenant_id = c.tenant_id AND d.document_id = c.document_id
             WHERE c.tenant_id = ANY(%s) AND c.document_id = ANY(%s)
               AND (c.tenant_id, c.document_id, c.ordinal) > (%s, %s, %s)
             ORDER BY c.tenant_id, c.document_id, c.ordinal LIMIT %s
            """
        ).format(
            partition=generation.partition,
            dimensions=sql.Literal(generation.dimensions),
            vector=sql.Identifier(generation.storage.column),
        ),
        [list({k[0] for k in keys}), [k[1] for k in keys], *after, CHUNKS],
    )
    return rows


def _check_chunk(item: Checked, row: _Row) -> None:
    document, name = item.document, f"chunk {row.ordinal}"
    if row.ordinal != item.chunks:
        item.fault("ordinals", f"{name} stands where chunk {item.chunks} should")
    item.chunks += 1
    if not 0 <= row.start < row.end <= len(document.text):
        item.fault("offsets", f"{name} spans {row.start} to {row.end} of {len(document.text)}")
    elif document.text[row.start : row.end] != row.content:
        item.fault("content", f"{name} is not the text from {row.start} to {row.end}")
    gap = document.text[item.covered : max(row.start, item.covered)]
    if gap.strip() and not item.given:
        item.fault("coverage", f"the text from {item.covered} to {row.start} is in no chunk")
    item.covered = max(item.covered, row.end)
    if row.page != page_of(document.pages, row.start):
        item.fault("pages", f"{name} is said to be on page {row.page}")
    embedded = f"{row.header}\n\n{row.content}" if row.header else row.content
    if document.media is not None:
        expected = media_hash(document.media)
    else:
        expected = sha256(embedded.encode()).digest()[:16]
    if expected != row.content_hash:
        item.fault("hash", f"the hash of {name} is not that of what is embedded")
    if not row.like_document:
        item.fault(
            "copies", f"uri, title, language, metadata or size of {name} are not its document's"
        )
    if not row.searchable:
        item.fault("vector", f"the vector of {name} is missing, zero or of another length")
