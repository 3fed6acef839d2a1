"""Giving a generation the documents that it lacks: which these are, and the transaction that adds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import sql

from pgrecall.errors import GenerationChanged
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.documents import copy_chunks, know_languages
from pgrecall.store.identity import Key, any_of
from pgrecall.store.lanes import share
from pgrecall.store.prepared import Prepared
from pgrecall.store.rows import DOCUMENT, document_of
from pgrecall.store.session import fetch, transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A document that a generation lacks, in the order of uris."""

    uri: str
    tenant_id: str
    key: Key
    #: Bytes of its text.
    size: int


_LACKING = """
      FROM pgrecall.documents
     WHERE collection_id = %s AND content_hash IS NOT NULL AND NOT generations @> ARRAY[%s::integer]
"""


def lacking(
    generation: Generation, after: Place | None, limit: int, but: Sequence[UUID] = ()
) -> Flow[list[Place]]:
    """The next documents whose stored version the generation does not hold, by uri; ``but`` not these."""
    further = "" if after is None else "AND (uri, tenant_id) > (%s, %s)"
    others = "AND document_id <> ALL(%s)" if but else ""
    rows = yield from fetch(
        sql.SQL(
            f"SELECT uri, tenant_id, document_id, octet_length(text) {_LACKING} {further} {others}"
            " ORDER BY uri, tenant_id LIMIT %s"
        ),
        [
            generation.collection_id,
            generation.generation_id,
            *([] if after is None else [after.uri, after.tenant_id]),
            *([list(but)] if but else []),
            limit,
        ],
    )
    return [Place(uri=row[0], tenant_id=row[1], key=(row[1], row[2]), size=row[3]) for row in rows]


def sample(generation: Generation, count: int, size: int) -> Flow[list[Key]]:
    """Some of the documents that it lacks, the same each time: so many at most, and bytes of text."""
    rows = yield from fetch(
        f"SELECT tenant_id, document_id, octet_length(text) {_LACKING}"
        " ORDER BY content_hash LIMIT %s",
        [generation.collection_id, generation.generation_id, count],
    )
    total = 0
    chosen: list[Key] = []
    for tenant, identity, length in rows:
        total += length
        if chosen and total > size:
            break
        chosen.append((tenant, identity))
    return chosen


def count_lacking(generation: Generation) -> Flow[tuple[int, int]]:
    """How many documents it lacks, and the bytes of their texts."""
    rows = yield from fetch(
        f"SELECT count(*), coalesce(sum(octet_length(text)), 0)::bigint {_LACKING}",
        [generation.collection_id, generation.generation_id],
    )
    return rows[0][0], rows[0][1]


def stored(
    generation: Generation, keys: Sequence[Key], *, lacked: bool = False
) -> Flow[list[Prepared]]:
    """Documents as they are stored, to be chunked for the generation; ``lacked``: those that it lacks."""
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT document_id, markup, content_hash, {document}
              FROM pgrecall.documents
             WHERE tenant_id = ANY(%s) AND document_id = ANY(%s) AND content_hash IS NOT NULL
               AND NOT (%s AND generations @> ARRAY[%s::integer])
            """
        ).format(document=DOCUMENT),
        [*any_of(keys), lacked, generation.generation_id],
    )
    return [
        Prepared(
            document=document_of(columns, usual=generation.language),
            document_id=document_id,
            generation=generation,
            markup=markup,
            content_hash=content_hash,
            known=True,
        )
        for document_id, markup, content_hash, *columns in rows
    ]


def fill(generation: Generation, batch: Sequence[Prepared]) -> Flow[list[Key]]:
    """Add chunks of documents to a generation, in one short transaction; which of them it took.

    Left out are documents of which another version is stored by now, and those that it has already.
    Raises GenerationChanged if the generation is retired or was dropped.
    """
    if not batch:
        return []
    return (yield from transaction(_fill(generation, sorted(batch, key=lambda p: p.key))))


def _fill(generation: Generation, batch: Sequence[Prepared]) -> Flow[list[Key]]:
    yield from fetch("SET LOCAL synchronous_commit = off")
    yield from share(generation.collection_id)
    number = generation.generation_id
    yield from _check_open(number)
    # With the document's row changed, no other writer of it comes in between.
    rows = yield from fetch(
        """
        UPDATE pgrecall.documents AS d SET generations = d.generations || %s::integer
          FROM unnest(%s::text[], %s::uuid[], %s::bytea[]) AS n (tenant_id, document_id, content_hash)
         WHERE d.tenant_id = n.tenant_id AND d.document_id = n.document_id
           AND d.content_hash = n.content_hash AND NOT d.generations @> ARRAY[%s::integer]
        RETURNING d.tenant_id, d.document_id
        """,
        [
            number,
            [p.document.tenant_id for p in batch],
            [p.document_id for p in batch],
            [p.content_hash for p in batch],
            number,
        ],
    )
    taken = {(row[0], row[1]) for row in rows}
    if not taken:
        return []
    # Old versions that could not be taken out while its indexes were built.
    yield from fetch(
        sql.SQL("DELETE FROM {} WHERE tenant_id = ANY(%s) AND document_id = ANY(%s)").format(
            generation.partition
        ),
        any_of(taken),
    )
    chosen = [p for p in batch if p.key in taken]
    yield from know_languages([number], chosen)
    yield from copy_chunks(chosen)
    return list(taken)


def _check_open(number: int) -> Flow[None]:
    there = yield from fetch(
        "SELECT true FROM pgrecall.generations WHERE generation_id = %s AND state <> 'retired'",
        [number],
    )
    if not there:
        raise GenerationChanged(
            f"Generation {number} is retired or was dropped meanwhile; nothing more is added to it."
        )


def sweep(generation: Generation) -> Flow[None]:
    """Take out old versions of documents that the generation lacks."""
    yield from fetch(
        sql.SQL(
            """
            DELETE FROM {partition} AS c USING pgrecall.documents AS d
             WHERE d.tenant_id = c.tenant_id AND d.document_id = c.document_id
               AND d.collection_id = %s AND NOT d.generations @> ARRAY[%s::integer]
            """
        ).format(partition=generation.partition),
        [generation.collection_id, generation.generation_id],
    )
