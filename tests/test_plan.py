"""A plan equals the run that follows it, budgets are kept, and runs are remembered."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pgrecall
from pgrecall import Collection, Database, Document, errors
from pgrecall.ingest.budget import Budget
from pgrecall.store.runs import LOST
from tests.acceptance.conftest import command
from tests.driving import rows
from tests.embedders import DeadEmbedder, PoisonedEmbedder, TinyEmbedder
from tests.openai_server import Fault, OpenAIServer

SMALL = pgrecall.ChunkConfig(max_tokens=20, overlap_tokens=0, min_tokens=4)
OPENAI = "openai:text-embedding-3-small"
COUNTS = (
    *("new", "changed", "unchanged", "removed", "chunks", "embedded", "reused", "tokens"),
    *("left", "left_tokens", "cost", "failed"),
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer() as listening:
        monkeypatch.setenv("OPENAI_BASE_URL", listening.url)
        yield listening


def counts(of: Any) -> dict[str, Any]:
    found = {name: getattr(of, name) for name in COUNTS}
    return {**found, "failed": list(found["failed"])}


def note(uri: str, *sentences: int) -> Document:
    """A document of one chunk a sentence, the same for the same number."""
    lines = (f"Sentence {n} is about the harbour of town {n * 7}." for n in sentences)
    return Document(uri=uri, text="\n\n".join(lines))


#: Documents by few names, of few sentences, so that names and texts come again.
DOCUMENTS = st.lists(
    st.builds(
        lambda name, sentences: note(f"doc-{name}", *sentences),
        st.integers(0, 5),
        st.lists(st.integers(0, 12), max_size=6),
    ),
    max_size=8,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(DOCUMENTS, min_size=1, max_size=3), limit=st.none() | st.integers(0, 200))
def test_a_plan_equals_the_run(
    db: Database, rounds: list[list[Document]], limit: int | None
) -> None:
    embedder = TinyEmbedder(dimensions=4)
    name = f"docs-{time.monotonic_ns()}"
    wanted: Any = {"embedder": embedder, "chunking": SMALL}
    for number, documents in enumerate(rounds):
        planned = db.planned(name, **wanted).plan(documents, max_tokens=limit)
        again = db.planned(name, **wanted).plan(documents, max_tokens=limit)
        assert counts(planned) == counts(again), "a plan changes nothing"
        seen = len(embedder.seen)
        docs = db.create_collection(name, **wanted, exist_ok=True)
        if number:
            assert counts(docs.plan(documents, max_tokens=limit)) == counts(planned)
        report = docs.ingest(documents, max_tokens=limit)
        assert counts(report) == counts(planned)
        assert len(embedder.seen) - seen == planned.embedded
        assert report.tokens == sum(map(embedder.tokenizer.count, embedder.seen[seen:]))
        assert limit is None or report.tokens <= limit
    db.drop_collection(name)


def test_equal_texts_are_embedded_once_however_far_apart(db: Database) -> None:
    embedder = TinyEmbedder()
    docs = db.create_collection("docs", embedder=embedder, chunking=SMALL)
    many = [note(f"doc-{n}", *range(n % 40, n % 40 + 50)) for n in range(60)]
    planned = docs.plan(many)
    assert planned.chunks == 3000
    assert planned.embedded < 100
    assert counts(docs.ingest(many)) == counts(planned)
    assert len(embedder.seen) == len(set(embedder.seen))


def test_a_budget_of_what_was_planned_is_enough_for_equal_texts_that_are_under_way(
    db: Database, server: OpenAIServer
) -> None:
    """Several batches wait for the provider at a time, and each has the same hundred texts."""
    docs = db.create_collection("docs", embedder=f"{OPENAI}@48", chunking=SMALL)
    notes = [note(f"d{n}", *range(100), *range(1000 * n + 100, 1000 * n + 350)) for n in range(4)]
    plan = docs.plan(notes)
    server.rule = lambda body: Fault(delay=0.2)
    report = docs.ingest(notes, max_tokens=plan.tokens)
    assert (report.new, report.left, report.tokens) == (4, 0, plan.tokens)


@given(
    parts=st.lists(st.integers(1, 5000), min_size=1, max_size=50),
    price=st.sampled_from([0.02, 0.1, 0.12, 0.13, 0.18]),
)
def test_a_limit_of_the_planned_cost_is_enough(parts: list[int], price: float) -> None:
    """However the cost of the parts is rounded; and one token more is too much."""
    cost = Budget(price=price).cost(sum(parts))
    budget = Budget(max_cost=cost, price=price)
    assert budget.ceiling == sum(parts)
    assert all(budget.take(part) for part in parts)
    assert not budget.take(1)
    budget.give_back(parts[0])
    assert not budget.take(parts[0] + 1)
    assert budget.take(parts[0])


def test_a_plan_asks_no_provider_and_needs_no_key(
    db: Database, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    notes = [note("a", 1, 2), note("b", 2, 3)]
    monkeypatch.delenv("OPENAI_BASE_URL")
    with pytest.raises(errors.CredentialsMissing):
        db.create_collection("docs", embedder=OPENAI, chunking=SMALL)
    planned = db.planned("docs", embedder=OPENAI, chunking=SMALL).plan(notes)
    assert (planned.new, planned.chunks, planned.embedded) == (2, 4, 3)
    assert planned.price == 0.02
    assert planned.cost == pytest.approx(planned.tokens * 0.02 / 1e6)
    assert planned.price_source is not None
    assert planned.price_source.startswith("https://")
    assert rows(database_url, "SELECT count(*) FROM pgrecall.collections") == [(0,)]
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    docs = db.create_collection("docs", embedder=OPENAI, chunking=SMALL)
    monkeypatch.delenv("OPENAI_BASE_URL")
    again = db.collection("docs").plan(notes)
    assert (counts(again), server.requests) == (counts(planned), [])
    assert counts(docs.ingest(notes)) == counts(planned)
    (request,) = server.requests
    assert len(request.body["input"]) == 3


def test_a_plan_writes_nothing_not_even_failures(
    db: Database, tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "empty.txt").touch()
    docs = db.create_collection("docs")
    planned = docs.plan([tmp_path, note("a", 1)])
    assert [Path(failure.uri).name for failure in planned.failed] == ["empty.txt"]
    assert rows(database_url, "SELECT count(*) FROM pgrecall.documents") == [(0,)]
    assert docs.runs() == []


def test_a_model_without_a_price_says_so(db: Database) -> None:
    docs = db.create_collection("docs", embedder=TinyEmbedder(name="mine"), chunking=SMALL)
    assert docs.plan(note("a", 1)).cost is None
    with pytest.raises(errors.InvalidArgument, match="max_tokens"):
        docs.ingest(note("a", 1), max_cost=1.0)
    with pytest.raises(errors.InvalidArgument, match="0 or more"):
        docs.ingest(note("a", 1), max_tokens=-1)
    assert db.create_collection("own").plan(note("a", 1)).cost == 0


def test_whatever_model_runs_here_costs_nothing(db: Database) -> None:
    """Also one in a folder, which is in no table."""
    embedder = TinyEmbedder(name="sentence-transformers:/models/of-our-own?weights=1")
    docs = db.create_collection("docs", embedder=embedder, chunking=SMALL)
    assert docs.plan(note("a", 1)).price == 0
    assert docs.ingest(note("a", 1), max_cost=0.01).cost == 0


def test_time_is_estimated_from_earlier_runs(db: Database, database_url: str) -> None:
    docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=SMALL)
    assert docs.plan(note("a", 1)).seconds is None
    docs.ingest(note("a", *range(10)))
    # As if that run had taken five seconds.
    rows(
        database_url,
        "UPDATE pgrecall.runs SET seen_at = started_at + interval '5 s', tokens = 500 RETURNING 1",
    )
    planned = docs.plan(note("b", *range(100, 120)))
    (run,) = docs.runs()
    chunks, tokens = run.chunks / 5, 500 / 5
    assert planned.seconds == pytest.approx(max(planned.chunks / chunks, planned.tokens / tokens))
    other = db.planned("other", embedder=OPENAI, chunking=SMALL)
    assert other.plan(note("a", 1)).seconds is None


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_what_the_server_is_sent_stays_within_the_budget(
    db: Database, server: OpenAIServer, share: float, database_url: str
) -> None:
    many = [note(f"doc-{n}", *range(n * 20, n * 20 + 10)) for n in range(60)]
    docs = db.create_collection("docs", embedder=OPENAI, chunking=SMALL)
    whole = docs.plan(many)
    assert whole.cost is not None
    limit = whole.cost * share
    report = docs.ingest(many, max_cost=limit)
    sent = [text for request in server.requests for text in request.body["input"]]
    tokens = sum(map(pgrecall.open_embedder(OPENAI).tokenizer.count, sent))
    assert tokens == report.tokens
    assert tokens * 0.02 / 1e6 <= limit
    assert tokens >= whole.tokens * share - whole.tokens / 60 - 1, "and uses what it has"
    assert report.cost == pytest.approx(tokens * 0.02 / 1e6)
    assert report.new + report.left == 60
    assert report.left_tokens == whole.tokens - tokens
    (run,) = docs.runs()
    assert (run.state, run.left, run.tokens) == ("stopped", report.left, tokens)
    assert rows(
        database_url, "SELECT count(*), coalesce(min(chunks), 10), coalesce(max(chunks), 10) FROM"
        " (SELECT count(*) AS chunks FROM pgrecall.chunks GROUP BY document_id) AS whole",
    ) == [(report.new, 10, 10)]  # fmt: skip
    rest = docs.ingest(many)
    assert (rest.unchanged, rest.new, rest.left) == (report.new, report.left, 0)
    assert rest.tokens == report.left_tokens


def test_a_document_that_is_too_dear_holds_up_no_others(db: Database) -> None:
    docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=SMALL)
    report = docs.ingest([note("long", *range(50)), note("short", 99)], max_tokens=100)
    assert (report.new, report.left) == (1, 1)
    # What is known costs nothing.
    report = docs.ingest([note("long", *range(50)), note("copy", 99)], max_tokens=0)
    assert (report.new, report.left, report.tokens) == (1, 1, 0)


def test_attempts_that_failed_count_against_the_budget(db: Database) -> None:
    embedder = PoisonedEmbedder(errors.EmbeddingError("refused"))
    docs = db.create_collection("docs", embedder=embedder, chunking=SMALL)
    group = [note("a", 1), Document(uri="b", text="This is poison for the model."), note("c", 2)]
    whole = docs.plan(group).tokens
    report = docs.ingest(group, max_tokens=whole + 20)
    asked = sum(map(embedder.tokenizer.count, embedder.seen))
    assert asked <= whole + 20
    assert report.left > 0
    # A text that is refused before it is sent was not sent.
    embedder.error = errors.InvalidArgument("too long")
    report = docs.ingest(group, max_tokens=whole)
    assert [failure.uri for failure in report.failed] == ["b"]
    assert report.left == 0


def test_runs_say_what_was_done_and_what_it_cost(db: Database, server: OpenAIServer) -> None:
    docs = db.create_collection("docs", embedder=OPENAI, chunking=SMALL)
    report = docs.ingest([note("a", 1, 2), note("b", 3)])
    again = docs.ingest([note("a", 1, 2), note("b", 4)])
    last, first = docs.runs()
    for run, of in ((first, report), (last, again)):
        assert (run.state, run.error, run.failed) == ("done", None, 0)
        assert (run.new, run.changed, run.unchanged) == (of.new, of.changed, of.unchanged)
        assert (run.chunks, run.embedded, run.tokens) == (of.chunks, of.embedded, of.tokens)
        assert run.cost == pytest.approx(of.cost)
        assert run.seconds > 0
        assert run.seconds == pytest.approx(of.seconds, rel=0.5, abs=0.1)
    db.drop_collection("docs")
    assert [run.run_id for run in db.runs()] == [last.run_id, first.run_id]
    assert db.runs(limit=1) == [last]


def test_a_run_that_fails_says_why(db: Database) -> None:
    docs = db.create_collection("docs", embedder=DeadEmbedder(), chunking=SMALL)
    many = [note(f"doc-{n}", *range(n * 20, n * 20 + 20)) for n in range(120)]
    with pytest.raises(errors.EmbeddingError):
        docs.ingest(many)
    (run,) = docs.runs()
    assert (run.state, run.error) == ("failed", "The provider is down.")


def test_a_run_that_was_cancelled_is_interrupted(database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", chunking=SMALL)
            many = (note(f"doc-{n}", *range(n, n + 20)) for n in range(100_000))
            task = asyncio.create_task(docs.ingest(many))
            while not (await docs.status()).documents:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            (run,) = await docs.runs()
            assert (run.state, run.error) == ("interrupted", None)
            assert run.embedded > 0
            assert [found.run_id for found in await db.runs()] == [run.run_id]

    asyncio.run(main())


def test_awaited_plans_and_budgets(database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            many = [note(f"doc-{n}", *range(n * 9, n * 9 + 9)) for n in range(100)]
            wanted: Any = {"embedder": TinyEmbedder(), "chunking": SMALL}
            planned = await (await db.planned("docs", **wanted)).plan(many, max_tokens=5000)
            docs = await db.create_collection("docs", **wanted)
            assert counts(await docs.plan(many, max_tokens=5000)) == counts(planned)
            assert counts(await docs.ingest(many, max_tokens=5000)) == counts(planned)
            assert planned.left > 0
            assert [run.state for run in await docs.runs()] == ["stopped"]

    asyncio.run(main())


def test_a_run_that_was_killed_is_known(db: Database, tmp_path: Path, database_url: str) -> None:
    for n in range(400):
        (tmp_path / f"{n:03}.txt").write_text(note("", *range(n * 50, n * 50 + 50)).text)
    process = subprocess.Popen(
        command("ingest", tmp_path, "--quiet", "--collection", "docs"),
        env={**os.environ, "PGRECALL_DATABASE_URL": database_url},
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while not rows(database_url, "SELECT 1 FROM pgrecall.documents LIMIT 1"):
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    (run,) = db.runs()
    assert run.state == "running", "nobody can know yet"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE pgrecall.runs SET seen_at = seen_at - make_interval(secs => %s)", [LOST]
        )
    (run,) = db.runs()
    assert run.state == "killed"


def test_a_run_says_that_it_lives(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgrecall.store.runs.BEAT", 0.01)
    docs = db.create_collection("docs", chunking=SMALL)
    told: list[tuple[str, int, bool]] = []

    def slow() -> Iterator[Document]:
        for n in range(200):
            yield note(f"doc-{n}", *range(n * 20, n * 20 + 20))
            if n % 40 == 39:
                time.sleep(0.1)
                (run,) = db.runs()
                told.append((run.state, run.new, run.seconds > 0))

    report = docs.ingest(slow())
    assert {state for state, _, _ in told} == {"running"}
    assert any(0 < new < report.new for _, new, _ in told)
    assert told[-1][2]


def test_a_run_in_the_callers_transaction_is_part_of_it(db: Database, database_url: str) -> None:
    db.create_collection("docs", chunking=SMALL)
    with psycopg.connect(database_url) as connection, pgrecall.connect(connection) as mine:
        connection.execute("SELECT 1")
        docs: Collection = mine.collection("docs")
        docs.ingest(note("a", 1))
        assert [run.state for run in docs.runs()] == ["done"]
        connection.rollback()
    assert db.runs() == []


def test_recall_is_measured_within_the_budget(
    db: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = TinyEmbedder(dimensions=4)
    docs = db.create_collection("docs", embedder=embedder, chunking=SMALL)
    many = [note(f"doc-{n}", *range(n * 50, n * 50 + 50)) for n in range(50)]
    whole = docs.plan(many).tokens
    counted = embedder.tokenizer.count
    report = docs.ingest(many, max_tokens=whole)
    assert (report.left, report.tokens) == (0, whole)
    assert sum(map(counted, embedder.seen)) == whole
    measured = "SELECT recall_chunks IS NOT NULL FROM pgrecall.generations"
    assert rows(database_url, measured) == [(False,)]
    assert "The budget has nothing left" in caplog.text
    docs.ingest(note("one-more", 1))
    assert rows(database_url, measured) == [(True,)]
