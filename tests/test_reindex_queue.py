"""Reindexing through the queue: what workers make of a generation that was handed over to them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Document, WorkerOptions, errors
from tests.driving import rows
from tests.embedders import TinyEmbedder
from tests.openai_server import Fault, OpenAIServer
from tests.test_reindex import SMALL, assert_consistent, contents, document

MODEL = "openai:text-embedding-3-small@48"
DRAIN = WorkerOptions(drain=True, attempts=3, backoff=0.0)


def work(url: str, options: WorkerOptions = DRAIN) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(url) as db:
            await db.work(options)

    asyncio.run(main())


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield server


@pytest.fixture
def docs(database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        made = db.create_collection("docs", embedder="static", chunking=SMALL)
        made.ingest([document(n) for n in range(100)])
        yield made


def without_key(patch: pytest.MonkeyPatch) -> None:
    """A server of one's own needs none, so its address goes too."""
    patch.delenv("OPENAI_API_KEY")
    patch.delenv("OPENAI_BASE_URL")


def texts(provider: OpenAIServer) -> list[str]:
    """What was embedded as passages; questions that the recall is measured with are none."""
    return [text for request in provider.requests for text in request.body["input"]]


@dataclass(frozen=True)
class New:
    """The generation that is being built."""

    documents: int
    lacking: int
    queued: int
    failed: int
    indexed: bool


def new(docs: Collection) -> New:
    (item,) = [item for item in docs.generations() if item.state == "building"]
    return New(item.documents, item.lacking, item.queued, item.failed, item.indexed)


