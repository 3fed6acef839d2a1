"""What a collection holds, in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch


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
    chunks: int
    tokens: int
    #: Chunks on disk, with their indexes.
    bytes: int
    #: Whether the HNSW index is there; it is built at the end of the first ingestion.
    indexed: bool
    #: Number -> "active", "building" or "retired". The figures are those of the active one.
    generations: Mapping[int, str]


def status(generation: Generation) -> Flow[CollectionStatus]:
    """Count what the collection holds; exact, so it reads the whole table."""
    documents = yield from fetch(
        """
        SELECT count(*) FILTER (WHERE status = 'ready'), count(*) FILTER (WHERE error IS NOT NULL)
          FROM pgrecall.documents WHERE collection_id = %s
        """,
        [generation.collection_id],
    )
    chunks = yield from fetch(
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
    states = yield from fetch(
        """
        SELECT generation_id, state FROM pgrecall.generations
         WHERE collection_id = %s ORDER BY generation_id
        """,
        [generation.collection_id],
    )
    ready, failed = documents[0]
    count, tokens, size, indexed = chunks[0]
    return CollectionStatus(
        name=generation.collection,
        embedder=generation.embedder,
        dimensions=generation.dimensions,
        documents=ready,
        failed=failed,
        chunks=count,
        tokens=tokens,
        bytes=size,
        indexed=indexed,
        generations=dict(states),
    )
