"""Search indexes of a generation: built after its first bulk load, maintained by Postgres afterwards."""

from __future__ import annotations

import hashlib

from psycopg import sql

from pgrecall.errors import InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store import reuse, wordsearch
from pgrecall.store.collections import Generation
from pgrecall.store.searchpath import finding_pgvector
from pgrecall.store.session import fetch, transaction

#: Name suffix and definition. What stands in an index of vectors, storage_v1.sql says.
DEFINITIONS = {
    "tsv": "USING gin (tsv)",
    "metadata": "USING gin (metadata jsonb_path_ops)",
    "embedding": "{vectors} WITH (m = {m}, ef_construction = {ef_construction})",
}
#: Neighbours of a node in a graph, and how widely the build looks for them: pgvector's defaults, and a greater
#: breadth from so many rows on. For the promised recall among 100,000 passages of source code a search then
#: read 4,980 pages, and 7,940 where m was 24 and the breadth 64, in two thirds of the time to build.
NEIGHBOURS = 16
LARGE, EF_CONSTRUCTION, EF_CONSTRUCTION_IF_LARGE = 50_000, 64, 200
#: Bytes of a graph's node while it is built, without the vector: 128 for the element, 16 for each of
#: 2 m neighbours, a few for upper layers (pgvector, hnsw.h), and half as much again.
GRAPH_NODE = 256 + 48 * NEIGHBOURS
#: A change of this share of the rows is worth counting words anew.
WORTH_ANALYZING = 0.05


def _definitions(generation: Generation) -> dict[str, str]:
    if generation.text_search is None:
        return DEFINITIONS
    return {**DEFINITIONS, "bm25": wordsearch.INDEXES[generation.text_search]}


def missing(generation: Generation) -> Flow[list[str]]:
    """Which of the search indexes are not there, or not valid."""
    rows = yield from fetch(
        """
        SELECT name FROM unnest(%s::text[]) WITH ORDINALITY AS n (name, position)
         WHERE NOT EXISTS (SELECT FROM pg_index WHERE indisvalid AND indexrelid =
               to_regclass('pgrecall.' || %s::text || '_' || name))
         ORDER BY position
        """,
        [list(_definitions(generation)), generation.table],
    )
    return [row[0] for row in rows]


def create(generation: Generation, name: str) -> Flow[None]:
    """One of the indexes, within a transaction, with the server's parallel workers.

    Writers of the same generation wait for it, readers do not; a build that was cut off leaves nothing behind.
    """
    yield from fetch(
        "SELECT pg_advisory_xact_lock(hashtext('pgrecall.index.' || %s::text), %s)",
        [name, generation.generation_id],
    )
    ef_construction = EF_CONSTRUCTION
    if name == "embedding":
        rows = yield from _settled_rows(generation)
        yield from fetch(
            """
            UPDATE pgrecall.generations SET chunk_count = %s, graph_chunks = %s
             WHERE generation_id = %s
            """,
            [rows, rows, generation.generation_id],
        )
        if rows >= LARGE:
            ef_construction = EF_CONSTRUCTION_IF_LARGE
        yield from _bound_memory(
            rows * (GRAPH_NODE + generation.storage.node(generation.dimensions))
        )
    index = sql.Identifier(f"{generation.table}_{name}")
    vectors = yield from fetch(
        """
        SELECT pgrecall.vector_index(ROW(storage, metric, dimensions, prefix)::pgrecall.storage)
          FROM pgrecall.generations WHERE generation_id = %s
        """,
        [generation.generation_id],
    )
    statement = sql.SQL("CREATE INDEX IF NOT EXISTS {name} ON {partition} ").format(
        name=index, partition=generation.partition
    ) + sql.SQL(_definitions(generation)[name]).format(
        # From our own function, made of numbers and names of pgvector.
        vectors=sql.SQL(vectors[0][0]),
        m=sql.Literal(NEIGHBOURS),
        ef_construction=sql.Literal(ef_construction),
    )
    yield from finding_pgvector(fetch(statement))
    if name in ("embedding", "bm25"):
        # The value of an expression in an index would be counted too: ANALYZE would sort vectors and texts.
        yield from fetch(
            sql.SQL("ALTER INDEX pgrecall.{name} ALTER COLUMN 1 SET STATISTICS 0").format(
                name=index
            )
        )


def _settled_rows(generation: Generation) -> Flow[int]:
    """How many rows the index will have: nobody adds any until the transaction ends, as in CREATE INDEX."""
    yield from fetch(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(generation.partition))
    rows = yield from fetch(sql.SQL("SELECT count(*) FROM {}").format(generation.partition))
    return int(rows[0][0])


def _bound_memory(graph: int) -> Flow[None]:
    """No more memory for a graph of so many bytes than it needs, and no more than the server grants.

    A parallel build takes all of maintenance_work_mem at its beginning, and the system clears each
    page of it. Postgres wants 32 MB for each process.
    """
    yield from fetch(
        """
        SELECT set_config('maintenance_work_mem', least(
                   pg_size_bytes(current_setting('maintenance_work_mem')) / 1024,
                   32768 * (1 + current_setting('max_parallel_maintenance_workers')::integer)
                   + %s::bigint / 1024)::text, true)
        """,
        [graph],
    )


