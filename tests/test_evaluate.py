"""``Database.evaluate_models`` and ``pgrecall eval models``: models side by side, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import Document, Evaluation, JudgedQuestion, errors
from pgrecall.evaluate.plot import to_svg
from pgrecall.store import throwaway
from pgrecall.types import FloatArray

WORDS = [
    "amber",
    "basalt",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "glacier",
    "harbour",
    "island",
    "jungle",
]
DOCUMENTS = [
    Document(
        uri=f"{first}-{second}", text=f"The {first} lies beside the {second}, far from {third}."
    )
    for first, second, third in zip(
        WORDS, WORDS[1:] + WORDS[:1], WORDS[2:] + WORDS[:2], strict=True
    )
]


def embed(texts: Sequence[str]) -> FloatArray:
    """Counts letters: knows little, and knows it fast."""
    return np.array([[1 + text.count(chr(97 + n)) for n in range(26)] for text in texts], "float32")


letters = pgrecall.open_embedder(embed, name="letters", dimensions=26)


def fails(texts: Sequence[str]) -> FloatArray:
    if any("glacier" in text for text in texts):
        raise RuntimeError("out of memory")
    return embed(texts)


def remains(url: str) -> list[Any]:
    """What a measurement could have left: rows, tables and functions."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            """
            SELECT name FROM pgrecall.collections
            UNION ALL SELECT relname FROM pg_class WHERE relname LIKE 'chunks_g%' AND relkind = 'r'
            UNION ALL SELECT proname FROM pg_proc
             WHERE proname ~ '_g[0-9]+$' AND pronamespace = 'pgrecall'::regnamespace
            UNION ALL SELECT uri FROM pgrecall.documents
            UNION ALL SELECT collection FROM pgrecall.runs
             ORDER BY 1
            """
        ).fetchall()


def test_models_side_by_side(db: pgrecall.Database, database_url: str) -> None:
    docs = db.create_collection("places")
    docs.ingest(DOCUMENTS)
    before = remains(database_url)
    down = pgrecall.open_embedder(fails, name="down", dimensions=26)
    told: list[tuple[str, int, int]] = []
    questions = [JudgedQuestion(DOCUMENTS[6].text, {DOCUMENTS[6].uri: 2, "absent": 1})]
    report = db.evaluate_models(
        Evaluation(
            embedders=["static", letters, "nobody:knows", down],
            questions=questions,
            k=3,
            progress=lambda *said: told.append(said),
        ),
        collection="places",
    )
    assert remains(database_url) == before
    static, own, unknown, broken = report.models
    assert (report.documents, report.questions, report.judged, report.absent) == (10, 1, 1, 1)
    assert static.metrics == {"nDCG@3": pytest.approx(0.760, abs=0.001), "R@3": 0.5, "RR@3": 1.0}
    assert set(own.metrics) == set(static.metrics)
    assert (static.dimensions, static.chunks, static.documents) == (256, 10, 10)
    assert static.overlap == {"letters": own.overlap["static"]}
    assert static.cost == 0
    assert own.cost is None
    assert static.documents_per_second
    assert static.p50_ms
    assert static.bytes
    assert "There is no embedder 'nobody:knows'" in (unknown.error or "")
    assert (broken.failed, broken.documents) == (0, 0) or broken.failed == 3
    assert ("static", 10, 10) in told


def test_without_judgements_pieces_of_the_texts_are_asked(db: pgrecall.Database) -> None:
    report = db.evaluate_models(
        Evaluation(embedders=["static"], questions=[JudgedQuestion("amber")], sample=4),
        sources=DOCUMENTS,
    )
    assert report.known_item
    assert (report.documents, report.questions, report.pieces) == (4, 5, 4)
    assert report.models[0].metrics["RR@10"] > 0.7


def test_judged_documents_are_in_the_sample(db: pgrecall.Database) -> None:
    docs = db.create_collection("places")
    docs.ingest(DOCUMENTS)
    wanted = dict.fromkeys(("jungle-amber", "ember-fjord", "delta-ember"), 1)
    evaluation = Evaluation(
        embedders=["static"], questions=[JudgedQuestion("delta", wanted)], sample=2
    )
    for report in (
        db.evaluate_models(evaluation, collection="places"),
        db.evaluate_models(evaluation, sources=DOCUMENTS),
    ):
        assert (report.documents, report.absent) == (3, 0)


def test_awaited(database_url: str) -> None:
    async def main() -> pgrecall.ModelReport:
        async with pgrecall.connect_async(database_url) as db:
            return await db.evaluate_models(Evaluation(embedders=[letters]), sources=DOCUMENTS)

    report = asyncio.run(main())
    assert report.models[0].documents == 10
    assert remains(database_url) == []


def test_a_cancelled_one_leaves_nothing(database_url: str) -> None:
    async def slow(texts: Sequence[str]) -> FloatArray:
        started.set()
        await asyncio.sleep(30)
        return embed(texts)

    async def question(texts: Sequence[str]) -> FloatArray:
        return embed(texts)

    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            model = pgrecall.open_embedder(slow, name="slow", dimensions=26, query=question)
            work = asyncio.create_task(
                db.evaluate_models(Evaluation(embedders=[model]), sources=DOCUMENTS)
            )
            await started.wait()
            assert remains(database_url)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

    started = asyncio.Event()
    asyncio.run(main())
    assert remains(database_url) == []


CHILD = """
import sys, time
import numpy as np
import pgrecall

