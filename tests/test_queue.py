"""The queue: documents handed over, and what a worker makes of them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pgrecall
from pgrecall import AsyncDatabase, Document, WorkerOptions, errors
from pgrecall.types import FloatArray
from tests.conftest import CreateDatabase
from tests.driving import go, rows
from tests.embedders import DeadEmbedder, PoisonedEmbedder, TinyEmbedder

DRAIN = WorkerOptions(drain=True, attempts=2, backoff=0.0)


class GatedEmbedder(TinyEmbedder):
    """Tells when it is asked, and answers when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.may = threading.Event(), threading.Event()

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        self.asked.set()
        assert self.may.wait(20)
        return super().embed_documents(texts)


def work(url: str, embedder: TinyEmbedder, options: WorkerOptions = DRAIN) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(url) as db:
            await db.work(options, embedders=[embedder])

    go(main())


def texts(url: str) -> dict[str, str]:
    return dict(rows(url, "SELECT uri, text FROM pgrecall.documents WHERE status = 'ready'"))


@pytest.fixture
def embedder() -> TinyEmbedder:
    return TinyEmbedder()


@pytest.fixture
def docs(database_url: str, embedder: TinyEmbedder) -> Iterator[pgrecall.Collection]:
    with pgrecall.connect(database_url) as db:
        yield db.create_collection("docs", embedder=embedder)


@contextmanager
def in_hand(url: str, embedder: GatedEmbedder) -> Iterator[None]:
    """A worker that has a document in hand while the block runs, and finishes it afterwards."""
    worker = threading.Thread(target=work, args=(url, embedder))
    worker.start()
    try:
        assert embedder.asked.wait(20)
        yield
    finally:
        embedder.may.set()
        worker.join(30)
    assert not worker.is_alive()


def test_what_is_handed_over_is_taken_in_and_settled(
    database_url: str, docs: pgrecall.Collection, embedder: TinyEmbedder
) -> None:
    handed = [
        Document(
            uri=f"d{n}.md",
            text=f"# Tide\n\nnumber {n} of many",
            title=f"T{n}",
            metadata={"n": n, "list": [1.5, None]},
            tenant_id="t",
            language="german",
            pages=(0, 4),
            notes=("a note",),
        )
        for n in range(30)
    ]
    report = docs.enqueue([*handed, "/no/such/file"])
    assert (report.queued, report.unchanged, len(report.failed)) == (30, 0, 1)
    assert texts(database_url) == {}

    work(database_url, embedder)

    assert docs.document("d7.md", tenant_id="t").metadata == {"n": 7, "list": [1.5, None]}
    assert docs.search("number 7", k=1, mode="text")[0].title == "T7"
    assert docs.status().indexed
    # Counted: the words of questions are weighed.
    assert rows(database_url, "SELECT chunk_count FROM pgrecall.generations") == [(30,)]
    assert rows(database_url, "SELECT count(*) > 0 FROM pgrecall.lexemes") == [(True,)]
    # Equal to what `ingest` writes, and nothing is left over.
    assert docs.ingest(handed).unchanged == 30
    assert docs.enqueue(handed).unchanged == 30
    for table in ("queue", "procrastinate_jobs", "procrastinate_workers"):
        assert rows(database_url, f"TABLE pgrecall.{table}") == []


