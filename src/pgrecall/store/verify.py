"""Whether what is stored is whole: the chunks of each document against its text, a batch at a time.

Nothing is locked, and no transaction is open between two reads: a document at which something looks wrong is
read again, and counts as broken only if nobody wrote it in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from psycopg import sql

from pgrecall.flow import Flow, compute
from pgrecall.store.collections import Generation
from pgrecall.store.faults import (
    Checked,
    Count,
    StoredChunk,
    check_chunk,
    check_document,
    check_end,
)
from pgrecall.store.identity import Key, any_of
from pgrecall.store.rows import DOCUMENT, document_of
from pgrecall.store.session import fetch, transaction

#: Documents, bytes of their texts, and chunks that are read at once: what bounds memory.
DOCUMENTS, TEXT, CHUNKS = 256, 8_000_000, 2048
#: How often a document is read again that is being written.
ATTEMPTS = 5

#: The active generation has all documents; another one those that name it. Takes its number twice.
_HOLDS = sql.SQL(
    "(generations @> ARRAY[%s::integer] OR EXISTS ("
    "SELECT FROM pgrecall.collections AS c WHERE c.active_generation_id = %s))"
)


class Place(NamedTuple):
    """Where a batch ends, in the order of the index on uris."""

    uri: str
    tenant_id: str
    document_id: UUID


START = Place("", "", UUID(int=0))


@dataclass(frozen=True, slots=True)
class Batch:
    """Some documents of a generation, checked."""

    #: Where the next batch begins; None if this was the last.
    after: Place | None
    documents: int
    chunks: int
    broken: list[Checked]


def batch(generation: Generation, after: Place, count: Count | None) -> Flow[Batch]:
    """Check the next documents of a generation; ``count`` counts tokens as its embedder does."""
    places = yield from _places(generation, after)
    checked = yield from _check(generation, [place[1:] for place in places], count)
    broken = []
    for item in checked:
        if item.faults and (again := (yield from _again(generation, item, count))):
            broken.append(again)
    return Batch(
        after=places[-1] if places else None,
        documents=len(checked),
        chunks=sum(item.chunks for item in checked),
        broken=broken,
    )


def faults(
    generation: Generation, key: Key, count: Count | None
) -> Flow[dict[str, tuple[str, int]]]:
    """What is wrong with one document; nothing if it is gone."""
    checked = yield from _check(generation, [key], count)
    if not (checked and checked[0].faults):
        return {}
    broken = yield from _again(generation, checked[0], count)
    return broken.faults if broken else {}


def take_out(generation: Generation, item: Checked) -> Flow[None]:
    """Remove a document from a generation that is not active; it is filled in again when that matters."""
    yield from transaction(_take_out(generation, item))


def _take_out(generation: Generation, item: Checked) -> Flow[None]:
    yield from fetch(
        """
        UPDATE pgrecall.documents SET generations = array_remove(generations, %s)
         WHERE tenant_id = %s AND document_id = %s AND version = %s
        """,
        [generation.generation_id, *item.key, item.version],
    )
    yield from fetch(
        """
        DELETE FROM pgrecall.chunks AS c USING pgrecall.documents AS d
         WHERE c.generation_id = %s AND c.tenant_id = %s AND c.document_id = %s
           AND d.tenant_id = c.tenant_id AND d.document_id = c.document_id
           AND NOT d.generations @> ARRAY[%s::integer]
        """,
        [generation.generation_id, *item.key, generation.generation_id],
    )


def _again(generation: Generation, item: Checked, count: Count | None) -> Flow[Checked | None]:
    """The document if it is broken, and was not just being written."""
    for _ in range(ATTEMPTS):
        found = yield from _check(generation, [item.key], count)
        after = yield from _read(generation, [item.key])
        if not found or not found[0].faults:
            return None
        if after and (after[0].version, after[0].content_hash) == (
            found[0].version,
            found[0].content_hash,
        ):
            return found[0]
    return None


def _places(generation: Generation, after: Place) -> Flow[list[Place]]:
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT uri, tenant_id, document_id, octet_length(text) FROM pgrecall.documents
             WHERE collection_id = %s AND (uri, tenant_id, document_id) > (%s, %s, %s)
               AND (status = 'ready' OR content_hash IS NOT NULL) AND {holds}
             ORDER BY uri, tenant_id, document_id LIMIT %s
            """
        ).format(holds=_HOLDS),
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


def _check(generation: Generation, keys: Sequence[Key], count: Count | None) -> Flow[list[Checked]]:
    checked = yield from _read(generation, keys)
    by_key = {item.key: item for item in checked}
    for item in checked:
        check_document(item, generation.language)
    last: tuple[object, ...] = ("", UUID(int=0), -1)
    while by_key:
        rows = yield from _chunks(generation, keys, last)
        yield from compute(partial(_hold, by_key, rows, count))
        if len(rows) < CHUNKS:
            break
        last = rows[-1][:3]
    for item in checked:
        check_end(item)
    return checked


def _hold(
    by_key: Mapping[Key, Checked], rows: Sequence[tuple[Any, ...]], count: Count | None
) -> None:
    """Hold chunks against their documents."""
    for tenant_id, document_id, ordinal, *rest in rows:
        if (owner := by_key.get((tenant_id, document_id))) is not None:
            check_chunk(owner, StoredChunk(ordinal, *rest), count)


def _read(generation: Generation, keys: Sequence[Key]) -> Flow[list[Checked]]:
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT status, document_id, version, content_hash, given, {document}
              FROM pgrecall.documents
             WHERE tenant_id = ANY(%s) AND document_id = ANY(%s) AND collection_id = %s
               AND {holds}
            """
        ).format(document=DOCUMENT, holds=_HOLDS),
        [*any_of(keys), generation.collection_id, *[generation.generation_id] * 2],
    )
    found = []
    for status, document_id, version, content_hash, given, *columns in rows:
        document = document_of(columns, usual=generation.language)
        item = Checked(document_id, version, content_hash, document, given=given)
        if status != "ready":
            item.fault("status", f"a version is stored, and its status is {status}")
        found.append(item)
    return found


def _chunks(
    generation: Generation, keys: Sequence[Key], after: tuple[object, ...]
) -> Flow[list[tuple[Any, ...]]]:
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT c.tenant_id, c.document_id, c.ordinal, c.start_offset, c.end_offset, c.page,
                   c.header, c.content, c.content_hash, c.token_count,
                   c.uri = d.uri
                   AND c.title IS NOT DISTINCT FROM d.title
                   AND c.language = d.language AND c.metadata = d.metadata,
                   pgrecall.usable(c.{vector}::pgrecall.embedding, {dimensions})
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
        [*any_of(keys), *after, CHUNKS],
    )
    return rows
