"""A graph of vectors that was outgrown is built anew, without anybody noticing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Document
from pgrecall.store import graph
from tests.embedders import TinyEmbedder

DIMENSIONS = 16
INDEX = "SELECT to_regclass('pgrecall.chunks_g1_embedding')::oid"


@pytest.fixture
def docs(template_database: str, create_database: Any) -> Iterator[Collection]:
    with create_database(template_database) as url, pgrecall.connect(url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(DIMENSIONS))
        docs.url = db.url  # type: ignore[attr-defined]
        add(docs, 0, 2_200)
        yield docs


def add(docs: Collection, start: int, count: int) -> None:
    report = docs.ingest(
        Document(uri=f"d{n}", text=f"number {n} of {n % 97} and {n % 61}")
        for n in range(start, start + count)
    )
    assert report.new == count


def value(docs: Collection, query: str) -> Any:
    with psycopg.connect(docs.url) as connection:  # type: ignore[attr-defined]
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def spread(docs: Collection) -> float:
    """How far the places of the rows follow the order in which they came: 1, or about 0 if they are mixed."""
    return float(
        value(
            docs,
            """
            SELECT abs(corr(number, place)) FROM (
                SELECT substr(uri, 2)::integer AS number, row_number() OVER (ORDER BY ctid) AS place
                  FROM pgrecall.chunks_g1) AS rows
            """,
        )
    )


def test_rows_are_mixed_before_their_graph(docs: Collection) -> None:
    assert spread(docs) < 0.2
    add(docs, 2_200, 1_200)
    assert spread(docs) < 0.2
    assert docs.document("d3000").text == f"number 3000 of {3000 % 97} and {3000 % 61}"


@pytest.mark.parametrize("mixed", [0, graph.MIXED], ids=["beside", "in place"])
def test_a_table_that_grew_by_half_gets_a_new_graph(
    docs: Collection, monkeypatch: pytest.MonkeyPatch, mixed: int
) -> None:
    monkeypatch.setattr(graph, "MIXED", mixed)
    first = value(docs, INDEX)
    add(docs, 2_200, 500)
    assert value(docs, INDEX) == first
    add(docs, 2_700, 700)
    assert value(docs, INDEX) != first
    assert value(docs, "SELECT graph_chunks FROM pgrecall.generations") == 3_400
    assert value(docs, "SELECT recall_chunks FROM pgrecall.generations") == 3_400
    assert value(docs, "SELECT to_regclass('pgrecall.chunks_g1_former')") is None
    question = np.ones(DIMENSIONS, dtype=np.float32)
    found = docs.search(question, mode="vector", explain=True)
    assert found.strategy == "hnsw"
    assert found.explanation[0].indexes == ("chunks_g1_embedding",)


@pytest.mark.parametrize("mixed", [0, graph.MIXED], ids=["beside", "in place"])
def test_readers_find_all_meanwhile(
    docs: Collection, monkeypatch: pytest.MonkeyPatch, mixed: int
) -> None:
    monkeypatch.setattr(graph, "MIXED", mixed)
    stop = threading.Event()
    lengths, faults = [], []

    def read() -> None:
        question = np.ones(DIMENSIONS, dtype=np.float32)
        with pgrecall.connect(docs.url) as db:  # type: ignore[attr-defined]
            mine = db.collection("docs", embedder=TinyEmbedder(DIMENSIONS))
            while not stop.is_set():
                try:
                    lengths.append(len(mine.search(question, mode="vector")))
                except pgrecall.errors.PgrecallError as exc:
                    faults.append(exc)

    reader = threading.Thread(target=read)
    reader.start()
    first = value(docs, INDEX)
    try:
        add(docs, 2_200, 1_200)
    finally:
        stop.set()
        reader.join()
    assert value(docs, INDEX) != first
    assert not faults
    assert set(lengths) == {10}


@pytest.mark.parametrize("mixed", [0, graph.MIXED], ids=["beside", "in place"])
def test_somebody_who_stays_keeps_the_old_one(
    docs: Collection,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    mixed: int,
) -> None:
    monkeypatch.setattr(graph, "ATTEMPTS", 2)
    monkeypatch.setattr(graph, "MIXED", mixed)
    first = value(docs, INDEX)
    with psycopg.connect(docs.url) as staying:  # type: ignore[attr-defined]
        staying.execute("SELECT count(*) FROM pgrecall.chunks_g1")
        with caplog.at_level(logging.WARNING, "pgrecall"):
            add(docs, 2_200, 1_200)
    assert value(docs, INDEX) == first
    assert "was not built anew" in caplog.text
    assert len(docs.search(np.ones(DIMENSIONS, dtype=np.float32), mode="vector")) == 10
    docs.optimize()
    assert value(docs, INDEX) != first


def test_a_transaction_of_the_callers_keeps_readers_in(docs: Collection) -> None:
    first = value(docs, INDEX)
    with psycopg.connect(docs.url) as mine, pgrecall.connect(mine) as db:  # type: ignore[attr-defined]
        mine.execute("SELECT 1")  # opens a transaction, which the end of the block commits
        add(db.collection("docs", embedder=TinyEmbedder(DIMENSIONS)), 2_200, 1_200)
        assert len(docs.search(np.ones(DIMENSIONS, dtype=np.float32), mode="vector")) == 10
    assert value(docs, INDEX) == first
