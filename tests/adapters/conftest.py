"""A collection with something of everything that a hit carries."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest

import pgrecall
from pgrecall import AsyncCollection, Collection, Database, Document
from tests.conftest import CreateDatabase

T = TypeVar("T")

FRUIT = "Olives ripen in November."
ROOTS = "Carrots are sown in April."
DOCUMENTS = [
    Document(
        uri="garden.md",
        title="The garden",
        text=f"# Trees\n\n{FRUIT}\n\n# Beds\n\n{ROOTS}\n",
        metadata={"year": 2021, "kind": "garden", "score": "their own"},
        pages=(0, 35),
    ),
    Document(uri="quinces.md", text="A quince is sour when raw.", metadata={"year": 1999}),
    Document(uri="harbour.md", text="The ferry to the island leaves at noon."),
]
CHUNKING = pgrecall.ChunkConfig(max_tokens=24, overlap_tokens=0, min_tokens=4)


@pytest.fixture(scope="module")
def db(create_database: CreateDatabase, template_database: str) -> Iterator[Database]:
    """Read by all tests of a module, written by none."""
    with create_database(template_database) as url, pgrecall.connect(url) as opened:
        opened.create_collection("notes", chunking=CHUNKING).ingest(DOCUMENTS)
        yield opened


@pytest.fixture(scope="module")
def docs(db: Database) -> Collection:
    return db.collection("notes")


@pytest.fixture
def awaiting(db: Database) -> Callable[[Callable[[AsyncCollection], Awaitable[T]]], T]:
    """What a coroutine function answers for the awaited twin of the collection."""

    def run(ask: Callable[[AsyncCollection], Awaitable[T]]) -> T:
        async def main() -> T:
            async with pgrecall.connect_async(db.url) as opened:
                return await ask(await opened.collection("notes"))

        return asyncio.run(main())

    return run
