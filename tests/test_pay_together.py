"""A text that several ask for at the same time is paid for once: threads, tasks, and the jobs of a worker."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

import pgrecall
from pgrecall import Database, Document, IngestReport, errors
from pgrecall.store.prepared import LONG
from pgrecall.types import FloatArray
from tests.conftest import CreateDatabase
from tests.driving import rows
from tests.embedders import TinyEmbedder
from tests.openai_server import OpenAIServer
from tests.test_pay_once import TINY, long_text, twice, waiting
from tests.test_queue import work


def paragraphs(count: int) -> str:
    """So many, of one chunk each."""
    return "\n\n".join(f"oar and rope and boat {100 + n}" for n in range(count))


SHARED = paragraphs(40)


OWN = "the moor and the tide and nobody"


class Held(TinyEmbedder):
    """Tells when it is asked, and answers when it may; ``error``: with what it fails the first time."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.asked, self.may, self.error = threading.Event(), threading.Event(), error

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        first = not self.asked.is_set()
        self.asked.set()
        if first:
            assert self.may.wait(20)
            if self.error is not None:
                raise self.error
        return super().embed_documents(texts)


def note(uri: str, *more: str) -> Document:
    return Document(uri=uri, text="\n\n".join([SHARED, *more]))


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with pgrecall.connect(database_url) as db:
        yield db


def in_turn(
    embedder: Held, first: Callable[[], IngestReport], second: Callable[[], IngestReport]
) -> tuple[IngestReport, IngestReport]:
    """Two runs in threads; the second has come as far as it can when the embedder answers the first."""
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(first)
        assert embedder.asked.wait(20)
        other = pool.submit(second)
        with pytest.raises(TimeoutError):
            other.result(0.5)
        embedder.may.set()
        return one.result(20), other.result(20)


def test_runs_in_threads(db: Database) -> None:
    embedder = Held()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    # Another object of that name, in another collection.
    other = TinyEmbedder()
    copies = db.create_collection("copies", embedder=other, chunking=TINY)
    one, two = in_turn(
        embedder,
        lambda: docs.ingest([note("a"), note("b", f"{OWN} 1")]),
        lambda: copies.ingest(note("c", f"{OWN} 2")),
    )
    assert (one.embedded, two.embedded) == (len(embedder.seen), len(other.seen))
    assert len(other.seen) == 1
    assert (two.chunks, two.reused, two.failed) == (41, 40, [])
    assert [run.embedded for run in db.runs()] == [two.embedded, one.embedded]
    assert [run.tokens for run in db.runs()] == [two.tokens, one.tokens]
    assert copies.search("boat 107", k=1, mode="vector")[0].vector_score == pytest.approx(
        docs.search("boat 107", k=1, mode="vector")[0].vector_score
    )
    assert db.verify().healthy


def test_what_is_embedded_and_not_written_yet(db: Database, database_url: str) -> None:
    embedder = TinyEmbedder()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    docs.ingest([Document(uri="a", text="old"), Document(uri="b", text="older")])
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url) as mine:
        mine.execute("SELECT FROM pgrecall.documents WHERE uri = 'a' FOR UPDATE")
        one = pool.submit(lambda: docs.ingest(note("a")))
        while len(embedder.seen) < 42:
            assert not one.done()
            time.sleep(0.01)
        two = docs.ingest(note("b"))
        assert (two.chunks, two.reused, one.done()) == (40, 40, False)
        mine.rollback()
        assert one.result(20).embedded == 40
    assert twice(embedder) == []


@pytest.mark.parametrize(
    "error",
    [errors.EmbeddingError("Down."), errors.InvalidArgument("Refused.")],
    ids=["down", "refused"],
)
def test_a_failure_of_one_is_none_of_the_other(db: Database, error: Exception) -> None:
    embedder = Held(error)
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    one, two = in_turn(
        embedder, lambda: docs.ingest(note("a")), lambda: docs.ingest(note("b", OWN))
    )
    assert [failure.reason for failure in one.failed] == [str(error)]
    assert (two.failed, two.embedded, two.chunks) == ([], 41, 41)
    assert twice(embedder) == []


