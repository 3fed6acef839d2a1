"""The text arm by the BM25 index of pg_textsearch: what it finds, in what order, by which plan.

Runs where the server has the extension: PGRECALL_TEST_DATABASE_URL names one that has. Elsewhere these
tests are reported as skipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Document, errors
from tests.embedders import TinyEmbedder
from tests.store.test_question import GERMAN, TEXTS

EXTENSION = "pg_textsearch"


def available(url: str) -> bool:
    with psycopg.connect(url) as connection:
        loaded = connection.execute("SHOW shared_preload_libraries").fetchone()
        return loaded is not None and EXTENSION in loaded[0]


@pytest.fixture(scope="module")
def bm25_url(template_database: str, create_database: Any, server_url: str) -> Iterator[str]:
    if not available(server_url):
        pytest.skip(f"the server has not loaded {EXTENSION}")
    with create_database(template_database) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA extensions")
            connection.execute("CREATE EXTENSION pg_textsearch SCHEMA extensions")
        yield url


@pytest.fixture(scope="module")
def docs(bm25_url: str) -> Iterator[Collection]:
    with pgrecall.connect(bm25_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(8), text_search=EXTENSION)
        docs.ingest(
            Document(uri=uri, text=text, metadata={"cjk": not text.isascii()})
            for uri, text in TEXTS.items()
        )
        docs.ingest(Document(uri="german", text=GERMAN, language="german", tenant_id="t"))
        yield docs


@pytest.fixture(scope="module")
def many(bm25_url: str) -> Iterator[Collection]:
    with pgrecall.connect(bm25_url) as db:
        many = db.create_collection("many", embedder=TinyEmbedder(8), text_search=EXTENSION)
        many.ingest(
            Document(
                uri=f"{n:05}",
                text=f"common words and number{n % 50}" + " rare" * (1 + n % 3) * (n % 1000 == 7),
                metadata={"part": n % 5, "one": n},
                tenant_id="even" if n % 2 == 0 else "odd",
            )
            for n in range(6000)
        )
        yield many


def found(docs: Collection, question: str, **options: Any) -> list[str]:
    return [hit.uri for hit in docs.search(question, mode="text", k=20, **options)]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("ERR_CONN_RESET", "reset"),
        ("ERR_CO", "reset"),
        ("os.path", "reset"),
        ("v1.2", "reset"),
        ("settings.toml", "paths"),
        ("COVID-19", "hyphens"),
        ("北京大学", "beijing"),
        ("日本の首都", "tokyo"),
        ("เมืองหลวง", "thai"),
        ("Haus am Fluss", "german"),
    ],
)
def test_the_first_hit(docs: Collection, question: str, expected: str) -> None:
    assert found(docs, question)[0] == expected
    hybrid = {hit.uri: hit.text_score for hit in docs.search(question, k=20)}
    assert hybrid[expected] == max(score or 0 for score in hybrid.values()) > 0


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ('"connection was reset"', {"reset"}),
        ('"reset connection"', set()),
        ("java -coffee", {"language"}),
        ('java -"programming language"', {"coffee"}),
        ("java -coffee -machine", set()),
        ("the of and", set()),
        ("nothing of it occurs", set()),
    ],
)
def test_phrases_and_exclusions_bind(docs: Collection, question: str, expected: set[str]) -> None:
    assert set(found(docs, question)) == expected


def test_filters_and_tenants(many: Collection) -> None:
    rare = [f"{n:05}" for n in range(7, 6000, 1000)]
    assert sorted(found(many, "rare")) == rare
    assert found(many, "rare", where={"one": 2007}) == ["02007"]
    assert sorted(found(many, "rare common", where={"part": 2}, tenant_id="odd")[:6]) == rare
    assert found(many, "rare", tenant_id="even") == []
    assert len(found(many, "common", where={"one": {"$gte": 5990}})) == 10
    assert found(many, "number7 rare", uri_prefix="0000") == ["00007"]


def test_scores_are_bm25(many: Collection) -> None:
    """Of the word that stands three, two times or once: idf * tf * (k1 + 1) / (tf + k1 * length)."""
    hits = many.search("rare", mode="text", k=6)
    lengths = {n: 3 + n for n in (0, 1, 2, 3)}  # "and" is a stop word
    mean = (5994 * lengths[0] + 2 * (lengths[1] + lengths[2] + lengths[3])) / 6000
    idf = math.log(1 + (6000 - 6 + 0.5) / (6 + 0.5))
    for hit, times in zip(hits, (3, 3, 2, 2, 1, 1), strict=True):
        tf = times / (times + 0.9 * (1 - 0.4 + 0.4 * lengths[times] / mean))
        assert hit.text_score == pytest.approx(idf * tf * 1.9, rel=0.01)


def test_both_arms_give_one_score(many: Collection) -> None:
    text = {hit.uri: hit.text_score for hit in many.search("rare number7", mode="text", k=20)}
    for hit in many.search("rare number7", k=20):
        if hit.uri in text:
            assert hit.text_score == pytest.approx(text[hit.uri], rel=1e-6)


def test_the_index_is_used(many: Collection) -> None:
    (stage,) = many.search("rare number7", mode="text", explain=True).explanation
    assert [name.rpartition("_")[2] for name in stage.indexes] == ["bm25"]
    few = many.search("rare", mode="text", where={"one": 2007}, explain=True).explanation
    assert not any(name.endswith("bm25") for name in few[0].indexes)


def test_choosing_and_going_back(bm25_url: str) -> None:
    with pgrecall.connect(bm25_url) as db:
        docs = db.create_collection("changing", embedder=TinyEmbedder(8))
        docs.ingest(Document(uri=uri, text=text) for uri, text in TEXTS.items())
        plain = docs.search("java language", mode="text")[0].text_score
        docs.configure(text_search=EXTENSION)
        ranked = docs.search("java language", mode="text")[0].text_score
        assert ranked != plain
        docs.ingest(Document(uri="new", text="Java in a new document."))
        assert "new" in found(docs, "java")
        docs.delete("new")
        assert "new" not in found(docs, "java")
        docs.configure(text_search=None)
        assert docs.search("java language", mode="text")[0].text_score == pytest.approx(
            plain, rel=0.1
        )
        with pytest.raises(errors.InvalidArgument, match="exists with None"):
            db.create_collection("changing", text_search=EXTENSION, exist_ok=True)


def test_refused_where_it_is_not(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        with pytest.raises(errors.ExtensionMissing, match="run CREATE EXTENSION pg_textsearch"):
            db.create_collection("docs", embedder=TinyEmbedder(8), text_search=EXTENSION)
        assert db.collections() == []
        docs = db.create_collection("docs", embedder=TinyEmbedder(8))
        with pytest.raises(errors.ExtensionMissing, match="has no extension pg_textsearch"):
            docs.configure(text_search=EXTENSION)
        with pytest.raises(errors.InvalidArgument, match="text_search is 'pg_textsearch', or None"):
            docs.configure(text_search="elasticsearch")