def embed(texts):
    return np.ones((len(texts), 4))

def slow(texts):
    print("embedding", flush=True)
    time.sleep(60)

with pgrecall.connect(sys.argv[1]) as db:
    model = pgrecall.open_embedder(slow, name="slow", dimensions=4, query=embed)
    db.evaluate_models(
        pgrecall.Evaluation(embedders=[model]), sources=[pgrecall.Document(uri="a", text="b")]
    )
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_one_that_is_stopped_leaves_nothing(
    db: pgrecall.Database, database_url: str, how: signal.Signals
) -> None:
    command = [sys.executable, "-c", CHILD, database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"embedding\n"
        names = [row.name for row in db.collections()]
        assert names[0].startswith(throwaway.PREFIX)
        # While it lives, another one leaves it alone.
        db.evaluate_models(Evaluation(embedders=["static"]), sources=DOCUMENTS[:1])
        assert [row.name for row in db.collections()] == names
        os.kill(child.pid, how)
    if how == signal.SIGKILL:
        assert remains(database_url)
        assert [problem.kind for problem in db.doctor().problems] in (["leftover collection"], [])
        for _ in range(100):  # until the server has noticed
            db.evaluate_models(Evaluation(embedders=["static"]), sources=DOCUMENTS[:1])
            if not remains(database_url):
                break
            time.sleep(0.05)
    assert remains(database_url) == []


def test_the_picture_is_svg(db: pgrecall.Database) -> None:
    report = db.evaluate_models(
        Evaluation(embedders=["static", letters, "<nobody>&"]), sources=DOCUMENTS[:3]
    )
    drawn = "".join(ElementTree.fromstring(to_svg(report)).itertext())
    for shown in ("static", "letters", "<nobody>&", "nDCG@10", "documents/s", "MB on disk"):
        assert shown in drawn


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"embedders": []}, "at least one embedder"),
        ({"embedders": ["static"], "sample": 0}, "at least 1 document"),
        ({"embedders": ["static"], "mode": "text"}, '"vector" or "hybrid"'),
    ],
)
def test_arguments_are_checked(arguments: Any, reason: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=reason):
        Evaluation(**arguments)


def test_no_documents(db: pgrecall.Database) -> None:
    with pytest.raises(errors.InvalidArgument, match="There is no document"):
        db.evaluate_models(Evaluation(embedders=["static"]))
    with pytest.raises(errors.CollectionNotFound):
        db.evaluate_models(Evaluation(embedders=["static"]), collection="none")


def test_judgements_of_trec_and_beir(tmp_path: Path) -> None:
    queries, trec, beir = tmp_path / "q.jsonl", tmp_path / "q.trec", tmp_path / "q.tsv"
    queries.write_text('{"_id": "1", "text": "first"}\n{"_id": "2", "text": "second"}\n')
    trec.write_text("1 0 d1 2\n1 0 d2 0\n")
    beir.write_text("query-id\tcorpus-id\tscore\n2\td 3\t1\n")
    found = pgrecall.read_questions(queries, trec)
    assert [dict(question.relevant) for question in found] == [{"d1": 2, "d2": 0}, {}]
    found = pgrecall.read_questions(queries, beir)
    assert [dict(question.relevant) for question in found] == [{}, {"d 3": 1}]
    beir.write_text("query-id\tcorpus-id\tscore\n2\td3\n")
    with pytest.raises(errors.InvalidArgument, match=r"Line 2 of .* is no judgement"):
        pgrecall.read_questions(queries, beir)
    trec.write_text("9 0 d1 2\n")
    with pytest.raises(errors.InvalidArgument, match="No question of"):
        pgrecall.read_questions(queries, trec)