def test_a_text_that_is_refused_fails_all_that_hold_it(db: Database) -> None:
    class Strict(Held):
        def embed_documents(self, texts: Sequence[str]) -> FloatArray:
            super().embed_documents(texts)
            raise errors.EmbeddingError("I do not like it.")

    embedder = Strict()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    one, two = in_turn(embedder, lambda: docs.ingest(note("a")), lambda: docs.ingest(note("b")))
    for report in (one, two):
        assert [failure.reason for failure in report.failed] == ["I do not like it."]


def test_what_was_answered_before_a_failure_is_shared(db: Database) -> None:
    class Halting(Held):
        def embed_documents(self, texts: Sequence[str]) -> FloatArray:
            first = not self.asked.is_set()
            vectors = super().embed_documents(texts)
            if first:
                answered = dict(enumerate(vectors[:30]))
                self.seen = self.seen[:30]
                raise errors.EmbeddingError("Too much.", answered=answered)
            return vectors

    embedder = Halting()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    one, two = in_turn(embedder, lambda: docs.ingest(note("a")), lambda: docs.ingest(note("b")))
    assert (one.embedded, two.embedded, two.reused) == (30, 10, 30)
    assert twice(embedder) == []


def test_long_documents_share_their_parts(db: Database) -> None:
    embedder = Held()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    text = long_text(LONG + 100)
    one, two = in_turn(
        embedder,
        lambda: docs.ingest(Document(uri="a", text=text)),
        lambda: docs.ingest(Document(uri="b", text=text)),
    )
    assert one.chunks == two.chunks > LONG
    assert one.embedded + two.embedded == len(embedder.seen)
    assert twice(embedder) == []
    assert waiting(db.url) == 0
    assert db.verify().healthy


def test_a_budget_pays_for_no_text_that_another_run_pays_for(db: Database) -> None:
    embedder = Held()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    shared = paragraphs(450)
    # In a group of its own, after the other one.
    rest = Document(uri="z", text=paragraphs(100).replace("oar", "cat"))
    whole, limit = docs.plan(Document(uri="a", text=shared)).tokens, docs.plan(rest).tokens
    assert whole > limit
    one, two = in_turn(
        embedder,
        lambda: docs.ingest(Document(uri="a", text=shared)),
        lambda: docs.ingest([Document(uri="b", text=shared), rest], max_tokens=whole),
    )
    assert (one.tokens, two.tokens, two.left) == (whole, limit, 0)
    # Without the other run there is nothing left for it.
    again = db.create_collection("again", embedder=TinyEmbedder(name="again"), chunking=TINY)
    alone = again.ingest([Document(uri="b", text=shared), rest], max_tokens=whole)
    assert (alone.tokens, alone.left) == (whole, 1)


def test_databases_of_one_process_share_nothing(
    db: Database, create_database: CreateDatabase
) -> None:
    embedder, stranger = Held(), TinyEmbedder()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    from pgrecall.store import migrate

    with create_database() as url, ThreadPoolExecutor(1) as pool:
        migrate.upgrade(url)
        with pgrecall.connect(url) as elsewhere:
            one = pool.submit(lambda: docs.ingest(note("a")))
            assert embedder.asked.wait(20)
            strange = elsewhere.create_collection("docs", embedder=stranger, chunking=TINY)
            assert strange.ingest(note("a")).embedded == 40
        embedder.may.set()
        assert one.result(20).embedded == 40


def test_tasks_and_one_that_is_cancelled(database_url: str) -> None:
    embedder = Held()

    async def main() -> tuple[IngestReport, IngestReport]:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=embedder, chunking=TINY)
            one = asyncio.create_task(docs.ingest(note("a")))
            await asyncio.to_thread(embedder.asked.wait, 20)
            others = [asyncio.create_task(docs.ingest(note(uri))) for uri in "bcd"]
            await asyncio.wait(others, timeout=0.5)
            # One that waits goes; then the one that they wait for.
            others[0].cancel()
            one.cancel()
            await asyncio.wait([one, others[0]])
            assert one.cancelled()
            assert others[0].cancelled()
            two, three = await asyncio.wait_for(asyncio.gather(*others[1:]), 20)
            embedder.may.set()
            return two, three

    two, three = asyncio.run(main())
    assert two.embedded + three.embedded == 40
    assert two.chunks == three.chunks == 40