def test_small_documents_are_embedded_together(
    database_url: str, docs: pgrecall.Collection
) -> None:
    calls: list[int] = []

    class Counting(TinyEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> FloatArray:
            calls.append(len(texts))
            time.sleep(0.3)
            return super().embed_documents(texts)

    docs.enqueue([Document(uri=f"d{n}", text=f"number {n} of many") for n in range(20)])
    work(database_url, Counting(), WorkerOptions(drain=True, concurrency=20))
    assert sum(calls) == 20
    assert len(calls) <= 4


def test_a_rollback_takes_the_job_along(
    database_url: str, docs: pgrecall.Collection, embedder: TinyEmbedder
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("SELECT pgrecall.enqueue('docs', 'sql', 'never to be')")
        with pgrecall.connect(connection) as mine:
            mine.collection("docs", embedder=embedder).enqueue(Document(uri="py", text="never"))
        connection.rollback()
        work(database_url, embedder)
        assert texts(database_url) == {}

        connection.execute(
            "SELECT pgrecall.enqueue('docs', 'sql', 'From SQL', title => 'T', metadata => '{\"a\": 1}')"
        )
        with pgrecall.connect(connection) as mine:
            mine.collection("docs", embedder=embedder).enqueue(
                Document(uri="py", text="From Python")
            )
        work(database_url, embedder)
        assert texts(database_url) == {}
        connection.commit()
    work(database_url, embedder)
    assert texts(database_url) == {"sql": "From SQL", "py": "From Python"}
    stored = docs.document("sql")
    assert (stored.title, stored.metadata, stored.tenant_id) == ("T", {"a": 1}, "")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("'nowhere', 'u', 'text'", "there is no collection"),
        ("'docs', '', 'text'", "a document has a uri"),
        ("'docs', 'u', NULL", "a document has a uri"),
        ("'docs', 'u', 'text', metadata => '[1]'", "metadata is a JSON object"),
        ("'docs', 'u', 'text', markup => 'rtf'", "markup is plain"),
        ("'docs', 'u', 'text', language => 'klingon'", "klingon"),
        ("'docs', repeat('u', 2001), 'text'", "2,000 bytes"),
    ],
)
def test_what_cannot_be_enqueued_is_refused(
    database_url: str, docs: pgrecall.Collection, call: str, error: str
) -> None:
    with pytest.raises(psycopg.Error, match=error):
        rows(database_url, f"SELECT pgrecall.enqueue({call})")


def test_one_that_cannot_be_enqueued_is_reported(
    database_url: str, docs: pgrecall.Collection, embedder: TinyEmbedder
) -> None:
    report = docs.enqueue(
        [
            Document(uri="first", text="one"),
            Document(uri="klingon", text="two", language="klingon"),
            Document(uri="u" * 2001, text="three"),
            Document(uri="last", text="four"),
        ]
    )
    assert report.queued == 2
    assert [(f.uri[:7], "klingon" in f.reason or "bytes" in f.reason) for f in report.failed] == [
        ("u" * 7, True),
        ("klingon", True),
    ]
    work(database_url, embedder)
    assert set(texts(database_url)) == {"first", "last"}


def test_a_worker_takes_no_document_that_could_not_be_ingested(
    database_url: str, docs: pgrecall.Collection, embedder: TinyEmbedder
) -> None:
    rows(database_url, "SELECT pgrecall.enqueue('docs', ' u ', 'text', pages => '{3,1}')")
    work(database_url, embedder)
    with pgrecall.connect(database_url) as db:
        (failed,) = db.failed_jobs()
        assert (failed.uri, failed.attempts) == ("u", 1)
        assert "pages" in failed.error
    rows(database_url, "SELECT pgrecall.enqueue('docs', ' u ', 'text', pages => '{0,3}')")
    work(database_url, embedder)
    assert texts(database_url) == {"u": "text"}


def test_the_newest_version_wins(
    database_url: str, docs: pgrecall.Collection, embedder: TinyEmbedder
) -> None:
    for n in range(3):
        docs.enqueue(Document(uri="d", text=f"version {n}"))
    assert rows(database_url, "SELECT text FROM pgrecall.queue") == [("version 2",)]
    work(database_url, embedder)
    assert texts(database_url) == {"d": "version 2"}
    assert embedder.seen == ["version 2"]


def test_two_transactions_that_enqueue_the_same_do_not_wait_for_each_other(
    database_url: str, docs: pgrecall.Collection, embedder: TinyEmbedder
) -> None:
    docs.enqueue(Document(uri="d", text="version 0"))
    with psycopg.connect(database_url) as one, psycopg.connect(database_url) as two:
        one.execute("SELECT pgrecall.enqueue('docs', 'd', 'version 1')")
        two.execute("SET lock_timeout = '1s'")
        two.execute("SELECT pgrecall.enqueue('docs', 'd', 'version 2')")
        two.commit()
        one.commit()
    work(database_url, embedder)
    assert texts(database_url) == {"d": "version 2"}
    assert rows(database_url, "SELECT * FROM pgrecall.queue") == []


