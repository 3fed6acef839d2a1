"""Connections that the caller brings: pools, engines, one connection; and what cancelling leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

import pgrecall
from pgrecall import Document, errors
from tests.embedders import TinyEmbedder

DOCUMENTS = [Document(uri=f"d{n}", text=f"number {n} of many") for n in range(30)]


@contextmanager
def lent(kind: str, url: str) -> Iterator[Any]:
    """What a caller might hold, with rows as it likes them."""
    if kind == "pool":
        with ConnectionPool(url, min_size=1, max_size=2, kwargs={"row_factory": dict_row}) as pool:
            yield pool
    elif kind == "connection":
        with psycopg.connect(url, row_factory=dict_row) as connection:
            yield connection
    elif kind == "autocommit":
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection
    else:
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        yield engine
        engine.dispose()


@asynccontextmanager
async def lent_async(kind: str, url: str) -> AsyncIterator[Any]:
    if kind == "pool":
        async with AsyncConnectionPool(url, min_size=1, max_size=2, open=False) as pool:
            yield pool
    elif kind == "engine":
        engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        yield engine
        await engine.dispose()
    else:
        connection = await psycopg.AsyncConnection.connect(url, autocommit=kind == "autocommit")
        async with connection:
            yield connection


@pytest.mark.parametrize("kind", ["pool", "connection", "autocommit", "engine"])
def test_everything_works_on_what_is_lent(kind: str, database_url: str) -> None:
    with lent(kind, database_url) as lender:
        with pgrecall.connect(lender) as db:
            docs = db.create_collection("docs", embedder=TinyEmbedder(8))
            assert docs.ingest(DOCUMENTS).new == 30
            assert docs.search("number 7", mode="text", k=1)[0].uri == "d7"
            assert len(docs.search("number 7", k=5)) == 5
            assert docs.context("number 7").citations
            assert docs.delete("d7") == 1
        # It is still the caller's, and usable.
        if kind != "engine":
            use = lender.connection() if kind == "pool" else lender
            with use as connection:
                assert connection.execute("SELECT 1 AS one").fetchone()
    with pgrecall.connect(database_url) as db:
        assert db.collection("docs").status().documents == 29


@pytest.mark.parametrize("made", [psycopg.ClientCursor, psycopg.RawCursor])
def test_a_lent_connection_may_make_other_cursors(made: type[Any], database_url: str) -> None:
    with psycopg.connect(database_url, cursor_factory=made) as lender:
        with pgrecall.connect(lender) as db:
            docs = db.create_collection("docs", embedder=TinyEmbedder(8))
            assert docs.ingest(DOCUMENTS).new == 30
            for mode in ("vector", "text", "hybrid"):
                assert len(docs.search("number 7", mode=mode, k=5, diversity=0.5)) == 5
        assert type(lender.cursor()) is made


def test_in_a_pipeline_answers_are_waited_for(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(8))
        docs.ingest(DOCUMENTS)
        truth = docs.search("number 7", k=5)
    with psycopg.connect(database_url) as lender, lender.pipeline():
        mine = pgrecall.connect(lender).collection("docs", embedder=TinyEmbedder(8))
        one = lender.execute("SELECT 1")
        assert mine.search("number 7", k=5) == truth
        with pytest.raises(errors.FilterError):
            mine.search("number 7", where={"n": {"$near": 1}})
        lender.rollback()
        assert mine.search("number 7", k=5) == truth
        assert one.fetchone() == (1,)

    async def awaited() -> None:
        connection = await psycopg.AsyncConnection.connect(database_url)
        async with connection, connection.pipeline(), pgrecall.connect_async(connection) as db:
            mine = await db.collection("docs", embedder=TinyEmbedder(8))
            assert await mine.search("number 7", k=5) == truth

    asyncio.run(awaited())


@pytest.mark.parametrize("made", [psycopg.AsyncClientCursor, psycopg.AsyncRawCursor])
def test_an_awaited_one_may_too(made: type[Any], database_url: str) -> None:
    async def use() -> None:
        connection = await psycopg.AsyncConnection.connect(database_url, cursor_factory=made)
        async with connection, pgrecall.connect_async(connection) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder(8))
            assert (await docs.ingest(DOCUMENTS)).new == 30
            assert len(await docs.search("number 7", k=5)) == 5

    asyncio.run(use())


@pytest.mark.parametrize("kind", ["pool", "connection", "autocommit", "engine"])
def test_everything_works_awaited_on_what_is_lent(kind: str, database_url: str) -> None:
    async def use() -> None:
        async with lent_async(kind, database_url) as lender, pgrecall.connect_async(lender) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder(8))
            assert (await docs.ingest(DOCUMENTS)).new == 30
            found = await asyncio.gather(*(docs.search("number 7") for _ in range(6)))
            assert {len(hits) for hits in found} == {10}
            assert (await docs.search("number 7", mode="text", k=1))[0].uri == "d7"

    asyncio.run(use())


def test_a_transaction_of_the_caller_stays_open(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        db.create_collection("docs", embedder=TinyEmbedder(8)).ingest(DOCUMENTS)
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE orders (id integer)")
        with pgrecall.connect(connection) as db:
            docs = db.collection("docs", embedder=TinyEmbedder(8))
            assert docs.delete(["d1", "d2"]) == 2
            docs.ingest(Document(uri="new", text="Something new."))
            assert len(docs.search("new", mode="text")) == 1
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        connection.rollback()
    with pgrecall.connect(database_url) as db:
        docs = db.collection("docs", embedder=TinyEmbedder(8))
        assert docs.status().documents == 30
        assert docs.search("new", mode="text") == []


@pytest.mark.parametrize("kind", ["connection", "autocommit"])
def test_what_is_made_and_dropped_is_part_of_an_open_transaction(
    kind: str, database_url: str
) -> None:
    with pgrecall.connect(database_url) as outside:
        outside.create_collection("old", embedder=TinyEmbedder(8)).ingest(DOCUMENTS)
        with lent(kind, database_url) as connection, pgrecall.connect(connection) as db:
            with connection.transaction(force_rollback=True):
                db.create_collection("new", embedder=TinyEmbedder(8)).ingest(DOCUMENTS)
                db.drop_collection("old")
                with pytest.raises(errors.CollectionNotFound):
                    db.collection("old")
            assert db.collection("old", embedder=TinyEmbedder(8)).status().documents == 30
            with pytest.raises(errors.CollectionNotFound):
                db.collection("new")
            # Where no transaction is open, nobody has to commit.
            db.drop_collection("old")
            with pytest.raises(errors.CollectionNotFound):
                outside.collection("old")


def test_settings_of_the_caller_stay(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        db.create_collection("docs", embedder=TinyEmbedder(8)).ingest(DOCUMENTS)
    with psycopg.connect(database_url) as connection:
        # Loads pgvector, and its settings with it.
        connection.execute("SELECT '[1]'::vector <=> '[1]'")
        connection.execute("SET hnsw.ef_search = 77")
        before = connection.execute("SELECT name, setting FROM pg_settings ORDER BY 1").fetchall()
        with pgrecall.connect(connection) as db:
            docs = db.collection("docs", embedder=TinyEmbedder(8))
            for mode in ("vector", "text", "hybrid"):
                docs.search("number 7", mode=mode, recall=0.5, where={"x": {"$exists": False}})
        after = connection.execute("SELECT name, setting FROM pg_settings").fetchall()
        assert dict(before).items() <= dict(after).items()


def test_nothing_else_is_taken(database_url: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="connect takes a URL"):
        pgrecall.connect(42)  # type: ignore[arg-type]

    async def wrong() -> None:
        with psycopg.connect(database_url) as connection:
            async with pgrecall.connect_async(connection):  # type: ignore[arg-type]
                pass

    with pytest.raises(errors.InvalidArgument, match="connect takes the blocking ones"):
        asyncio.run(wrong())


def test_a_database_without_tables_is_refused(create_database: Any) -> None:
    with (
        create_database() as url,
        psycopg.connect(url) as connection,
        pytest.raises((errors.SchemaMissing, errors.ExtensionMissing)),
    ):
        pgrecall.connect(connection)


def test_cancelled_searches_leave_the_pool_healthy(database_url: str) -> None:
    async def use() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder(8))
            await docs.ingest(DOCUMENTS)
            async with await psycopg.AsyncConnection.connect(database_url) as blocker:
                await blocker.execute("LOCK TABLE pgrecall.collections IN ACCESS EXCLUSIVE MODE")
                started = [asyncio.create_task(docs.search("number 7")) for _ in range(12)]
                await asyncio.sleep(0.3)
                for task in started[:6]:
                    task.cancel()
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(docs.search("number 8"), 0.2)
                await blocker.rollback()
            results = await asyncio.gather(*started, return_exceptions=True)
            assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 6
            assert [len(result) for result in results[6:]] == [10] * 6  # type: ignore[arg-type]
            # More searches at once than connections: none was lost.
            found = await asyncio.gather(*(docs.search("number 9") for _ in range(40)))
            assert {len(hits) for hits in found} == {10}
        with psycopg.connect(database_url) as connection:
            left = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgrecall'"
                " AND datname = current_database() AND state <> 'idle'"
            ).fetchone()
            assert left == (0,)

    asyncio.run(use())


def test_a_pooler_that_keeps_no_prepared_statements_is_named(database_url: str) -> None:
    with (
        psycopg.connect(database_url, autocommit=True, prepare_threshold=1) as own,
        pgrecall.connect(own) as db,
    ):
        for _ in range(3):
            db.collections()
        # As if the pooler had handed the next transaction to another connection; psycopg does not see it.
        own.pgconn.exec_(b"DEALLOCATE ALL")
        with pytest.raises(errors.DatabaseError, match="PGRECALL_PREPARE=false"):
            db.collections()


def test_without_prepared_statements(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGRECALL_PREPARE", "false")
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(8))
        docs.ingest(DOCUMENTS)
        for _ in range(8):
            docs.search("number 7")
        with db._session.connection() as connection:
            prepared = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
        assert prepared == (0,)
