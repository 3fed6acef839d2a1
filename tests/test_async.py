"""The awaited face: the same results, cancellation, many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import AsyncDatabase, Document, errors
from pgrecall.types import FloatArray
from tests.driving import go
from tests.embedders import DeadEmbedder, TinyEmbedder
from tests.test_api import SMALL, counts, kill_connections, paragraphs, rows, wait_for_lock

DOCUMENTS = [
    Document(uri=f"d{n}.md", text=f"# Tide {n}\n\n{paragraphs(3, f'word{n}')}", metadata={"n": n})
    for n in range(70)
]


def test_both_flavours_do_the_same(database_url: str) -> None:
    async def awaited() -> list[Any]:
        async with pgrecall.connect_async(database_url) as db:
            # Of another name, or the vectors of the other flavour would serve.
            embedder = TinyEmbedder(name="other")
            docs = await db.create_collection("async", embedder=embedder, chunking=SMALL)
            first = await docs.ingest([*DOCUMENTS, "/no/such/file"])
            again = await docs.ingest(DOCUMENTS)
            assert await docs.delete("d3.md") == 1
            await docs.optimize()
            hits = [
                await docs.search("word7 tide", k=5, mode=mode, where={"n": {"$gt": 4}})
                for mode in ("vector", "text", "hybrid")
            ]
            context = await docs.context("word7 tide", max_tokens=300)
            names = [collection.name for collection in await db.collections()]
            return [first, again, hits, context, await docs.status(), names]

    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("sync", embedder=TinyEmbedder(), chunking=SMALL)
        first = docs.ingest([*DOCUMENTS, "/no/such/file"])
        again = docs.ingest(DOCUMENTS)
        assert docs.delete("d3.md") == 1
        docs.optimize()
        hits = [
            docs.search("word7 tide", k=5, mode=mode, where={"n": {"$gt": 4}})
            for mode in ("vector", "text", "hybrid")
        ]
        context = docs.context("word7 tide", max_tokens=300)
        names = [collection.name for collection in db.collections()]
        status = docs.status()

    a_first, a_again, a_hits, a_context, a_status, a_names = go(awaited())
    assert counts(a_first) == counts(first)
    assert a_first.failed == first.failed
    assert counts(a_again) == counts(again) == {"unchanged": 70}
    # Ids, and the places of equal scores, differ between collections; scores and texts do not.
    for one, other in zip(a_hits, hits, strict=True):
        assert one.strategy == other.strategy
        assert [hit.score for hit in one] == [hit.score for hit in other]
        assert {(hit.uri, hit.ordinal) for hit in one} == {(hit.uri, hit.ordinal) for hit in other}
    assert a_context.text == context.text
    assert [c.quote for c in a_context.citations] == [c.quote for c in context.citations]
    assert list(a_status.generations.values()) == list(status.generations.values()) == ["active"]
    measured: Any = {
        "name": "",
        "embedder": "",
        "bytes": 0,
        "index_bytes": {},
        "generations": {},
        "throughput": None,
        "last_run": None,
    }
    assert replace(a_status, **measured) == replace(status, **measured)
    assert (a_names, names) == (["async", "sync"], ["sync"])


def test_many_searches_at_once_share_few_connections(database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder())
            await docs.ingest(DOCUMENTS)
            found = await asyncio.gather(
                *(docs.search(f"word{n}", k=1, mode="text") for n in range(32))
            )
            assert [hits[0].uri for hits in found] == [f"d{n}.md" for n in range(32)]
            query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgrecall'"
            mine = " AND datname = current_database()"
            assert rows(db.url, query + mine)[0][0] <= 8

    go(main())


async def searchable(db: AsyncDatabase) -> pgrecall.AsyncCollection:
    docs = await db.create_collection("docs", embedder=TinyEmbedder())
    await docs.ingest(Document(uri="a", text="tide"))
    return docs


def test_a_cancelled_search_leaves_the_pool_usable(database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await searchable(db)
            async with await psycopg.AsyncConnection.connect(database_url) as blocker:
                await blocker.execute("LOCK TABLE pgrecall.chunks IN ACCESS EXCLUSIVE MODE")
                # More than the pool has connections: some wait for the lock, some for a connection.
                for _ in range(2):
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.3):
                            await asyncio.gather(*(docs.search("tide") for _ in range(12)))
            found = await asyncio.gather(*(docs.search("tide") for _ in range(20)))
            assert all(hits[0].uri == "a" for hits in found)

    go(main())


class SlowEmbedder(TinyEmbedder):
    """Takes its time, and can be awaited."""

    async def embed_documents_async(self, texts: Sequence[str]) -> FloatArray:
        self.seen += texts
        await asyncio.Event().wait()
        return np.zeros((0, 0), dtype=np.float32)

    async def embed_query_async(self, text: str) -> FloatArray:
        return self.embed_query(text)


def test_a_cancelled_ingestion_ends_all_its_tasks(database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=SlowEmbedder())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await docs.ingest(DOCUMENTS)
            assert (await docs.status()).documents == 0

            plain = await db.collection("docs", embedder=TinyEmbedder())
            assert (await plain.ingest(DOCUMENTS)).new == 70

    go(main())


def test_an_embedder_that_is_down_ends_an_awaited_run(database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=DeadEmbedder())
            with pytest.raises(errors.EmbeddingError, match="down"):
                await docs.ingest(
                    [Document(uri=f"d{n}", text=paragraphs(400, f"w{n}")) for n in range(40)]
                )

    go(main())


def test_connections_that_were_cut(database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await searchable(db)
            await asyncio.to_thread(kill_connections, db.url)
            assert (await docs.search("tide"))[0].uri == "a"

            async with await psycopg.AsyncConnection.connect(database_url) as blocker:
                await blocker.execute("LOCK TABLE pgrecall.chunks IN ACCESS EXCLUSIVE MODE")
                waiting = asyncio.create_task(docs.search("tide"))
                await asyncio.to_thread(wait_for_lock, db.url)
                await asyncio.to_thread(kill_connections, db.url)
                with pytest.raises(errors.DatabaseUnavailable, match="was lost"):
                    await waiting
            assert (await docs.search("tide"))[0].uri == "a"

    go(main())
