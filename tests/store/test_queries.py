"""The log of questions: only if asked for, bounded, never in the way, and used to measure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Document, errors
from tests.embedders import TinyEmbedder

ROWS = 2200


@pytest.fixture(scope="module")
def url(template_database: str, create_database: Any) -> Iterator[str]:
    with create_database(template_database) as url:
        yield url


@pytest.fixture(scope="module")
def big(url: str) -> Iterator[Collection]:
    with pgrecall.connect(url) as db:
        big = db.create_collection("big", embedder=TinyEmbedder(8))
        big.ingest(Document(uri=f"{n}", text=f"number {n} of {n % 97}") for n in range(ROWS))
        yield big


@pytest.fixture
def docs(big: Collection) -> Iterator[Collection]:
    """Logs, and has logged nothing yet; each question is written at once."""
    big.configure(log_queries=True)
    big._target.query_log._written = -1e9
    yield big
    big.configure(log_queries=None)
    big.clear_queries()


def logged(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT question FROM pgrecall.queries").fetchall()
    return sorted(row[0] for row in rows)


def test_nothing_is_logged_unless_asked_for(big: Collection, url: str) -> None:
    big.search("number 7")
    assert logged(url) == []
    with pytest.raises(errors.InvalidArgument, match="log_queries is True, False or None"):
        big.configure(log_queries="yes")  # type: ignore[arg-type]


def test_questions_in_words_are_logged_together(docs: Collection, url: str) -> None:
    docs.search("number 1\x00 \ud800")
    assert logged(url) == ["number 1  ?"]
    for n in range(2, 101):
        docs.search([f"number {n}"], k=1)
    docs.search(np.ones(8, dtype=np.float32), mode="vector")
    docs.search("number 7", mode="text")
    assert len(logged(url)) == 1
    docs.search("number 101")
    kept = logged(url)
    # Two that want the same place: the later one has it.
    assert 90 <= len(kept) <= 101
    assert "number 101" in kept
    assert docs.clear_queries() == len(kept)
    assert logged(url) == []


def test_the_log_is_bounded(docs: Collection, url: str) -> None:
    with psycopg.connect(url) as connection:
        for part in range(3):
            connection.execute(
                "SELECT pgrecall.log_queries(c.collection_id, ARRAY("
                " SELECT repeat('long ', 300) || n FROM generate_series(1, 2000) AS n"
                " UNION ALL SELECT %s || ' ' || n FROM generate_series(1, 2000) AS n))"
                " FROM pgrecall.collections AS c",
                [f"part {part}"],
            )
    kept = logged(url)
    assert 900 <= len(kept) <= 1000
    assert max(map(len, kept)) <= 1000


def test_a_read_only_server_is_searched_all_the_same(docs: Collection, url: str) -> None:
    with psycopg.connect(url, options="-c default_transaction_read_only=on") as connection:
        connection.autocommit = True
        with pgrecall.connect(connection) as db:
            assert db.collection("big", embedder=TinyEmbedder(8)).search("number 5")
    assert logged(url) == []


def test_a_caller_s_transaction_holds_nobody_up(docs: Collection, url: str) -> None:
    with psycopg.connect(url) as connection, pgrecall.connect(connection) as db:
        connection.execute("SELECT 1")
        db.collection("big", embedder=TinyEmbedder(8)).search("number 5")
        # That transaction is open, and the row of this question is its own.
        other = threading.Thread(target=docs.search, args=("number 5",))
        other.start()
        other.join(timeout=5)
        assert not other.is_alive()
        row = connection.execute("SELECT count(*) FROM pgrecall.queries").fetchone()
        assert row == (1,)
        connection.rollback()
    assert logged(url) == []


def test_a_role_that_may_only_read(docs: Collection, url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE pgrecall_test_reader")
        try:
            connection.execute("GRANT USAGE ON SCHEMA pgrecall TO pgrecall_test_reader")
            connection.execute(
                "GRANT SELECT ON ALL TABLES IN SCHEMA pgrecall TO pgrecall_test_reader"
            )
            connection.execute("SET ROLE pgrecall_test_reader")
            with pgrecall.connect(connection) as db:
                assert db.collection("big", embedder=TinyEmbedder(8)).search("number 5")
            connection.execute("RESET ROLE")
        finally:
            connection.execute("RESET ROLE")
            connection.execute("DROP OWNED BY pgrecall_test_reader")
            connection.execute("DROP ROLE pgrecall_test_reader")
    assert logged(url) == []


def test_a_log_that_fails_fails_no_search(
    docs: Collection, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "ALTER TABLE pgrecall.queries ADD CONSTRAINT never CHECK (slot < 0) NOT VALID"
        )
        try:
            assert docs.search("number 5")
        finally:
            connection.execute("ALTER TABLE pgrecall.queries DROP CONSTRAINT never")
    assert "were not logged" in caplog.text


def test_switched_off_elsewhere(docs: Collection, url: str) -> None:
    with pgrecall.connect(url) as db:
        db.collection("big").configure(log_queries=False)
    docs.search("number 5")
    assert logged(url) == []


def test_logged_questions_measure_the_recall(docs: Collection) -> None:
    assert docs.measure_recall(questions=10).logged == 0
    docs.search([f"number {n}" for n in range(40)])
    report = docs.measure_recall(questions=10)
    assert (report.questions, report.logged) == (10, 5)
    docs.clear_queries()
    docs._target.query_log._written = -1e9
    docs.search("number 3")
    assert docs.measure_recall(questions=10).logged == 1


def test_it_goes_with_its_collection(url: str) -> None:
    with pgrecall.connect(url) as db:
        gone = db.create_collection("gone", embedder=TinyEmbedder(8))
        gone.configure(log_queries=True)
        gone.search("a question to an empty collection")
        assert len(logged(url)) == 1
        db.drop_collection("gone")
    assert logged(url) == []
