"""A keyword that no method knows is refused: a limit with a slip in its name would limit nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import pgrecall
from pgrecall import Collection, Document, errors
from pgrecall.types import FloatArray
from tests.embedders import DeadEmbedder, TinyEmbedder

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


#: What no search can take, in a keyword that it knows.
SENSELESS: list[dict[str, Any]] = [
    {"k": 0},
    {"mode": "fuzzy"},
    {"fusion": "cold"},
    {"recall": "much"},
    {"where": 3},
    {"documents": ["a"]},
    {"diversity": "some"},
]


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


@pytest.mark.parametrize("verb", ["search", "context"])
@pytest.mark.parametrize("options", [{"kk": 3}, *SENSELESS], ids=str)
def test_a_search_is_refused_before_its_question_is_embedded(
    database_url: str, verb: str, options: dict[str, Any]
) -> None:
    class Mute(TinyEmbedder):
        def embed_query(self, text: str) -> FloatArray:
            raise AssertionError(text)

    wanted = (TypeError,) if "kk" in options else (errors.InvalidArgument, errors.FilterError)
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("mute", embedder=Mute())
        with pytest.raises(wanted):
            getattr(docs, verb)("tide", **options)
        with pytest.raises(TypeError, match="no keyword argument 'kk'"):
            docs.similar("a", kk=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "signal",
    [
        lambda: pgrecall.Recency("year", weight="x"),  # type: ignore[arg-type]
        lambda: pgrecall.Recency("year", half_life=None),  # type: ignore[arg-type]
        lambda: pgrecall.Recency("year", now="today"),  # type: ignore[arg-type]
        lambda: pgrecall.Boost("votes", pivot="x"),  # type: ignore[arg-type]
        lambda: pgrecall.Boost("kind", values_of={"a": "x"}),  # type: ignore[dict-item]
        lambda: pgrecall.Boost("kind", values_of=3),  # type: ignore[arg-type]
    ],
)
def test_a_signal_of_no_numbers_is_refused_in_words(signal: Callable[[], Any]) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"not|lie between"):
        signal()


def test_awaited(database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs: Any = await db.create_collection("docs", embedder=DeadEmbedder())
            for name in ("ingest", "plan", "sync_table", "reindex", "configure", "search"):
                with pytest.raises(TypeError, match="keyword argument '"):
                    await CALLS[name](docs)

    asyncio.run(main())


def test_watching_says_so_at_once(docs: Any) -> None:
    with pytest.raises(TypeError, match="no keyword argument 'allow_emty'; there are allow_empty,"):
        docs.watch(["."], allow_emty=True)
