"""Filters: what they let through, against a second opinion, and what they refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

import pgrecall
from pgrecall.errors import FilterError
from pgrecall.store.filters import encode
from pgrecall.store.session import translated
from tests.embedders import TinyEmbedder
from tests.store.filter_oracle import matches
from tests.store.filter_strategies import filters, keys, metadatas, scalars


@pytest.fixture(scope="module")
def connection(template_database: str, create_database: Any) -> Iterator[psycopg.Connection]:
    with create_database(template_database) as url, psycopg.connect(url, autocommit=True) as opened:
        yield opened


def passing(
    connection: psycopg.Connection, rows: Sequence[Any], where: dict[str, Any]
) -> list[bool]:
    query = """
        SELECT coalesce((m.metadata @@ f.path) OR f.path IS NULL, false)
          FROM (SELECT pgrecall.filter(%s) AS path OFFSET 0) AS f,
               jsonb_array_elements(%s) WITH ORDINALITY AS m (metadata, n) ORDER BY n
    """
    return [row[0] for row in connection.execute(query, [encode(where), Jsonb(list(rows))])]


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.lists(metadatas, min_size=1, max_size=25), st.lists(filters(3), min_size=1, max_size=5))
def test_filters_mean_what_they_say(
    connection: psycopg.Connection, rows: list[dict[str, Any]], wheres: list[dict[str, Any]]
) -> None:
    for where in wheres:
        expected = [matches(row, where) for row in rows]
        assert passing(connection, rows, where) == expected


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(metadatas, min_size=1, max_size=25),
    st.lists(filters(2), min_size=1, max_size=5),
    st.dictionaries(keys, st.sampled_from(["number", "text"]), min_size=1, max_size=4),
)
def test_what_indexes_say_follows_from_the_filter(
    connection: psycopg.Connection,
    rows: list[dict[str, Any]],
    wheres: list[dict[str, Any]],
    kinds: dict[str, str],
) -> None:
    for where in wheres:
        given = connection.execute(
            "SELECT pgrecall.indexed_conditions(%s, %s)", [encode(where), Jsonb(kinds)]
        ).fetchone()
        assert given is not None
        condition = (given[0] or "true").replace("($1).filter", "f.filter").replace("%", "%%")
        query = f"""
            SELECT coalesce({condition}, false) FROM (SELECT %s::jsonb AS filter OFFSET 0) AS f,
                   jsonb_array_elements(%s) WITH ORDINALITY AS c (metadata, n) ORDER BY n
        """  # noqa: S608 (composed by our own function)
        through = connection.execute(query.encode(), [encode(where), Jsonb(list(rows))]).fetchall()
        for row, (let_through,) in zip(rows, through, strict=True):
            assert let_through or not matches(row, where)


@pytest.mark.parametrize(
    ("metadata", "where", "expected"),
    [
        # A list matches if any of its elements does.
        ({"tags": ["a", "b"]}, {"tags": "b"}, True),
        ({"tags": ["a", "b"]}, {"tags": {"$ne": "b"}}, False),
        ({"tags": ["a", "b"]}, {"tags": {"$nin": ["x"]}}, True),
        ({"tags": [["b"]]}, {"tags": "b"}, False),
        ({"people": [{"name": "x"}, {"name": "y"}]}, {"people": {"name": "y"}}, True),
        # What does not compare does not match, and its negation does.
        ({"year": "2024"}, {"year": {"$gte": 2000}}, False),
        ({"year": "2024"}, {"$not": {"year": {"$gte": 2000}}}, True),
        ({"year": None}, {"year": {"$ne": 2024}}, True),
        ({}, {"year": {"$ne": 2024}}, True),
        ({"yes": True}, {"yes": 1}, False),
        ({"yes": True}, {"yes": {"$gt": False}}, True),
        # null equals null, and is something.
        ({"x": None}, {"x": None}, True),
        ({}, {"x": None}, False),
        ({"x": None}, {"x": {"$exists": True}}, True),
        ({"x": []}, {"x": {"$exists": True}}, True),
        # Texts compare by code point, numbers as decimals.
        ({"x": "Z"}, {"x": {"$lt": "a"}}, True),
        ({"x": "\uffff"}, {"x": {"$lt": "\U00010000"}}, True),
        ({"x": 10**30 + 1}, {"x": {"$gt": 10**30}}, True),
        ({"x": 0.1}, {"x": 0.1}, True),
        # Dots do not part keys.
        ({"a.b": 1}, {"a.b": 1}, True),
        ({"a": {"b": 1}}, {"a.b": 1}, False),
        # Groups of nothing.
        ({}, {"$and": []}, True),
        ({}, {"$or": []}, False),
        ({"x": 1}, {"x": {"$in": []}}, False),
        ({"x": 1}, {"x": {"$nin": []}}, True),
    ],
)
def test_the_documented_cases(
    connection: psycopg.Connection, metadata: dict[str, Any], where: dict[str, Any], expected: bool
) -> None:
    assert matches(metadata, where) is expected
    assert passing(connection, [metadata], where) == [expected]


def test_negations_may_be_nested_deeply(connection: psycopg.Connection) -> None:
    where: dict[str, Any] = {"x": 1}
    for _ in range(30):
        where = {"$not": where}
    assert passing(connection, [{"x": 1}, {"x": 2}], where) == [True, False]


DAY, MOMENT = date(2024, 5, 1), datetime(2024, 5, 1, 12, 30, tzinfo=UTC)
NUMBER = UUID("12345678-1234-5678-1234-567812345678")


@pytest.mark.parametrize(
    ("where", "stored"),
    [
        ({"x": DAY}, "2024-05-01"),
        ({"x": {"$gte": DAY}}, "2024-05-02"),
        ({"x": {"$lt": MOMENT}}, "2024-05-01T12:29:00+00:00"),
        ({"x": Decimal("0.5")}, 0.5),
        ({"x": NUMBER}, str(NUMBER)),
        ({"x": {"$in": {1, 2}}}, 2),
        ({"x": {"$in": (1, 2)}}, 2),
        ({"x": {"$in": frozenset({"a"})}}, "a"),
    ],
)
def test_values_of_python_are_turned_into_json(
    connection: psycopg.Connection, where: dict[str, Any], stored: object
) -> None:
    assert passing(connection, [{"x": stored}, {"x": "other"}, {}], where)[0]


deep: dict[str, Any] = {"x": 1}
for _ in range(5000):
    deep = {"$and": [deep]}

UNUSABLE: list[Any] = [
    {"x": float("nan")},
    {"x": {"$in": [float("inf")]}},
    {"x": Decimal("NaN")},
    {"x": Decimal("sNaN")},
    {"x": Decimal("1e999")},
    {"x": 10**5000},
    {"x": b"bytes"},
    {"x": "nul\0"},
    {"nul\0": 1},
    {1: 1},
    {None: 1},
    {"x": time(12)},
    {"x": object()},
    {"x": {"$gt": ...}},
    "x = 1",
    ["x"],
    5,
    deep,
]
MALFORMED: list[Any] = [
    {"x": {}},
    {"x": {"y": {}}},
    {"x": [1, 2]},
    {"x": {"$eq": [1]}},
    {"x": {"$eq": {"y": 1}}},
    {"x": {"$ne": []}},
    {"x": {"$gt": {}}},
    {"x": {"$in": 1}},
    {"x": {"$in": "abc"}},
    {"x": {"$in": {"a": 1}}},
    {"x": {"$in": [[1]]}},
    {"x": {"$nin": [{"a": 1}]}},
    {"x": {"$exists": 1}},
    {"x": {"$exists": None}},
    {"x": {"$like": "a%"}},
    {"x": {"$": 1}},
    {"x": {"$EQ": 1}},
    {"x": {"$not": {}}},
    {"x": {"$and": {"$gt": 1}}},
    {"$and": {"x": 1}},
    {"$or": "x"},
    {"$and": [{}]},
    {"$and": [5]},
    {"$or": [None]},
    {"$or": [[{"x": 1}]]},
    {"$not": 5},
    {"$not": [{"x": 1}]},
    {"$not": {}},
    {"$eq": 1},
    {"$in": [1]},
    {"$exists": True},
    {"$where": "1 = 1"},
    {"$x'; DROP TABLE y; --": 1},
]


@pytest.mark.parametrize("where", UNUSABLE, ids=range(len(UNUSABLE)))
def test_values_that_json_does_not_have_are_refused(where: Any) -> None:
    with pytest.raises(FilterError) as caught:
        encode(where)
    sentence(caught.value)


@pytest.mark.parametrize("where", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_filters_are_refused(connection: psycopg.Connection, where: Any) -> None:
    with pytest.raises(psycopg.Error) as caught:
        passing(connection, [{}], where)
    error = translated(caught.value)
    assert isinstance(error, FilterError)
    sentence(error)


def sentence(error: FilterError) -> None:
    assert "\n" not in str(error)
    assert 10 < len(str(error)) < 300


anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            keys | st.sampled_from(["$eq", "$in", "$not", "$and", "$exists", "$x"]),
            inner,
            max_size=2,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=100)
@given(st.dictionaries(keys | st.sampled_from(["$and", "$not", "$gt"]), anything, max_size=2))
def test_whatever_is_given_is_understood_or_refused(
    connection: psycopg.Connection, where: dict[str, Any]
) -> None:
    refusals = []
    try:
        passing(connection, [{"a": 1}], where)
    except psycopg.Error as exc:
        refusals.append(translated(exc))
    assert all(isinstance(refusal, FilterError) for refusal in refusals), refusals


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_every_mode_filters(database_url: str, mode: Any) -> None:
    hostile = "it's \"quoted\" \\ '; DROP TABLE pgrecall.chunks; -- %s {}"
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder())
        docs.ingest(
            [
                pgrecall.Document(uri="one", text="tides rise", metadata={hostile: hostile}),
                pgrecall.Document(uri="two", text="tides fall", metadata={"n": 2}),
            ]
        )

        def find(where: Any) -> list[str]:
            return [hit.uri for hit in docs.search("tides", mode=mode, where=where)]

        assert find({hostile: hostile}) == ["one"]
        assert find({"n": {"$gt": 1}}) == ["two"]
        assert find({"n": "2"}) == []
        assert sorted(find({})) == sorted(find(None)) == ["one", "two"]
        with pytest.raises(FilterError, match="Unknown operator"):
            find({"n": {"$regex": "x"}})
