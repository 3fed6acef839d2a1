"""The measured recall: what it says is true, and searches go by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Document, EmbeddedChunk, EmbeddedDocument, errors
from pgrecall.flow import run
from pgrecall.store import recall
from pgrecall.types import FloatArray
from tests.embedders import TinyEmbedder

ROWS, DIMENSIONS = 4000, 24


@pytest.fixture(scope="module")
def docs(template_database: str, create_database: Any) -> Iterator[Collection]:
    with create_database(template_database) as url, pgrecall.connect(url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(DIMENSIONS))
        docs.ingest(
            Document(uri=f"d{n}", text=f"number {n} of {n % 97} and {n % 61}") for n in range(ROWS)
        )
        docs.url = db.url  # type: ignore[attr-defined]
        yield docs


def stored(docs: Collection) -> tuple[list[float] | None, int | None]:
    with psycopg.connect(docs.url) as connection:  # type: ignore[attr-defined]
        row = connection.execute(
            "SELECT recall_curve, recall_chunks FROM pgrecall.generations"
        ).fetchone()
    assert row is not None
    return row


def breadth(docs: Collection, **options: Any) -> int | None:
    question = np.ones(DIMENSIONS, dtype=np.float32)
    (stage,) = docs.search(question, mode="vector", explain=True, **options).explanation
    return stage.ef_search


def set_curve(docs: Collection, curve: list[float] | None) -> None:
    with psycopg.connect(docs.url) as connection:  # type: ignore[attr-defined]
        connection.execute(
            "UPDATE pgrecall.generations SET recall_curve = %s", [curve and [*map(float, curve)]]
        )


def test_the_first_load_measures(docs: Collection) -> None:
    curve, chunks = stored(docs)
    assert chunks == ROWS
    assert curve is not None
    assert len(curve) == 8
    assert curve[-1] > 0.95
    assert all(0 <= value <= 1 for value in curve)


def test_what_was_measured_is_so(docs: Collection) -> None:
    report = docs.measure_recall(questions=60)
    assert [*report.curve] == [40, 64, 100, 160, 250, 400, 640, 1000]
    random = np.random.default_rng(5)
    found = []
    for question in random.standard_normal((60, DIMENSIONS)).astype(np.float32):
        exact = docs.search(question, mode="vector", exact=True)
        hits = docs.search(question, mode="vector", ef_search=40)
        last = (exact[-1].vector_score or 0) - 1e-6
        found.append(sum((hit.vector_score or 0) >= last for hit in hits) / 10)
    assert float(np.mean(found)) == pytest.approx(report.curve[40], abs=0.1)


@pytest.mark.parametrize(
    ("curve", "options", "expected"),
    [
        (None, {}, 200),
        ([0.99, 1, 1, 1, 1, 1, 1, 1], {}, 40),
        # Between two steps, by the logarithm: 100 * 1.6 ** (1 / 3).
        ([0.8, 0.9, 0.97, 0.985, 0.99, 1, 1, 1], {}, 117),
        ([0.8, 0.9, 0.97, 0.9755, 0.99, 1, 1, 1], {}, 154),
        ([0.8, 0.9, 0.97, 0.985, 0.99, 1, 1, 1], {"recall": 0.9}, 63),
        ([0.8, 0.9, 0.97, 0.985, 0.99, 1, 1, 1], {"recall": 0.999}, 302),
        ([0.8, 0.9, 0.97, 0.985, 0.99, 1, 1, 1], {"ef_search": 77}, 77),
        # No step reaches the promise: the one beyond which hardly anything is gained.
        ([0.7, 0.8, 0.9, 0.91, 0.93, 0.95, 0.955, 0.96], {}, 400),
        # Forty rows instead of ten: twice the breadth.
        ([0.99, 1, 1, 1, 1, 1, 1, 1], {"k": 40}, 80),
    ],
)
def test_searches_go_by_the_curve(
    docs: Collection, curve: list[float] | None, options: dict[str, Any], expected: int
) -> None:
    set_curve(docs, curve)
    assert breadth(docs, **options) == expected


@pytest.mark.parametrize(
    ("words", "weight", "expected"),
    [
        # Half of the score is the words': the arm may miss twice what the answer may, 0.02.
        ("number 7", 0.5, 200),
        ("number 7", 1.0, 400),
        # The words decide nearly all: the hundred candidates of an arm.
        ("number 7", 0.05, 100),
        ("nothing7x", 0.5, 400),
    ],
)
def test_a_hybrid_search_keeps_the_promise_of_its_answer(
    docs: Collection, words: str, weight: float, expected: int
) -> None:
    set_curve(docs, [0.8, 0.9, 0.96, 0.97, 0.98, 0.985, 0.99, 1])
    hits = docs.search(words, recall=0.99, vector_weight=weight, explain=True)
    assert hits.strategy == "hybrid:hnsw"
    assert hits.explanation[0].ef_search == expected


def test_hybrid_answers_are_those_of_exact_searches(docs: Collection) -> None:
    docs.measure_recall(questions=60)
    found = []
    for n in range(0, ROWS, 100):
        question = f"number {n} and {n % 89} or {n % 53}"
        exact = docs.search(question, exact=True)
        hits = docs.search(question)
        assert hits.strategy == "hybrid:hnsw"
        found.append(sum(hit.score >= exact[-1].score - 1e-6 for hit in hits) / 10)
    assert float(np.mean(found)) >= 0.97


def test_a_drift_is_seen(docs: Collection) -> None:
    set_curve(docs, [1.0] * 8)
    steady = docs.measure_recall(questions=20)
    assert steady.previous == dict.fromkeys(steady.curve, 1.0)
    assert steady.previous_ef_search == 40
    worse = dict(zip(steady.curve, [0.9, *[1.0] * 7], strict=True))
    assert replace(steady, curve=worse).drifted
    assert not replace(steady, curve=worse, previous_ef_search=64).drifted
    # As little of so few questions is chance; of many it is not.
    less = dict.fromkeys(steady.curve, 0.95)
    assert not replace(steady, curve=less).drifted
    assert replace(steady, curve=less, questions=100).drifted
    assert not replace(steady, curve=worse, previous=None).drifted


def test_the_same_questions_are_asked_again(docs: Collection) -> None:
    generation = docs._target.generation
    few, many = (run(recall.questions(generation, count), docs._session) for count in (40, 100))
    assert many == run(recall.questions(generation, 100), docs._session)
    assert len({*few} & {*many}) >= 30


@pytest.mark.parametrize(
    ("text", "separator", "lengths"),
    [
        (
            "The rings of Saturn are made of ice and dust {0} kilometres wide. " * 9,
            " ",
            {2, 4, 8, 16},
        ),
        ("A short title {0}", " ", {2}),
        ("土星的光环由冰和尘埃组成{0}宽度" * 9, None, {6, 12, 24, 48}),
    ],
    ids=["prose", "titles", "without spaces"],
)
def test_questions_are_pieces_as_long_as_questions(
    database_url: str, text: str, separator: str | None, lengths: set[int]
) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("pieces", embedder=TinyEmbedder(8))
        texts = [text.format(n) for n in range(100, 200)]
        docs.ingest(Document(uri=str(n), text=text) for n, text in enumerate(texts))
        asked = run(recall.questions(docs._target.generation, 100), docs._session)
    assert len(asked) == 100
    assert all(any(piece in text for text in texts) for piece in asked)
    assert {len(piece.split(separator) if separator else piece) for piece in asked} == lengths


def test_nothing_to_measure(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("few", embedder=TinyEmbedder(8))
        docs.ingest(Document(uri="a", text="A text."))
        with pytest.raises(errors.InvalidArgument, match="its recall is 1"):
            docs.measure_recall()
        with pytest.raises(errors.InvalidArgument, match="2 to 10,000"):
            docs.measure_recall(questions=1)


def test_vectors_made_elsewhere_keep_the_promise(database_url: str) -> None:
    """No question can be embedded; questions that were never stored are found as promised all the same."""
    random = np.random.default_rng(7)
    centres = random.standard_normal((40, 48))

    def vectors(count: int) -> Any:
        spread = random.standard_normal((count, 48)) * np.arange(1, 49) ** -0.3
        return (centres[random.integers(40, size=count)] + spread).astype(np.float32)

    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("given", embedder="given:ours@48")
        docs.url = db.url  # type: ignore[attr-defined]
        docs.add_chunks(
            EmbeddedDocument(
                uri=str(n), chunks=[EmbeddedChunk(content=f"Text {n}.", embedding=row)]
            )
            for n, row in enumerate(vectors(3000))
        )
        assert stored(docs)[1] == 3000, "measured as soon as it is built"
        report = docs.measure_recall(questions=40)
        assert (report.stand_ins, report.questions, report.logged) == (40, 40, 0)
        assert report.kept
        held_out = vectors(60)
        asked = docs.measure_recall(embeddings=held_out)
        assert (asked.stand_ins, asked.questions) == (0, 60)
        for step in (40, 100):
            assert report.curve[step] <= asked.curve[step] + 0.03, "no easier than questions"
        assert asked.curve[100] >= 0.9
        for wrong in (held_out[:1], held_out[:, 1:], held_out[0], held_out * 0):
            with pytest.raises(errors.InvalidArgument, match=r"(?i)embeddings? of (a )?question"):
                docs.measure_recall(embeddings=wrong)


def test_without_the_key_of_its_embedder(database_url: str) -> None:
    vectors = np.random.default_rng(3).standard_normal((2100, 8)).astype(np.float32)
    with pgrecall.connect(database_url) as db:
        declared = pgrecall.declare_embedder("openai:text-embedding-3-small", 8)
        db.create_collection("named", embedder=declared)
        docs = db.collection("named")
        docs.url = db.url  # type: ignore[attr-defined]
        docs.add_chunks(
            EmbeddedDocument(
                uri=str(n), chunks=[EmbeddedChunk(content=f"Text {n}.", embedding=row)]
            )
            for n, row in enumerate(vectors)
        )
        assert stored(docs)[1] == 2100


class _Speechless(TinyEmbedder):
    """An embedder of somebody's own, whose questions fail in a way of its own."""

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        whole = TinyEmbedder(self.dimensions)
        return np.array([whole.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> FloatArray:
        raise ZeroDivisionError("no question today")


def test_questions_that_fail_cost_no_document(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=_Speechless(DIMENSIONS))
        docs.url = db.url  # type: ignore[attr-defined]
        report = docs.ingest(Document(uri=f"d{n}", text=f"number {n}") for n in range(2100))
        assert (report.new, report.failed) == (2100, [])
        assert stored(docs) == (None, None)
        assert "was not measured: tiny embeds no questions: ZeroDivisionError" in caplog.text
        with pytest.raises(errors.EmbeddingError, match="no question today"):
            docs.measure_recall()


@pytest.mark.parametrize("left", [0, 4])
def test_a_scan_that_comes_back_short_is_followed_by_an_exact_one(
    database_url: str, left: int
) -> None:
    """All that the index has near the question but a few are rows that were deleted."""
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(DIMENSIONS))
        docs.ingest(
            Document(uri=f"d{n}", text=f"number {n} of {n % 97} and {n % 61}") for n in range(2500)
        )
        question = docs.search("number 7 of 7", mode="vector")[0].text
        near = docs.search(question, mode="vector", exact=True, k=200)
        with psycopg.connect(db.url, autocommit=True) as connection:
            connection.execute("ALTER TABLE pgrecall.chunks_g1 SET (autovacuum_enabled = off)")
            docs.delete([hit.uri for hit in near[left:]])
            sql = "SELECT uri, vector_rank, strategy FROM pgrecall.search_vector('docs', %s, ef_search => 20)"
            embedded = TinyEmbedder(DIMENSIONS).embed_query(question)
            rows = connection.execute(sql, [str(embedded.tolist())]).fetchall()
        hits = docs.search(question, mode="vector", ef_search=20)
        truth = docs.search(question, mode="vector", exact=True)
        assert (hits.strategy, hits.complete, len(hits)) == ("exact", True, 10)
        assert [hit.uri for hit in hits] == [hit.uri for hit in truth]
        assert [hit.vector_rank for hit in hits] == list(range(1, 11))
        assert rows == [(hit.uri, rank, "exact") for rank, hit in enumerate(truth, 1)]
