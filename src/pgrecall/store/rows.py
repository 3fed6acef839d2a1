"""Documents and chunks as rows: as they are written, and documents as they are read back."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from pgrecall.store.collections import Generation
from pgrecall.store.prepared import Prepared
from pgrecall.types import Document

#: What ``document_of`` takes: columns of ``documents``, and of ``queue``.
DOCUMENT = sql.SQL(
    "uri, text, title, metadata, tenant_id, mime_type, markup, language, pages, notes, source, media"
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


def document_of(row: Sequence[Any], *, usual: str | None = None) -> Document:
    """The document of a row of ``DOCUMENT``; it leaves its language to the collection's, the ``usual`` one."""
    uri, text, title, metadata, tenant_id, mime_type, markup, language, *rest = row
    pages, notes, source, media = rest
    return Document(
        uri=uri,
        text=text,
        title=title,
        metadata=metadata,
        tenant_id=tenant_id,
        mime_type=mime_type,
        markup=markup,
        language=None if language == usual else language,
        pages=tuple(pages),
        notes=tuple(notes),
        source=source,
        media=media,
    )


def document_columns(generation: Generation, batch: Sequence[Prepared]) -> list[list[object]]:
    """The parameters of ``UPSERT``: a list for each column."""
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


def chunk_rows(
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
