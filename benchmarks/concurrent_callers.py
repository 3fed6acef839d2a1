"""Searches of many callers at once, against bare psycopg on a pool of the same size.

    python benchmarks/concurrent_callers.py [--callers 32] [--rows 20000]

Both sides are awaited, ask the same questions with the same ef_search, and take turns, so that a busy machine
is fair to both. The aim: at least 0.8 of bare psycopg's searches a second.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from filters import fill, questions
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

import pgrecall
from pgrecall.store.session import prepare
from pgrecall.store.vectors import Asked, encode_all
from pgrecall.types import FloatArray

EF_SEARCH = 100
ROUNDS = 7
POOL = 8


async def throughput(
    ask: Callable[[FloatArray], Awaitable[object]], vectors: FloatArray, callers: int
) -> float:
    """Searches a second, each caller asking a quarter of the questions."""

    async def caller(number: int) -> None:
        for n in range(len(vectors) // 4):
            await ask(vectors[(number + n) % len(vectors)])

    began = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return callers * (len(vectors) // 4) / (time.perf_counter() - began)


async def compare(url: str, vectors: FloatArray, callers: int) -> None:
    """Both sides in turn; medians."""

    async def ready(connection: AsyncConnection[tuple[object, ...]]) -> None:
        prepare(connection)
        await connection.execute(f"SET hnsw.ef_search = {EF_SEARCH}".encode())

    statement = b"""
        SELECT content, uri, title, metadata, tenant_id, document_id, ordinal, start_offset, end_offset,
               page, headings, 1 - (embedding::halfvec(256) <=> %s::halfvec(256))
          FROM pgrecall.chunks_g1 ORDER BY embedding::halfvec(256) <=> %s::halfvec(256) LIMIT 10
    """
    pool: AsyncConnectionPool[AsyncConnection[tuple[object, ...]]] = AsyncConnectionPool(
        url, min_size=POOL, max_size=POOL, kwargs={"autocommit": True}, configure=ready, open=False
    )
    async with pool, pgrecall.connect_async(url) as db:
        docs = await db.collection("filters")

        async def bare(vector: FloatArray) -> object:
            wire = Asked(encode_all(vector[None])[0])
            async with pool.connection() as connection:
                cursor = await connection.execute(
                    statement, [wire, wire], prepare=True, binary=True
                )
                return await cursor.fetchall()

        async def ours(vector: FloatArray) -> object:
            return await docs.search(vector, mode="vector", k=10, ef_search=EF_SEARCH)

        sides = {"bare psycopg": bare, "pgrecall": ours}
        found: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(ROUNDS):
            for name, ask in sides.items():
                found[name].append(await throughput(ask, vectors, callers))
        base = statistics.median(found["bare psycopg"])
        for name, values in found.items():
            median = statistics.median(values)
            print(
                f"{name:14} {callers} callers  {median:8.0f} searches/s  {median / base:.2f} of bare"
            )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--rows", type=int, default=20_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, pgrecall.connect(home=Path(home)) as db:
        fill(db, arguments.rows)
        vectors = pgrecall.open_embedder("static").embed_documents(questions(100))
        asyncio.run(compare(db.url, vectors, arguments.callers))


if __name__ == "__main__":
    main()
