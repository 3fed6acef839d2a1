"""What a collection holds and what is going on in it, in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from psycopg import sql

from pgrecall.flow import Flow
from pgrecall.store import runs
from pgrecall.store.batches import Handed, handed
from pgrecall.store.collections import Generation
from pgrecall.store.runs import Throughput
from pgrecall.store.session import Row, fetch
from pgrecall.store.storage import Storage
from pgrecall.types import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBuild:
    """A search index that is being built."""

    #: "embedding" (HNSW), "tsv" or "metadata".
    index: str
    #: In Postgres's words: "building index: loading tuples".
    phase: str
    #: How much of the phase is done, 0 to 1; None where Postgres does not say.
    done: float | None


State: TypeAlias = Literal["building", "active", "retired"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStatus:
    """A generation in figures."""

    generation_id: int
    #: "active": searched. "building": gets all that is written. "retired": can be gone back to.
    state: State
    embedder: str
    dimensions: int
    chunking: Mapping[str, Any]
    storage: Storage
    #: Documents whose stored version it holds, and those that it lacks.
    documents: int
    lacking: int
    #: Of these, documents that wait for a worker or are in hand, and those that workers failed to add.
    queued: int
    failed: int
    #: On disk, with its indexes.
    bytes: int
    #: Whether its HNSW index is there.
    indexed: bool
    created_at: datetime
    #: When it became the one that is searched, last; None while it never was.
    activated_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionStatus:
    """The state of one collection."""

    name: str
    embedder: str
    dimensions: int
    #: Documents that are searchable.
    documents: int
    #: Sources whose last attempt failed; an older version of them may be searchable.
    failed: int
    #: Documents that wait for a worker; None without a queue.
    queued: int | None
    chunks: int
    tokens: int
    #: Chunks on disk, with their indexes.
    bytes: int
    #: Each of the indexes alone: "embedding", "tsv", "metadata", "pkey" ...
    index_bytes: Mapping[str, int]
    #: Whether the HNSW index is there; it is built at the end of the first ingestion.
    indexed: bool
    #: Number -> "active", "building" or "retired". The figures are those of the active one.
    generations: Mapping[int, str]
    #: The generation that is being built; None if there is none.
    reindexing: GenerationStatus | None
    building: IndexBuild | None
    #: Of the last runs that wrote anything; None if there was none.
    throughput: Throughput | None
    #: In all runs: tokens embedded, and US dollars as far as list prices are known; None if none is.
    spent_tokens: int
    spent: float | None
    last_run: Run | None


def status(generation: Generation) -> Flow[CollectionStatus]:
    """Count what the collection holds; exact, so it reads the whole table."""
    ready, failed = yield from _documents(generation)
    chunks, tokens, size, indexed = yield from _chunks(generation)
    states = yield from _states(generation)
    spent_tokens, spent = yield from runs.spent(generation.collection)
    last = yield from runs.recent(generation.collection, 1)
    return CollectionStatus(
        name=generation.collection,
        embedder=generation.embedder,
        dimensions=generation.dimensions,
        documents=ready,
        failed=failed,
        queued=(yield from _queued(generation)),
        chunks=chunks,
        tokens=tokens,
        bytes=size,
        index_bytes=(yield from _index_bytes(generation)),
        indexed=indexed,
        generations=states,
        reindexing=(yield from _reindexing(generation, states)),
        building=(yield from building(generation)),
        throughput=(yield from runs.throughput(generation.embedder, generation.collection)),
        spent_tokens=spent_tokens,
        spent=spent,
        last_run=last[0] if last else None,
    )


def _documents(generation: Generation) -> Flow[tuple[int, int]]:
    """How many are searchable, and how many failed at the last attempt."""
    rows = yield from fetch(
        """
        SELECT count(*) FILTER (WHERE status = 'ready'), count(*) FILTER (WHERE error IS NOT NULL)
          FROM pgrecall.documents WHERE collection_id = %s
        """,
        [generation.collection_id],
    )
    return rows[0][0], rows[0][1]


def _chunks(generation: Generation) -> Flow[tuple[int, int, int, bool]]:
    """How many there are, their tokens, their bytes on disk, and whether their HNSW index is there."""
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT count(*), coalesce(sum(token_count), 0),
                   pg_total_relation_size({table}::regclass),
                   EXISTS (SELECT FROM pg_index WHERE indisvalid AND indexrelid = to_regclass({index}))
              FROM {partition}
            """
        ).format(
            table=sql.Literal(f"pgrecall.{generation.table}"),
            index=sql.Literal(f"pgrecall.{generation.table}_embedding"),
            partition=generation.partition,
        )
    )
    count, tokens, size, indexed = rows[0]
    return count, tokens, size, indexed