def test_what_is_newer_than_a_document_in_hand(
    database_url: str, docs: pgrecall.Collection
) -> None:
    def enqueued() -> None:
        docs.enqueue(Document(uri="d", text="new"))

    def ingested() -> None:
        docs.ingest(Document(uri="d", text="new"))

    def deleted() -> None:
        docs.delete("d")

    happenings: list[tuple[Callable[[], None], dict[str, str]]] = [
        (enqueued, {"d": "new"}),
        (ingested, {"d": "new"}),
        (deleted, {}),
    ]
    for happens, expected in happenings:
        docs.delete("d")
        docs.enqueue(Document(uri="d", text=f"old {happens.__name__}"))
        with in_hand(database_url, GatedEmbedder()):
            happens()
        assert texts(database_url) == expected
        assert rows(database_url, "SELECT * FROM pgrecall.procrastinate_jobs") == []


def test_no_connection_is_held_while_an_embedder_works(
    database_url: str, docs: pgrecall.Collection
) -> None:
    docs.enqueue([Document(uri=f"d{n}", text=f"number {n}") for n in range(5)])
    with in_hand(database_url, GatedEmbedder()):
        held = """
            SELECT state, query FROM pg_stat_activity WHERE datname = current_database()
               AND pid <> pg_backend_pid() AND backend_type = 'client backend'
               AND (xact_start IS NOT NULL OR state <> 'idle')
        """
        assert rows(database_url, held) == []
        locks = "SELECT * FROM pg_locks WHERE relation = 'pgrecall.queue'::regclass"
        assert rows(database_url, locks) == []
    assert len(texts(database_url)) == 5


def test_a_document_that_is_refused_fails_alone(
    database_url: str, docs: pgrecall.Collection
) -> None:
    named = [*(f"good {n}" for n in range(6)), "poison"]
    docs.enqueue([Document(uri=text, text=text) for text in named])
    work(database_url, PoisonedEmbedder(errors.InvalidArgument("It is poison.")))
    assert set(texts(database_url)) == {*named} - {"poison"}
    with pgrecall.connect(database_url) as db:
        (failed,) = db.failed_jobs("docs")
        assert (failed.uri, failed.error, failed.attempts) == ("poison", "It is poison.", 1)
        assert db.failed_jobs("other") == []
        assert db.queue_status().failed == 1
        assert db.retry_jobs([failed.job_id + 1]) == 0
        assert db.retry_jobs() == 1
        assert db.failed_jobs() == []
        work(database_url, PoisonedEmbedder(errors.InvalidArgument("It is still poison.")))
        (failed,) = db.failed_jobs()
        assert failed.error == "It is still poison."
        assert db.discard_jobs([failed.job_id]) == 1
        assert db.failed_jobs() == []
    assert rows(database_url, "SELECT * FROM pgrecall.queue") == []


def test_a_text_that_a_provider_refuses_fails_at_once(
    database_url: str, docs: pgrecall.Collection
) -> None:
    refusal = errors.EmbeddingError("It is poison.")
    refusal.refused = {0: refusal}
    # More than are tried before an embedder counts as down, which others would wait for.
    poison = [Document(uri=f"bad-{n}", text=f"poison {n}") for n in range(5)]
    docs.enqueue([*poison, *(Document(uri=f"good-{n}", text=f"figs {n}") for n in range(5))])
    work(database_url, PoisonedEmbedder(refusal), WorkerOptions(drain=True, backoff=60.0))
    assert set(texts(database_url)) == {f"good-{n}" for n in range(5)}
    with pgrecall.connect(database_url) as db:
        failed = db.failed_jobs()
    assert [(job.uri, job.attempts) for job in failed] == [(f"bad-{n}", 1) for n in range(5)]


