"""Does it find what a reader would? The demo corpus and its questions, end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgrecall
from tests.conftest import CreateDatabase

EXAMPLES = Path(__file__).parents[2] / "examples"
QUESTIONS = [json.loads(line) for line in (EXAMPLES / "questions.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def docs(create_database: CreateDatabase, template_database: str) -> Iterator[pgrecall.Collection]:
    with create_database(template_database) as url, pgrecall.connect(url) as db:
        collection = db.create_collection("demo")
        report = collection.ingest([EXAMPLES / "solar-system"])
        assert not report.failed
        yield collection


def rank(hits: list[pgrecall.Hit], relevant: list[str]) -> int | None:
    for number, hit in enumerate(hits, start=1):
        if any(hit.uri.endswith(ending) for ending in relevant):
            return number
    return None


@pytest.mark.parametrize(
    ("mode", "in_top_three", "reciprocal"),
    [("hybrid", 24, 0.80), ("vector", 20, 0.70), ("text", 22, 0.68)],
)
def test_questions_are_answered(
    docs: pgrecall.Collection, mode: Any, in_top_three: int, reciprocal: float
) -> None:
    ranks = [
        rank(docs.search(q["query"], k=8, mode=mode, where=q.get("where")), q["relevant"])
        for q in QUESTIONS
    ]
    assert sum(r is not None and r <= 3 for r in ranks) >= in_top_three
    assert sum(1 / r for r in ranks if r) / len(ranks) >= reciprocal


def test_pages_of_a_pdf_are_cited(docs: pgrecall.Collection) -> None:
    question = next(q for q in QUESTIONS if q.get("pages"))
    context = docs.context(question["query"], max_tokens=1200, where=question.get("where"))
    pages = {
        page
        for cited in context.citations
        if any(cited.uri.endswith(ending) for ending in question["relevant"])
        and cited.page is not None
        and cited.last_page is not None
        for page in range(cited.page, cited.last_page + 1)
    }
    assert pages & set(question["pages"])


def test_every_citation_is_exact(docs: pgrecall.Collection) -> None:
    with psycopg.connect(str(docs._session._pool.conninfo)) as connection:
        for q in QUESTIONS:
            context = docs.context(q["query"], max_tokens=700)
            assert context.citations
            assert context.tokens <= 700
            for cited in context.citations:
                row = connection.execute(
                    "SELECT text FROM pgrecall.documents WHERE tenant_id = %s AND document_id = %s",
                    [cited.tenant_id, cited.document_id],
                ).fetchone()
                assert row is not None
                assert row[0][cited.start : cited.end] == cited.quote
                assert cited.quote in context.text
