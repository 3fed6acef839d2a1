"""A keyword that no method knows is refused: a limit with a slip in its name would limit nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pgrecall
from pgrecall import Collection, Document
from tests.embedders import DeadEmbedder

NOTE = Document(uri="a", text="The tide is high.")

CALLS: dict[str, Callable[[Any], Any]] = {
    "ingest": lambda docs: docs.ingest([NOTE], max_token=0),
    "plan": lambda docs: docs.plan([NOTE], max_costs=0),
    "sync_table": lambda docs: docs.sync_table("t", delete=False),
    "reindex": lambda docs: docs.reindex(embeder="static"),
    "plan_reindex": lambda docs: docs.plan_reindex(max_tokens=0),
    "enqueue_reindex": lambda docs: docs.enqueue_reindex(max_token=0),
    "configure": lambda docs: docs.configure(recal=0.9),
    "search": lambda docs: docs.search("tide", mode="text", top=3),
}


@pytest.fixture
def docs(database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        yield db.create_collection("docs", embedder=DeadEmbedder())


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_an_unknown_keyword_is_refused(docs: Collection, call: Callable[[Any], Any]) -> None:
    before = docs.status()
    with pytest.raises(TypeError, match="keyword argument '"):
        call(docs)
    assert docs.status() == before


def test_awaited(database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs: Any = await db.create_collection("docs", embedder=DeadEmbedder())
            for name in ("ingest", "plan", "sync_table", "reindex", "configure"):
                with pytest.raises(TypeError, match="keyword argument '"):
                    await CALLS[name](docs)

    asyncio.run(main())


def test_watching_says_so_at_once(docs: Any) -> None:
    with pytest.raises(TypeError, match="no keyword argument 'allow_emty'; there are allow_empty,"):
        docs.watch(["."], allow_emty=True)
