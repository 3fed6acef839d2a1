"""Reading a collection from end to end: documents with their chunks and vectors, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from psycopg import sql

from pgrecall.exchange.documents import EmbeddedChunk, EmbeddedDocument
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.identity import Key, any_of
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import fetch, fetch_binary
from pgrecall.store.vectors import decode_all

#: Documents of a page, at most, and bytes of text in it, unless one document has more.
DOCUMENTS, BYTES = 256, 4_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """Some documents, in the order of their keys."""

    documents: Sequence[EmbeddedDocument]
    #: Documents that have no chunks, such as those without text.
    bare: int
    #: Where the next page begins.
    last: Key


def page(generation: Generation, after: Key | None) -> Flow[Page | None]:
    """The next documents, each as it is at one moment; None at the end.

    What is written meanwhile is seen or not, never half.
    """
    keys = yield from _keys(generation, after)
    if not keys:
        return None
    rows = yield from fetch_binary(
        sql.SQL(
            """
            SELECT c.tenant_id, c.document_id, c.start_offset, c.token_count, c.header, c.headings,
                   c.content, c.{column},
                   CASE c.ordinal WHEN 0 THEN
                       jsonb_build_object('uri', d.uri, 'title', d.title, 'text', d.text,
                           'mime_type', d.mime_type, 'markup', d.markup, 'language', d.language,
                           'pages', d.pages, 'notes', d.notes, 'metadata', d.metadata,
                           'source', d.source)
                   END,
                   CASE c.ordinal WHEN 0 THEN d.media END
              FROM {partition} AS c
              JOIN pgrecall.documents AS d USING (tenant_id, document_id)
             WHERE c.tenant_id = ANY(%s) AND c.document_id = ANY(%s)
               AND d.generations @> ARRAY[%s::integer]
             ORDER BY c.tenant_id, c.document_id, c.ordinal
            """
        ).format(partition=generation.partition, column=sql.Identifier(generation.storage.column)),
        [*any_of(keys), generation.generation_id],
    )
    documents = []
    for (tenant, _), chunks in groupby(rows, key=lambda row: (row[0], row[1])):
        documents.append(_document(generation, tenant, list(chunks)))
    return Page(documents, len(keys) - len(documents), keys[-1])


def same(generation: Generation, prepared: Sequence[Prepared]) -> Flow[set[Key]]:
    """Those of the documents whose stored chunks, with their vectors, are these."""
    if not prepared:
        return set()
    rows = yield from fetch_binary(
        sql.SQL(
            """
            SELECT tenant_id, document_id, start_offset, end_offset, header, headings, {column}
              FROM {partition} WHERE tenant_id = ANY(%s) AND document_id = ANY(%s)
             ORDER BY tenant_id, document_id, ordinal
            """
        ).format(partition=generation.partition, column=sql.Identifier(generation.storage.column)),
        any_of([item.key for item in prepared]),
    )
    stored: dict[Key, list[object]] = {item.key: [] for item in prepared}
    for tenant, identity, start, end, header, headings, vector in rows:
        if (tenant, identity) in stored:
            stored[tenant, identity].append((start, end, header, tuple(headings), bytes(vector)))
    return {
        item.key
        for item in prepared
        if stored[item.key]
        == [
            (chunk.start, chunk.end, chunk.header, tuple(chunk.headings), vector)
            for chunk, vector in zip(item.chunks, item.vectors, strict=True)
        ]
    }


def _keys(generation: Generation, after: Key | None) -> Flow[list[Key]]:
    further = "" if after is None else "AND (tenant_id, document_id) > (%s, %s)"
    rows = yield from fetch(
        sql.SQL(
            f"""
            SELECT tenant_id, document_id, octet_length(text) FROM pgrecall.documents
             WHERE collection_id = %s AND generations @> ARRAY[%s::integer] {further}
             ORDER BY tenant_id, document_id LIMIT %s
            """  # noqa: S608 (constants only)
        ),
        [generation.collection_id, generation.generation_id, *(after or ()), DOCUMENTS],
    )
    keys: list[Key] = []
    total = 0
    for tenant, identity, size in rows:
        total += size
        if keys and total > BYTES:
            break
        keys.append((tenant, identity))
    return keys


def _document(
    generation: Generation, tenant_id: str, rows: Sequence[tuple[Any, ...]]
) -> EmbeddedDocument:
    head, media = rows[0][8:]
    vectors = decode_all([bytes(row[7]) for row in rows], generation.storage.element)
    language = head["language"]
    return EmbeddedDocument(
        uri=head["uri"],
        tenant_id=tenant_id,
        title=head["title"],
        text=head["text"],
        mime_type=head["mime_type"],
        markup=head["markup"],
        language=None if language == generation.language else language,
        pages=tuple(head["pages"]),
        notes=tuple(head["notes"]),
        metadata=head["metadata"],
        source=head["source"],
        media=media,
        chunks=[
            EmbeddedChunk(
                start=row[2],
                tokens=row[3],
                header=row[4],
                headings=tuple(row[5]),
                content=row[6],
                embedding=vector,
            )
            for row, vector in zip(rows, vectors, strict=True)
        ],
    )