def test_workers_fill_a_generation_and_finish_it(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    handed = docs.enqueue_reindex(embedder=MODEL)
    assert (handed.documents, handed.batches, handed.embedder) == (100, 2, MODEL)
    assert new(docs) == New(0, 100, 100, 0, False)
    reindexing = docs.status().reindexing
    assert reindexing is not None
    assert (reindexing.generation_id, reindexing.queued) == (handed.generation_id, 100)
    assert not provider.requests
    work(database_url)
    assert new(docs) == New(100, 0, 0, 0, True)
    assert_consistent(database_url)
    assert rows(database_url, "SELECT * FROM pgrecall.batches") == []
    assert rows(database_url, "SELECT * FROM pgrecall.procrastinate_jobs") == []
    counted = "SELECT chunk_count FROM pgrecall.generations WHERE generation_id = %s"
    chunks = rows(database_url, "SELECT count(*) FROM pgrecall.chunks WHERE generation_id > 1")
    assert rows(database_url, counted, handed.generation_id) == chunks
    docs.activate()
    assert docs.embedder_name == MODEL
    assert docs.search("place7 tide", k=1, mode="text")[0].uri == "d007"


def assert_paid_once(docs: Collection, url: str, provider: OpenAIServer) -> None:
    """Every chunk of the new generation was embedded, and none twice."""
    number = docs.generations()[-1].generation_id
    paid = Counter(texts(provider))
    assert {paid[text] for text in contents(url, number)} == {1}


def assert_taken_for_what_was_paid(url: str, limit: int) -> None:
    with pgrecall.connect(url) as db:
        (run,) = [run for run in db.runs() if run.kind == "reindex"]
    ((left,),) = rows(url, "SELECT remaining FROM pgrecall.reindexings")
    # Besides, the questions that the recall is measured with.
    assert 0 <= limit - left - run.tokens <= 500


def test_equal_texts_in_batches_of_one_worker(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    """The batches are in hand at the same time; what one of them took for nothing, it gives back."""
    docs.ingest([replace(document(n % 50), uri=f"copy{n}") for n in range(100)])
    docs.enqueue_reindex(embedder=MODEL, max_tokens=1_000_000)
    work(database_url)
    assert new(docs).lacking == 0
    assert_paid_once(docs, database_url, provider)
    assert_taken_for_what_was_paid(database_url, 1_000_000)


def test_what_others_store_meanwhile_of_a_long_document_is_given_back(
    docs: Collection, database_url: str, provider: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second part is looked up after the other document, which has the same, was embedded."""
    monkeypatch.setattr("pgrecall.reindex.handing.BATCH", 1)
    told = [f"Of harbour {n} one says that its tide is {n * n} feet high." for n in range(1100)]
    texts = {"whole": told, "end": told[-560:]}
    docs.ingest([Document(uri=uri, text="\n\n".join(text)) for uri, text in texts.items()])
    docs.enqueue_reindex(embedder=MODEL, max_tokens=1_000_000)
    work(database_url)
    assert new(docs).lacking == 0
    assert_paid_once(docs, database_url, provider)
    assert_taken_for_what_was_paid(database_url, 1_000_000)


def test_what_others_asked_for_is_given_back_by_a_batch_that_fails(
    docs: Collection, database_url: str, provider: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgrecall.reindex.handing.BATCH", 1)
    shared = "\n\n".join(f"Of harbour {n} one says that its tide is high." for n in range(200))
    docs.ingest([Document(uri="a", text=shared), Document(uri="b", text=f"{shared}\n\npoison")])
    provider.rule = lambda body: (
        Fault(status=400) if any("poison" in text for text in body["input"]) else Fault(delay=0.3)
    )
    docs.enqueue_reindex(embedder=MODEL, max_tokens=1_000_000)
    work(database_url, replace(DRAIN, attempts=1))
    assert (new(docs).lacking, new(docs).failed) == (1, 1)
    assert_taken_for_what_was_paid(database_url, 1_000_000)


def test_what_a_limit_leaves_is_counted_once_however_often_the_rest_is_tried(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    planned = docs.plan_reindex(embedder=MODEL)
    provider.rule = lambda body: Fault(status=403)
    docs.enqueue_reindex(embedder=MODEL, max_tokens=planned.tokens // 2)
    work(database_url)
    (run,) = [run for run in docs.runs() if run.kind == "reindex"]
    assert run.left == new(docs).lacking == 100


def test_handing_over_again_hands_nothing_over_twice(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    docs.enqueue_reindex(embedder=MODEL)
    again = docs.enqueue_reindex()
    assert (again.documents, again.batches) == (100, 2)
    assert new(docs).queued == 100
    work(database_url)
    assert docs.enqueue_reindex(embedder=MODEL).documents == 0
    work(database_url)
    assert new(docs) == New(100, 0, 0, 0, True)
    assert_paid_once(docs, database_url, provider)


def test_what_is_written_meanwhile_is_added_too(
    docs: Collection, database_url: str, provider: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.enqueue_reindex(embedder=MODEL)
    # A process that has no key for the new model writes to the active generation alone.
    with monkeypatch.context() as patch:
        without_key(patch)
        with pgrecall.connect(database_url) as elsewhere:
            stranger = elsewhere.collection("docs")
            stranger.ingest([document(3, "changed"), *(document(n) for n in range(100, 180))])
            stranger.delete("d004")
    assert (new(docs).lacking, new(docs).queued) == (179, 100)
    work(database_url)
    assert new(docs) == New(179, 0, 0, 0, True)
    assert_consistent(database_url)
    assert_paid_once(docs, database_url, provider)
    docs.activate()
    assert "changed" in docs.search("place3 changed", k=1, mode="text")[0].text


def test_a_document_that_is_refused_fails_alone(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    docs.ingest(Document(uri="bad", text="This is poison."))
    refusal = Fault(status=400, error={"message": "no such thing", "code": "bad"})
    provider.rule = lambda body: refusal if "poison" in " ".join(body["input"]) else None
    handed = docs.enqueue_reindex(embedder=MODEL)
    work(database_url)
    assert new(docs) == New(100, 1, 0, 1, True)
    with pgrecall.connect(database_url) as db:
        (failed,) = db.failed_jobs("docs")
        assert (failed.uri, failed.documents) == ("bad", 1)
        assert failed.generation_id == handed.generation_id
        assert "no such thing" in failed.error
        assert db.queue_status().failed == 1
        with pytest.raises(errors.GenerationIncomplete, match="bad"):
            docs.activate()
        assert db.retry_jobs([failed.job_id]) == 1
        work(database_url)
        assert new(docs).failed == 1
        # What is given up is not handed over again by what comes after it.
        assert db.discard_jobs() == 1
        docs.ingest(document(999))
        work(database_url)
        assert new(docs) == New(101, 1, 0, 0, True)
        assert db.failed_jobs() == []
    # Unless somebody asks for it.
    provider.rule = lambda body: None
    assert docs.enqueue_reindex().documents == 1
    work(database_url)
    assert new(docs).lacking == 0


def test_a_batch_that_kills_its_workers_is_divided(
    docs: Collection, database_url: str, provider: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    docs.enqueue_reindex(embedder=MODEL)
    rows(
        database_url,
        """
        UPDATE pgrecall.procrastinate_jobs SET status = 'doing', attempts = 1
         WHERE id = (SELECT min(job_id) FROM pgrecall.batches)
        """,
    )
    work(database_url)
    assert "is divided" in caplog.text
    assert new(docs) == New(100, 0, 0, 0, True)
    assert_paid_once(docs, database_url, provider)


def test_a_provider_that_is_down_fails_batches_as_they_are(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    down = Fault(status=401)
    provider.rule = lambda body: down
    docs.enqueue_reindex(embedder=MODEL)
    work(database_url)
    with pgrecall.connect(database_url) as db:
        failed = db.failed_jobs()
        # The end of it, too: nothing was there to be finished, but the recall could be measured later.
        assert sorted(job.documents for job in failed) == [36, 64]
        assert {job.attempts for job in failed} == {3}
        assert (new(docs).queued, new(docs).failed) == (0, 100)
        provider.rule = lambda body: None
        assert db.retry_jobs() == 2
    work(database_url)
    assert new(docs) == New(100, 0, 0, 0, True)


def test_the_end_may_fail_and_be_tried_again(
    docs: Collection, database_url: str, provider: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs.reindex(embedder=MODEL)
    handed = docs.enqueue_reindex()
    with monkeypatch.context() as patch, pgrecall.connect(database_url) as db:
        without_key(patch)
        work(database_url)
        (failed,) = db.failed_jobs()
        assert (failed.generation_id, failed.documents) == (handed.generation_id, 0)
        assert "OPENAI_API_KEY" in failed.error
        assert db.retry_jobs() == 1
    work(database_url)
    assert rows(database_url, "SELECT * FROM pgrecall.procrastinate_jobs") == []


def test_limits_hold_for_all_workers_together(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    planned = docs.plan_reindex(embedder=MODEL)
    assert planned.cost
    docs.enqueue_reindex(embedder=MODEL, max_cost=planned.cost / 2)
    for _ in range(2):
        work(database_url)
    half = new(docs)
    assert 0.4 * 100 < half.documents <= 0.5 * 100
    assert half.lacking == 100 - half.documents
    assert (half.queued, half.failed) == (0, 0)
    with pgrecall.connect(database_url) as db:
        (run,) = [run for run in db.runs() if run.kind == "reindex"]
    assert run.cost is not None
    assert 0.4 * planned.cost < run.cost <= 0.5 * planned.cost
    assert (run.new, run.left, run.by_worker) == (half.documents, half.lacking, True)
    assert (run.state, run.error) == ("stopped", "The budget was used up.")
    docs.enqueue_reindex(max_tokens=planned.tokens)
    work(database_url)
    assert new(docs).lacking == 0
    assert_paid_once(docs, database_url, provider)


def test_here_instead_of_by_workers(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    docs.enqueue_reindex(embedder=MODEL)
    with pytest.raises(errors.GenerationIncomplete, match=r"100 documents.*--status"):
        docs.activate()
    half = docs.plan_reindex().tokens // 2
    report = docs.reindex(max_tokens=half)
    assert not report.complete
    assert report.documents + report.left == 100
    assert report.tokens <= half
    assert new(docs).queued == 0
    assert docs.reindex().complete
    docs.activate()
    work(database_url)
    assert rows(database_url, "SELECT * FROM pgrecall.procrastinate_jobs") == []
    assert_paid_once(docs, database_url, provider)


def test_what_is_dropped_or_activated_meanwhile(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    handed = docs.enqueue_reindex(embedder=MODEL)
    docs.drop_generation(handed.generation_id)
    work(database_url)
    assert not provider.requests
    assert rows(database_url, "SELECT * FROM pgrecall.batches") == []
    docs.enqueue_reindex(embedder=MODEL)
    docs.activate(force=True)
    work(database_url)
    assert [(item.state, item.lacking) for item in docs.generations()] == [
        ("retired", 0),
        ("active", 0),
    ]
    assert_consistent(database_url)


def test_embedders_that_workers_cannot_open(docs: Collection, database_url: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="'tiny' is an embedder of your own"):
        docs.enqueue_reindex(embedder=TinyEmbedder())
    assert [item.state for item in docs.generations()] == ["active"]


def test_handing_over_and_planning_need_no_key(docs: Collection, database_url: str) -> None:
    assert docs.plan_reindex(embedder=MODEL).documents == 100
    assert docs.enqueue_reindex(embedder=MODEL).documents == 100


def test_awaited_and_part_of_the_callers_transaction(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            await connection.execute("SELECT 'a transaction is open'")
            async with pgrecall.connect_async(connection) as lent:
                theirs = await lent.collection("docs")
                await theirs.enqueue_reindex(embedder=MODEL)
            await connection.rollback()
        async with pgrecall.connect_async(database_url) as db:
            mine = await db.collection("docs")
            assert len(await mine.generations()) == 1
            handed = await mine.enqueue_reindex(embedder=MODEL, max_tokens=10**6)
            assert handed.documents == 100
            await asyncio.gather(db.work(DRAIN), db.work(DRAIN))
            assert [item.lacking for item in await mine.generations()] == [0, 0]
            await mine.activate()
            assert mine.embedder_name == MODEL

    asyncio.run(main())
    assert_consistent(database_url)


def test_what_workers_spend_is_on_record(
    docs: Collection, database_url: str, provider: OpenAIServer
) -> None:
    docs.enqueue_reindex(embedder=MODEL)
    docs.enqueue([document(n) for n in range(100, 120)])
    work(database_url)
    with pgrecall.connect(database_url) as db:
        found = {(run.kind, run.embedder): run for run in db.runs() if run.by_worker}
    assert set(found) == {("ingest", "static"), ("reindex", MODEL)}
    ingested, filled = found["ingest", "static"], found["reindex", MODEL]
    assert (ingested.state, filled.state) == ("done", "done")
    assert (ingested.new, ingested.cost) == (20, 0.0)
    # Documents that were taken in meanwhile are embedded for both, whoever does it.
    number = docs.generations()[-1].generation_id
    (tokens,) = rows(
        database_url,
        "SELECT sum(token_count)::bigint FROM pgrecall.chunks WHERE generation_id = %s",
        number,
    )[0]
    assert filled.tokens == tokens
    assert filled.cost == pytest.approx(tokens * 0.02 / 1e6)
    assert docs.status().spent == pytest.approx(filled.cost)
