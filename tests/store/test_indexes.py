"""Search indexes: what a build takes from the server, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Document
from pgrecall.flow import run
from pgrecall.store import graph, indexes
from pgrecall.store.session import OnConnection
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


@pytest.mark.parametrize(("large", "neighbours"), [(50_000, "16"), (50, "24")])
def test_a_large_graph_has_more_neighbours(
    docs: Collection,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    large: int,
    neighbours: str,
) -> None:
    monkeypatch.setattr(indexes, "LARGE", large)
    docs.ingest([Document(uri=f"uri-{n}", text=f"text number {n}") for n in range(50)])
    query = "SELECT reloptions FROM pg_class WHERE relname LIKE 'chunks_g%_embedding'"
    assert connection.execute(query).fetchall() == [([f"m={neighbours}"],)]


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
