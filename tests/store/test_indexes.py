"""Search indexes: what a build takes from the server, and what it leaves behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Document, errors
from pgrecall.flow import run
from pgrecall.store import graph, indexes
from pgrecall.store.session import OnConnection, fetch
from pgrecall.store.together import together
from tests.embedders import TinyEmbedder


@pytest.fixture
def docs(database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        yield db.create_collection("docs", embedder=TinyEmbedder())


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def memory(connection: psycopg.Connection) -> int:
    """What index builds of this session may take now, in kB."""
    query = "SELECT pg_size_bytes(current_setting('maintenance_work_mem')) / 1024"
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(("large", "breadth"), [(50_000, 64), (50, 200)])
def test_a_large_graph_is_built_with_more_breadth(
    docs: Collection,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    large: int,
    breadth: int,
) -> None:
    monkeypatch.setattr(indexes, "LARGE", large)
    docs.ingest([Document(uri=f"uri-{n}", text=f"text number {n}") for n in range(50)])
    query = "SELECT reloptions FROM pg_class WHERE relname LIKE 'chunks_g%_embedding'"
    assert connection.execute(query).fetchall() == [(["m=16", f"ef_construction={breadth}"],)]


@pytest.mark.parametrize("granted", [32 * 1024, 1024 * 1024])
def test_a_build_takes_what_its_rows_need(
    docs: Collection, connection: psycopg.Connection, granted: int
) -> None:
    connection.execute("SET max_parallel_maintenance_workers = 1")
    connection.execute(f"SET maintenance_work_mem = {granted}".encode())
    with connection.transaction():
        run(graph.build(docs._target.generation), OnConnection(connection))
        assert memory(connection) == min(granted, 64 * 1024)  # two processes, no rows
    assert memory(connection) == granted


def test_the_graph_of_many_rows_fits(docs: Collection, connection: psycopg.Connection) -> None:
    docs.ingest([Document(uri="one", text="a text of one chunk")])
    generation = docs._target.generation
    connection.execute(f"DROP INDEX pgrecall.{generation.table}_embedding".encode())
    connection.execute(
        """
        INSERT INTO pgrecall.chunks (generation_id, tenant_id, document_id, ordinal, start_offset,
               end_offset, token_count, uri, headings, header, content, content_hash, language,
               metadata, embedding)
        SELECT generation_id, tenant_id, document_id, n, 0, 1, 1, uri, '{}', '', '', '', language,
               metadata, ARRAY(SELECT random() + 0 * n FROM generate_series(1, 32))::halfvec
          FROM pgrecall.chunks, generate_series(1, 4000) AS n
        """
    )
    notices: list[str | None] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    connection.execute("SET max_parallel_maintenance_workers = 0")
    with connection.transaction():
        run(graph.build(generation), OnConnection(connection))
        # 32 MB for a process, and 4,001 nodes of 1,024 bytes and a vector.
        assert memory(connection) == 32 * 1024 + 4001 * (1024 + 64) // 1024
    assert notices == []  # pgvector says when a graph outgrows its memory


def test_vectors_are_not_counted(docs: Collection, connection: psycopg.Connection) -> None:
    docs.ingest([Document(uri=f"uri-{n}", text=f"text number {n}") for n in range(50)])
    rows = connection.execute(
        "SELECT attname FROM pg_stats WHERE schemaname = 'pgrecall' AND tablename LIKE 'chunks_g%'"
    ).fetchall()
    names = {row[0] for row in rows}
    assert {"tsv", "content_hash"} <= names
    assert not {"embedding", "content"} & names


def test_indexes_are_built_beside_the_graph(database_url: str) -> None:
    async def awaited(count: int) -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("awaited", embedder=TinyEmbedder())
            await docs.ingest(numbered(count))
            assert (await docs.search("text number 7", mode="vector")).strategy == "hnsw"

    def names(connection: psycopg.Connection, generation: int) -> set[str]:
        query = "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid"
        found = {row[0] for row in connection.execute(query)}
        return {name for name in found if name.startswith(f"pgrecall.chunks_g{generation}_")}

    asyncio.run(awaited(2_100))
    with psycopg.connect(database_url) as lent, pgrecall.connect(lent) as db:
        docs = db.create_collection("lent", embedder=TinyEmbedder())
        docs.ingest(numbered(2_100))
        assert docs.search("text number 7", mode="vector").strategy == "hnsw"
    with psycopg.connect(database_url) as connection:
        expected = {"embedding", "tsv", "metadata", "content_hash_idx", "pkey"}
        for generation in (1, 2):
            prefix = f"pgrecall.chunks_g{generation}_"
            assert names(connection, generation) == {prefix + name for name in expected}
        # The recall was measured beside the statistics, of all rows.
        query = (
            "SELECT chunk_count, recall_chunks, cardinality(recall_curve) FROM pgrecall.generations"
        )
        assert set(connection.execute(query)) == {(2_100, 2_100, 8)}


def numbered(count: int) -> list[Document]:
    return [Document(uri=f"uri-{n}", text=f"text number {n}") for n in range(count)]


def test_statistics_that_were_cut_off_are_taken_by_the_next_run(
    docs: Collection, connection: psycopg.Connection
) -> None:
    docs.ingest(numbered(30))
    words = "SELECT count(*) FROM pgrecall.lexemes"
    counted = connection.execute(words).fetchone()
    # As a run leaves it that is killed behind the graph: the chunks are counted, their words are not.
    connection.execute("DELETE FROM pgrecall.lexemes")
    assert docs.ingest(numbered(30)).unchanged == 30
    assert connection.execute(words).fetchone() == counted != (0,)


def test_what_runs_beside_a_failure_is_cut_off(database_url: str) -> None:
    slow = fetch("SELECT pg_sleep(60)")
    fails = fetch("SELECT 1 / (SELECT 0 FROM pg_sleep(0.3))")
    began = time.monotonic()
    with pgrecall.connect(database_url) as db, pytest.raises(errors.DatabaseError, match="zero"):
        run(together(fails, slow), db._session)
    assert time.monotonic() - began < 20
    with pgrecall.connect(database_url) as db:
        assert run(fetch("SELECT 1"), db._session) == [(1,)]