def test_attempts_and_the_error_of_the_last(database_url: str, docs: pgrecall.Collection) -> None:
    docs.enqueue(Document(uri="d", text="some text"))
    dead = DeadEmbedder()
    work(database_url, dead, WorkerOptions(drain=True, attempts=3, backoff=60.0))
    with pgrecall.connect(database_url) as db:
        assert (db.queue_status().retrying, db.queue_status().failed) == (1, 0)
    ((pause,),) = rows(
        database_url,
        "SELECT extract(epoch FROM scheduled_at - now()) FROM pgrecall.procrastinate_jobs",
    )
    assert 30 < pause < 80
    rows(database_url, "UPDATE pgrecall.procrastinate_jobs SET scheduled_at = NULL")
    work(database_url, dead, WorkerOptions(drain=True, attempts=3, backoff=0.0))
    with pgrecall.connect(database_url) as db:
        (failed,) = db.failed_jobs()
        assert (failed.attempts, failed.error) == (3, "The provider is down.")
        # A newer version makes the failure pointless.
        docs.enqueue(Document(uri="d", text="another text"))
        assert db.failed_jobs() == []
    work(database_url, TinyEmbedder())
    assert texts(database_url) == {"d": "another text"}


def test_an_embedder_that_the_worker_lacks_may_be_anothers(
    database_url: str, docs: pgrecall.Collection, embedder: TinyEmbedder
) -> None:
    docs.enqueue(Document(uri="d", text="some text"))
    work(database_url, TinyEmbedder(name="other"), WorkerOptions(drain=True, backoff=60.0))
    ((error,),) = rows(database_url, "SELECT error FROM pgrecall.queue")
    assert "no embedder 'tiny'" in error
    rows(database_url, "UPDATE pgrecall.procrastinate_jobs SET scheduled_at = NULL")
    work(database_url, embedder)
    assert texts(database_url) == {"d": "some text"}


def test_a_collection_that_is_dropped_takes_its_queue_along(
    database_url: str, docs: pgrecall.Collection, embedder: TinyEmbedder
) -> None:
    docs.enqueue([Document(uri=f"d{n}", text=f"number {n}") for n in range(5)])
    gated = GatedEmbedder()
    with in_hand(database_url, gated), pgrecall.connect(database_url) as db:
        db.drop_collection("docs")
    assert rows(database_url, "SELECT * FROM pgrecall.procrastinate_jobs") == []


class Breaking(GatedEmbedder):
    """Fails when it may answer."""

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        super().embed_documents(texts)
        raise errors.EmbeddingError("Down.")


def test_a_drop_takes_what_has_failed_and_what_waits_along(
    database_url: str, docs: pgrecall.Collection, caplog: pytest.LogCaptureFixture
) -> None:
    poisoned = PoisonedEmbedder(errors.InvalidArgument("Refused."))
    with pgrecall.connect(database_url) as db:
        others = db.create_collection("others", embedder=poisoned)
        for each in (docs, others):
            each.enqueue([Document(uri=uri, text=f"poison {uri}") for uri in "ab"])
        work(database_url, poisoned)
        docs.enqueue(Document(uri="c", text="it waits"))
        docs.enqueue_reindex(embedder="static")
        db.drop_collection("docs")
        jobs = "SELECT id, status::text FROM pgrecall.procrastinate_jobs ORDER BY id"
        left = rows(database_url, jobs)
        assert [status for _, status in left] == ["failed", "failed"]
        assert [job.job_id for job in db.failed_jobs()] == [job for job, _ in left]
        # One that a worker had in hand all the same, and that fails after the drop.
        gated = Breaking()
        late = db.create_collection("late", embedder=gated)
        late.enqueue(Document(uri="d", text="some text"))
        caplog.set_level("INFO", "pgrecall.worker")
        with in_hand(database_url, gated):
            db.drop_collection("late")
        assert rows(database_url, jobs) == left
    assert any("what it was for has gone" in record.getMessage() for record in caplog.records)


