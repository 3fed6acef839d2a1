"""The transaction that swaps documents for their new versions, and the one that removes them."""

from __future__ import annotations

from collections.abc import Sequence

from pgrecall.errors import DatabaseError, GenerationChanged
from pgrecall.flow import Flow
from pgrecall.longtext import LongDocument, LongText
from pgrecall.store import lanes, reuse
from pgrecall.store.collections import Generation
from pgrecall.store.identity import Key, any_of
from pgrecall.store.prepared import LONG, Prepared
from pgrecall.store.rows import COPY, COPY_TYPES, UPSERT, chunk_rows, document_columns
from pgrecall.store.session import Row, copy_rows, fetch, transaction


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
    versions = yield from fetch(UPSERT, document_columns(generation, batch))
    for item in batch:
        if isinstance(item.document, LongDocument):
            yield from _write_text(item.key, item.document.long)
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
                *any_of(replaced),
            ],
        )
    copies = [item for prepared in batch for item in (prepared, *prepared.others)]
    yield from copy_chunks(copies)


def _write_text(key: Key, text: LongText) -> Flow[None]:
    """The text of a document, which is in no place whole before it is in its row."""
    rows = ((*key, number, part) for number, part in enumerate(text.parts()))
    yield from copy_rows(
        "COPY pgrecall.text_parts (tenant_id, document_id, part, text) FROM STDIN (FORMAT BINARY)",
        ("text", "uuid", "int4", "text"),
        rows,
    )
    yield from fetch(
        """
        UPDATE pgrecall.documents SET text = (
               SELECT string_agg(p.text, '' ORDER BY p.part) FROM pgrecall.text_parts p
                WHERE p.tenant_id = %s AND p.document_id = %s)
         WHERE tenant_id = %s AND document_id = %s
        """,
        [*key, *key],
    )
    yield from fetch(
        "DELETE FROM pgrecall.text_parts WHERE tenant_id = %s AND document_id = %s", list(key)
    )


def copy_chunks(batch: Sequence[Prepared]) -> Flow[None]:
    """Write the chunks of documents, each into its generation; vectors that waited for them go."""
    # A session keeps its plan for the check of the foreign key, and one that is made while there are few
    # documents reads all of them for each chunk, however many there are later.
    rows = yield from fetch(
        "SELECT current_setting('enable_seqscan'), set_config('enable_seqscan', 'off', true)"
    )
    yield from _copy(batch)
    # A transaction of the caller's goes on as it was.
    yield from fetch("SELECT set_config('enable_seqscan', %s, true)", [rows[0][0]])


def _copy(batch: Sequence[Prepared]) -> Flow[None]:
    # A long document that was made elsewhere brings its vectors.
    short = [item for item in batch if len(item.chunks) <= LONG or item.vectors]
    made = (row for item in short for row in chunk_rows(item, slice(None), item.vectors))
    yield from copy_rows(COPY, COPY_TYPES, made)
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
        yield from copy_rows(COPY, COPY_TYPES, chunk_rows(prepared, part, vectors))
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
        any_of(bound),
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
    gone: list[Row] = yield from fetch(
        """
        DELETE FROM pgrecall.documents
         WHERE collection_id = %s AND uri = ANY(%s) AND (%s::text IS NULL OR tenant_id = %s)
        RETURNING document_id
        """,
        [generation.collection_id, list(uris), tenant_id, tenant_id],
    )
    return len(gone)
