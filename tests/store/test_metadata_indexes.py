"""Declared metadata keys: their index is used, and changes no answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import pgrecall
from pgrecall import Collection, Document, errors
from tests.embedders import TinyEmbedder
from tests.store.filter_oracle import matches

ROWS = 2600


def metadata(n: int) -> dict[str, Any]:
    made: dict[str, Any] = {
        "year": n % 400,
        "name": f"n{n:04d}",
        "day": f"2026-{n % 12 + 1:02d}-01",
    }
    if n % 500 == 7:
        made["year"] = [5, 300]
    if n % 500 == 8:
        made |= {"year": "a text", "name": None}
    if n % 500 == 9:
        made["name"] = ["n0001", "zzz"]
    return made


@pytest.fixture(scope="module")
def docs(template_database: str, create_database: Any) -> Iterator[Collection]:
    with create_database(template_database) as url, pgrecall.connect(url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(8))
        docs.ingest(
            Document(uri=f"d/{n % 13}/{n}", text=f"row {n}", metadata=metadata(n))
            for n in range(ROWS)
        )
        docs.index_metadata("year", type="int")
        docs.index_metadata("name", type="text")
        docs.index_metadata("day", type="date")
        yield docs


WHERES: list[dict[str, Any]] = [
    {"year": 5},
    {"year": {"$gte": 396}},
    {"year": {"$gt": 100, "$lt": 103}},
    {"year": {"$lte": 1.5}},
    {"year": {"$in": [1, 300, 9]}},
    {"name": "n0042"},
    {"name": {"$gte": "n2590"}},
    {"name": {"$lt": "n0009"}},
    {"$and": [{"name": {"$gte": "n2000"}}, {"year": {"$lt": 5}}]},
]


@pytest.mark.parametrize("where", WHERES, ids=str)
def test_an_index_finds_what_the_filter_means(docs: Collection, where: dict[str, Any]) -> None:
    hits = docs.search("row", mode="vector", k=ROWS, where=where, explain=True)
    expected = {f"d/{n % 13}/{n}" for n in range(ROWS) if matches(metadata(n), where)}
    assert expected
    assert {hit.uri for hit in hits} == expected
    (stage,) = hits.explanation
    assert len(repr(stage)) < 300, "a plan holds the question's embedding"
    # Equality may use the index of all metadata, ranges need their own.
    assert any("_metadata" in index for index in stage.indexes), stage


@pytest.mark.parametrize(
    "where", [{"day": {"$gte": "2026-03"}}, {"year": {"$ne": 5}}, {"year": "a text"}], ids=str
)
def test_filters_that_an_index_does_not_help(docs: Collection, where: dict[str, Any]) -> None:
    hits = docs.search("row", mode="text", k=ROWS, where=where)
    expected = {f"d/{n % 13}/{n}" for n in range(ROWS) if matches(metadata(n), where)}
    assert {hit.uri for hit in hits} == expected


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_parts_of_a_collection(docs: Collection, mode: Any) -> None:
    below = {f"d/7/{n}" for n in range(7, ROWS, 13)}
    hits = docs.search("row", mode=mode, k=ROWS, uri_prefix="d/7/")
    assert {hit.uri for hit in hits} == below
    some = [hit.document_id for hit in hits[:5]]
    chosen = docs.search("row", mode=mode, k=ROWS, documents=some)
    assert {hit.document_id for hit in chosen} == {*some}
    both = docs.search("row", mode=mode, k=ROWS, documents=some, uri_prefix="d/8/")
    assert both == []
    assert docs.search("row", mode=mode, documents=[]) == []
    everything = docs.search("row", mode=mode, k=ROWS, uri_prefix="d/")
    assert len(everything) == ROWS


def test_an_index_may_be_declared_again(docs: Collection) -> None:
    docs.index_metadata("year", type="float")
    assert len(docs.search("row", mode="vector", k=ROWS, where={"year": 5})) > 5


@pytest.mark.parametrize(("key", "type_"), [("year", "uuid"), ("", "int"), ("$eq", "int")])
def test_declarations_that_make_no_sense(docs: Collection, key: str, type_: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="A metadata index has a key and a type"):
        docs.index_metadata(key, type=type_)


def test_defaults_are_kept(docs: Collection) -> None:
    docs.configure(recall=0.5, vector_weight=1.0)
    by_vector = docs.search("row 17", k=20)
    assert [h.uri for h in by_vector] == [h.uri for h in docs.search("row 17", k=20, mode="vector")]
    docs.configure(vector_weight=None, recall=None)
    assert docs.search("row 17", k=20)[0].uri == "d/4/17"
    with pytest.raises(errors.InvalidArgument, match="recall lies between 0 and 1"):
        docs.configure(recall=1.5)
    with pytest.raises(errors.InvalidArgument, match="not at 'most'"):
        docs.configure(recall="most")  # type: ignore[arg-type]