def settle(generation: Generation, *, written: int) -> Flow[None]:
    """After a run that wrote so many chunks: statistics, and all of it on disk.

    Empties the pending lists of the GIN indexes, so that the next search does not read them.
    """
    yield from reuse.sweep()
    for name in ("tsv", "metadata"):
        yield from fetch(
            "SELECT gin_clean_pending_list(to_regclass(%s))",
            [f"pgrecall.{generation.table}_{name}"],
        )
    # Chunks without words were never settled: a run may have been killed when their graph was built.
    rows = yield from fetch(
        """
        SELECT chunk_count FROM pgrecall.generations AS g WHERE generation_id = %s
           AND EXISTS (SELECT FROM pgrecall.lexemes AS l WHERE l.generation_id = g.generation_id)
        """,
        [generation.generation_id],
    )
    if not rows or written >= WORTH_ANALYZING * rows[0][0]:
        yield from fetch(sql.SQL("ANALYZE {}").format(generation.partition))
        yield from transaction(_count_words(generation))
    # The transactions of the run did not wait for the disk; this one does, and with it they all are.
    yield from fetch("SELECT pg_current_xact_id()")


#: What users call the types of metadata, and which btree holds them. Dates compare as ISO texts.
METADATA_KINDS = {"int": "number", "float": "number", "text": "text", "date": "text"}


def index_metadata(generation: Generation, key: str, type_: str) -> Flow[None]:
    """A btree on one key of the metadata, for equality and ranges; searches use it from now on.

    Built beside the writers. Raises InvalidArgument for a type that is not in ``METADATA_KINDS``.
    """
    kind = METADATA_KINDS.get(type_)
    if kind is None or not key or "\x00" in key or key.startswith("$"):
        raise InvalidArgument(
            f"A metadata index has a key and a type of {', '.join(METADATA_KINDS)}, "
            f"not {key!r} and {type_!r}."
        )
    yield from _build_metadata(generation, key, kind)
    yield from fetch(
        """
        UPDATE pgrecall.collections
           SET defaults = jsonb_set(defaults, '{metadata_indexes}',
               coalesce(defaults -> 'metadata_indexes', '{}') || jsonb_build_object(%s::text, %s::text))
         WHERE collection_id = %s
        """,
        [key, kind, generation.collection_id],
    )


def index_all_metadata(generation: Generation) -> Flow[None]:
    """The indexes on metadata that its collection has, where this generation lacks them."""
    rows = yield from fetch(
        """
        SELECT key, kind FROM pgrecall.collections,
               jsonb_each_text(coalesce(defaults -> 'metadata_indexes', '{}')) AS d (key, kind)
         WHERE collection_id = %s
        """,
        [generation.collection_id],
    )
    for key, kind in rows:
        there = yield from fetch(
            "SELECT true FROM pg_index WHERE indisvalid AND indexrelid = to_regclass(%s)",
            [f"pgrecall.{metadata_index(generation, key, kind)}"],
        )
        if not there:
            yield from _build_metadata(generation, key, kind)


def _build_metadata(generation: Generation, key: str, kind: str) -> Flow[None]:
    name = metadata_index(generation, key, kind)
    rows = yield from fetch("SELECT pgrecall.metadata_expression(%s, 'metadata', %s)", [kind, key])
    # A build that was cut off left an index that nobody uses.
    yield from fetch(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier("pgrecall", name)))
    yield from fetch(
        sql.SQL("CREATE INDEX CONCURRENTLY {name} ON {partition} ({expression})").format(
            name=sql.Identifier(name),
            partition=generation.partition,
            # From our own function, which quotes the key.
            expression=sql.SQL(rows[0][0]),
        )
    )
    yield from fetch(sql.SQL("ANALYZE {}").format(generation.partition))


def metadata_index(generation: Generation, key: str, kind: str) -> str:
    """The name of the btree on one key of the metadata."""
    digest = hashlib.sha256(f"{kind}:{key}".encode()).hexdigest()[:12]
    return f"{generation.table}_metadata_{digest}"


def is_valid(name: str) -> Flow[bool]:
    """Whether there is an index of that name which Postgres uses."""
    rows = yield from fetch(
        "SELECT EXISTS (SELECT FROM pg_index WHERE indisvalid AND indexrelid = to_regclass(%s))",
        [f"pgrecall.{name}"],
    )
    return bool(rows[0][0])


def _count_words(generation: Generation) -> Flow[None]:
    """Keep what ANALYZE found out about words where a search looks them up by index.

    pg_stats lists the lexemes of a tsvector column by frequency, up to ten times its statistics target;
    behind their frequencies stand the smallest and the largest of them.
    """
    here = [generation.generation_id]
    # Two that settle at once would insert the same words.
    yield from fetch("SELECT pg_advisory_xact_lock(hashtext('pgrecall.lexemes'), %s)", here)
    yield from fetch("DELETE FROM pgrecall.lexemes WHERE generation_id = %s", here)
    yield from fetch(
        """
        INSERT INTO pgrecall.lexemes (generation_id, lexeme, frequency)
        SELECT %s::integer, lexeme, frequency
          FROM pg_stats, unnest(most_common_elems::text::text[], most_common_elem_freqs)
               AS listed (lexeme, frequency)
         WHERE schemaname = 'pgrecall' AND tablename = %s AND attname = 'tsv'
           AND lexeme IS NOT NULL
        """,
        [*here, generation.table],
    )
    yield from fetch("ANALYZE pgrecall.lexemes")
    yield from fetch(
        """
        UPDATE pgrecall.generations AS g
           SET chunk_count = greatest(r.reltuples, 0),
               rare_frequency = coalesce((SELECT min(frequency) FROM pgrecall.lexemes AS l
                                           WHERE l.generation_id = g.generation_id), 1)
          FROM pg_class AS r
         WHERE g.generation_id = %s AND r.oid = to_regclass(%s)
        """,
        [*here, f"pgrecall.{generation.table}"],
    )
