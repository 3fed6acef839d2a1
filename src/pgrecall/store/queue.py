"""Documents that wait for a worker: handed over, taken up, and dropped when a newer version is there.

A row of ``queue`` is one version of one document, and its job says whose turn it is. Whoever writes the
document removes the row in the same transaction: a job whose row has gone has nothing left to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import sql
from psycopg.types.json import Jsonb

from pgrecall.errors import InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.rows import DOCUMENT, document_of
from pgrecall.store.session import fetch
from pgrecall.types import Document

#: A document's name within its collection: (tenant_id, uri).
Name = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A document whose turn it is."""

    job_id: int
    collection_id: int
    collection: str
    document: Document


def enqueue(generation: Generation, documents: Sequence[Document]) -> Flow[None]:
    """Hand documents over to the workers. Older versions of them that wait are dropped.

    Raises InvalidArgument for a document without a uri.
    """
    for document in documents:
        if not document.uri:
            raise InvalidArgument("A document has a uri; this one's is empty.")
    yield from fetch(
        """
        SELECT pgrecall.enqueue(%s::text, uri, text, title, metadata, tenant_id, mime_type, markup, language,
                                pages::integer[], ARRAY(SELECT jsonb_array_elements_text(notes)), source,
                                media)
          FROM unnest(%b::text[], %b::text[], %b::text[], %b::jsonb[], %b::text[], %b::text[],
                      %b::text[], %b::text[], %b::text[], %b::jsonb[], %b::text[], %b::bytea[])
               AS n (uri, text, title, metadata, tenant_id, mime_type, markup, language, pages, notes,
                     source, media)
        """,
        [generation.collection, *_columns(documents)],
    )


def _columns(documents: Sequence[Document]) -> list[list[object]]:
    return [
        [d.uri for d in documents],
        [d.text for d in documents],
        [d.title for d in documents],
        [Jsonb(dict(d.metadata)) for d in documents],
        [d.tenant_id for d in documents],
        [d.mime_type for d in documents],
        [d.markup for d in documents],
        [d.language for d in documents],
        ["{" + ",".join(map(str, d.pages)) + "}" for d in documents],
        [Jsonb(list(d.notes)) for d in documents],
        [d.source for d in documents],
        [d.media for d in documents],
    ]


def waiting(generation: Generation, documents: Iterable[Document]) -> Flow[set[Name]]:
    """Which of the documents have a version in the queue."""
    rows = yield from fetch(
        "SELECT tenant_id, uri FROM pgrecall.queue WHERE collection_id = %s AND uri = ANY(%s)",
        [generation.collection_id, [document.uri for document in documents]],
    )
    return {(tenant, uri) for tenant, uri in rows}


def supersede(
    generation: Generation, names: Iterable[Name], *, before: datetime | None = None
) -> Flow[None]:
    """Drop what waits of these documents, or does so since before then: something newer is about to happen.

    Part of the transaction in which it happens; a worker that is just writing one is waited for.
    """
    listed = list(names)
    yield from fetch(
        """
        DELETE FROM pgrecall.queue WHERE job_id IN (
            SELECT q.job_id FROM pgrecall.queue AS q
              JOIN unnest(%s::text[], %s::text[]) AS n (tenant_id, uri)
                ON q.tenant_id = n.tenant_id AND q.uri = n.uri
             WHERE q.collection_id = %s AND q.created_at <= coalesce(%s, 'infinity'::timestamptz)
             ORDER BY q.job_id FOR UPDATE OF q)
        """,
        [
            [tenant for tenant, _ in listed],
            [uri for _, uri in listed],
            generation.collection_id,
            before,
        ],
    )


def load(job_id: int) -> Flow[Queued | None]:
    """The document of a job; None if it is done, was dropped, or a newer version waits."""
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT collection_id, name, {document}
              FROM pgrecall.queue AS q JOIN pgrecall.collections AS c USING (collection_id)
             WHERE q.job_id = %s AND NOT EXISTS (
                   SELECT FROM pgrecall.queue AS n
                    WHERE n.collection_id = q.collection_id AND n.uri = q.uri
                      AND n.tenant_id = q.tenant_id AND n.job_id > q.job_id)
            """
        ).format(document=DOCUMENT),
        [job_id],
    )
    if not rows:
        return None
    collection_id, collection, *columns = rows[0]
    return Queued(
        job_id=job_id,
        collection_id=collection_id,
        collection=collection,
        document=document_of(columns),
    )


def remove(job_id: int) -> Flow[bool]:
    """Take a document out of the queue; False if somebody did already."""
    rows = yield from fetch(
        "DELETE FROM pgrecall.queue WHERE job_id = %s RETURNING job_id", [job_id]
    )
    return bool(rows)


def keep_error(job_id: int, reason: str) -> Flow[bool]:
    """Note why an attempt failed; False if the document has left the queue meanwhile."""
    rows = yield from fetch(
        "UPDATE pgrecall.queue SET error = %s WHERE job_id = %s RETURNING true",
        [reason.replace("\x00", ""), job_id],
    )
    return bool(rows)