def _states(generation: Generation) -> Flow[dict[int, str]]:
    rows = yield from fetch(
        """
        SELECT generation_id, state FROM pgrecall.generations
         WHERE collection_id = %s ORDER BY generation_id
        """,
        [generation.collection_id],
    )
    return dict(rows)


def _reindexing(generation: Generation, states: Mapping[int, str]) -> Flow[GenerationStatus | None]:
    if "building" not in states.values():
        return None
    every = yield from statuses(generation.collection)
    return next((item for item in every if item.state == "building"), None)


def statuses(collection: str) -> Flow[list[GenerationStatus]]:
    """All generations of a collection, oldest first. Counts documents, so it reads their table."""
    rows = yield from fetch(
        """
        WITH held AS (
            SELECT g.generation_id, count(d.uri) AS held
              FROM pgrecall.generations AS g
              JOIN pgrecall.collections AS c ON c.collection_id = g.collection_id AND c.name = %s
              LEFT JOIN pgrecall.documents AS d
                ON d.collection_id = c.collection_id AND d.content_hash IS NOT NULL
               AND d.generations @> ARRAY[g.generation_id]
             GROUP BY g.generation_id
        )
        SELECT g.generation_id, g.state, g.embedder, g.dimensions, g.chunking, held.held,
               (SELECT count(*) FROM pgrecall.documents AS d
                 WHERE d.collection_id = g.collection_id AND d.content_hash IS NOT NULL) - held.held,
               coalesce(pg_total_relation_size(to_regclass('pgrecall.chunks_g' || g.generation_id)), 0),
               EXISTS (SELECT FROM pg_index WHERE indisvalid AND indexrelid =
                       to_regclass('pgrecall.chunks_g' || g.generation_id || '_embedding')),
               g.created_at, g.activated_at, g.storage, g.metric, g.prefix
          FROM pgrecall.generations AS g JOIN held USING (generation_id)
         ORDER BY g.generation_id
        """,
        [collection],
    )
    given = yield from handed(collection)
    return [_status(row, given.get(row[0], Handed(queued=0, failed=0))) for row in rows]


def _status(row: Row, given: Handed) -> GenerationStatus:
    number, state, embedder, dimensions, chunking, documents, lacking, size, *rest = row
    indexed, created_at, activated_at, type, metric, prefix = rest
    return GenerationStatus(
        generation_id=number,
        state=state,
        embedder=embedder,
        dimensions=dimensions,
        chunking=chunking,
        storage=Storage(type=type, metric=metric, prefix=prefix),
        documents=documents,
        lacking=lacking,
        queued=given.queued,
        failed=given.failed,
        bytes=size,
        indexed=indexed,
        created_at=created_at,
        activated_at=activated_at,
    )


def building(generation: Generation) -> Flow[IndexBuild | None]:
    """The index of the collection that is being built just now."""
    # An index that is not committed has no name for others but in the statement that builds it.
    rows = yield from fetch(
        """
        SELECT coalesce(substring(a.query FROM 'chunks_g\\d+_(\\w+)'), 'index'), p.phase,
               p.blocks_done::double precision / nullif(p.blocks_total, 0)
          FROM pg_stat_progress_create_index AS p LEFT JOIN pg_stat_activity AS a USING (pid)
         WHERE p.relid = to_regclass(%s) LIMIT 1
        """,
        [f"pgrecall.{generation.table}"],
    )
    return IndexBuild(index=rows[0][0], phase=rows[0][1], done=rows[0][2]) if rows else None


def _index_bytes(generation: Generation) -> Flow[dict[str, int]]:
    rows = yield from fetch(
        """
        SELECT substring(c.relname FROM 'chunks_g\\d+_(.*)'), pg_relation_size(c.oid)
          FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
         WHERE i.indrelid = to_regclass(%s) ORDER BY 2 DESC
        """,
        [f"pgrecall.{generation.table}"],
    )
    return dict(rows)


def _queued(generation: Generation) -> Flow[int | None]:
    there = yield from fetch("SELECT to_regclass('pgrecall.queue') IS NOT NULL")
    if not there[0][0]:
        return None
    rows = yield from fetch(
        sql.SQL("SELECT count(*) FROM {} WHERE collection_id = %s").format(
            sql.Identifier("pgrecall", "queue")
        ),
        [generation.collection_id],
    )
    count: int = rows[0][0]
    return count