def test_a_task_waits_for_a_thread_and_no_thread_for_a_task(database_url: str) -> None:
    """Which may be on the loop that the thread holds up."""
    embedder = Held()

    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=embedder, chunking=TINY)
            one = asyncio.create_task(docs.ingest(note("a")))
            await asyncio.to_thread(embedder.asked.wait, 20)
            with pgrecall.connect(database_url) as blocking:
                here = blocking.collection("docs", embedder=embedder)
                assert here.ingest(note("b")).embedded == 40
            embedder.may.set()
            assert (await one).embedded == 40

    asyncio.run(main())

    other = Held()

    async def turned() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("turned", embedder=other, chunking=TINY)
            fresh = Document(uri="a", text=SHARED.replace("oar", "cat"))
            with pgrecall.connect(database_url) as blocking:
                here = blocking.collection("turned", embedder=other)
                one = asyncio.create_task(asyncio.to_thread(here.ingest, fresh))
                await asyncio.to_thread(other.asked.wait, 20)
                two = asyncio.create_task(docs.ingest(Document(uri="b", text=fresh.text)))
                done, _ = await asyncio.wait([two], timeout=0.5)
                assert not done
                other.may.set()
                assert ((await one).embedded, (await two).embedded) == (40, 0)

    asyncio.run(turned())
    assert twice(other) == []


def test_jobs_of_a_worker(db: Database, database_url: str) -> None:
    embedder = TinyEmbedder()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    docs.enqueue([note(f"d{n}", f"{OWN} {n}") for n in range(48)])
    work(database_url, embedder)
    assert twice(embedder) == []
    assert len(embedder.seen) == 40 + 48
    (run,) = [run for run in db.runs() if run.by_worker]
    assert (run.new, run.chunks, run.embedded) == (48, 48 * 41, 88)
    assert run.tokens == sum(
        row[0]
        for row in rows(
            database_url,
            "SELECT DISTINCT ON (content_hash) token_count FROM pgrecall.chunks",
        )
    )
    assert db.verify().healthy


def test_a_worker_keeps_the_vectors_of_what_the_database_refuses(
    db: Database, database_url: str
) -> None:
    embedder = TinyEmbedder()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(
            "ALTER TABLE pgrecall.documents ADD CONSTRAINT strict CHECK (uri <> 'a') NOT VALID"
        )
        docs.enqueue([note("a")])
        work(database_url, embedder)
        assert [job.uri for job in db.failed_jobs()] == ["a"]
        assert waiting(database_url) == len(embedder.seen) == 40
        admin.execute("ALTER TABLE pgrecall.documents DROP CONSTRAINT strict")
    db.retry_jobs()
    work(database_url, embedder)
    assert twice(embedder) == []
    assert waiting(database_url) == 0
    assert docs.document("a").text == SHARED


@pytest.mark.parametrize("by_worker", [False, True])
def test_reindexing_keeps_the_vectors_of_what_the_database_refuses(
    db: Database, database_url: str, by_worker: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=TINY)
    docs.ingest([note("a"), Document(uri="b", text="the moon and the sun")])
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    def reindex() -> None:
        if by_worker:
            docs.enqueue_reindex(embedder="openai:any@48")
            work(database_url, TinyEmbedder())
        else:
            docs.reindex(embedder="openai:any@48")

    with OpenAIServer() as server, psycopg.connect(database_url, autocommit=True) as admin:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        admin.execute(
            "ALTER TABLE pgrecall.chunks ADD CONSTRAINT strict CHECK (uri <> 'a') NOT VALID"
        )
        reindex()
        assert docs.generations()[-1].lacking == 1
        asked = [text for request in server.requests for text in request.body["input"]]
        assert len(asked) == len(set(asked)) > 40
        admin.execute("ALTER TABLE pgrecall.chunks DROP CONSTRAINT strict")
        db.discard_jobs()
        server.requests.clear()
        reindex()
        assert docs.generations()[-1].lacking == 0
        assert not {text for r in server.requests for text in r.body["input"]} & {*asked}