def test_a_search_path_of_the_users_own(
    create_database: CreateDatabase, template_database: str, embedder: TinyEmbedder
) -> None:
    with create_database(template_database) as url:
        name = rows(url, "SELECT current_database()")[0][0]
        rows(url, "CREATE SCHEMA mine")
        rows(url, f"ALTER DATABASE {name} SET search_path = mine, public")
        with pgrecall.connect(url) as db:
            docs = db.create_collection("docs", embedder=embedder)
            docs.enqueue(Document(uri="d", text="some text"))
            rows(url, "SELECT pgrecall.enqueue('docs', 'e', 'other text')")
            work(url, embedder)
            assert set(texts(url)) == {"d", "e"}
            assert db.discard_jobs() == 0
        elsewhere = """
            SELECT relname FROM pg_class WHERE relnamespace IN ('mine'::regnamespace,
                   'public'::regnamespace) AND relname NOT LIKE 'pg_%'
        """
        assert rows(url, elsewhere) == []


def test_draining_waits_for_what_takes_longer_than_the_grace(
    database_url: str, docs: pgrecall.Collection
) -> None:
    """That is for a worker that is told to stop; and it is alive as long as it waits."""

    class Slow(TinyEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> FloatArray:
            vectors = super().embed_documents(texts)
            time.sleep(1.5)
            return vectors

    slow = Slow()
    docs.enqueue([Document(uri=f"d{n}", text=f"number {n}") for n in range(3)])
    hasty = WorkerOptions(drain=True, grace=0.1, heartbeat=0.2, stalled_after=0.5)
    work(database_url, slow, hasty)
    assert sorted(slow.seen) == [f"number {n}" for n in range(3)]
    assert rows(database_url, "SELECT * FROM pgrecall.procrastinate_jobs") == []


def test_connections_that_are_cut_lose_nothing(
    database_url: str, docs: pgrecall.Collection
) -> None:
    docs.enqueue([Document(uri=f"d{n}", text=f"number {n} of many") for n in range(40)])
    gated = GatedEmbedder()

    async def main() -> None:
        stop = asyncio.Event()
        options = WorkerOptions(concurrency=4, backoff=0.1, heartbeat=0.2, stalled_after=0.5)
        async with pgrecall.connect_async(database_url) as db:
            working = asyncio.create_task(db.work(options, embedders=[gated], stop=stop))
            await asyncio.to_thread(gated.asked.wait, 20)
            cut = """
                SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name LIKE 'pgrecall%'
            """
            assert (await asyncio.to_thread(rows, database_url, cut))[0][0] >= 3
            gated.may.set()
            await until(db, 40)
            stop.set()
            await working

    async def until(db: AsyncDatabase, count: int) -> None:
        for _ in range(300):
            if len(await asyncio.to_thread(texts, database_url)) == count:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(await db.queue_status())

    go(main())


def test_a_lent_connection_is_no_workers(database_url: str) -> None:
    async def main() -> None:
        async with (
            await psycopg.AsyncConnection.connect(database_url) as connection,
            pgrecall.connect_async(connection) as db,
        ):
            with pytest.raises(errors.InvalidArgument, match="connect with a URL"):
                await db.work()

    go(main())


@pytest.mark.parametrize(
    "nonsense",
    [{"concurrency": 0}, {"attempts": 0}, {"backoff": -1.0}, {"heartbeat": 20.0}, {"grace": -1.0}],
)
def test_options_that_make_no_sense(nonsense: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidArgument):
        WorkerOptions(**nonsense)


@settings(
    max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enqueue", "enqueue", "ingest", "delete", "work"]),
            st.sampled_from("ab"),
            st.integers(0, 2),
        ),
        max_size=6,
    )
)
def test_whatever_happens_last_holds(
    database_url: str, docs: pgrecall.Collection, steps: list[tuple[str, str, int]]
) -> None:
    docs.delete(["a", "b"])
    expected: dict[str, str] = {}
    for what, uri, version in steps:
        document = Document(uri=uri, text=f"{uri} in version {version}")
        if what == "work":
            work(database_url, TinyEmbedder())
        elif what == "delete":
            docs.delete(uri)
            expected.pop(uri, None)
        else:
            getattr(docs, what)(document)
            expected[uri] = document.text
    work(database_url, TinyEmbedder())
    assert texts(database_url) == expected
