"""Generations: another model or other chunks are built beside what is searched, activated, and taken back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Database, Document, errors
from pgrecall.evaluate.questions import JudgedQuestion, read_questions
from pgrecall.flow import run
from pgrecall.retrieve import search_in
from pgrecall.store.generations import building
from pgrecall.store.prepared import LONG
from pgrecall.store.search import Query, explain
from tests.embedders import DeadEmbedder, PoisonedEmbedder, TinyEmbedder
from tests.openai_server import Fault, OpenAIServer
from tests.test_pay_once import TINY, long_text
from tests.test_pay_together import Held

SMALL = pgrecall.ChunkConfig(max_tokens=24, overlap_tokens=6, min_tokens=4)
LARGE = pgrecall.ChunkConfig(max_tokens=64, overlap_tokens=6, min_tokens=4)


def document(n: int, word: str = "tide") -> Document:
    text = "\n\n".join(
        f"Part {part} of place{n} says that the {word} number {part * n} rises twice."
        for part in range(6)
    )
    return Document(uri=f"d{n:03}", text=text, metadata={"n": n})


@pytest.fixture
def docs(db: Database) -> Collection:
    made = db.create_collection("docs", embedder=TinyEmbedder(), chunking=SMALL)
    made.ingest([document(n) for n in range(20)])
    return made


def other(name: str = "other", dimensions: int = 48) -> TinyEmbedder:
    return TinyEmbedder(dimensions, name)


def states(docs: Collection) -> list[tuple[str, str, int]]:
    return [(item.state, item.embedder, item.lacking) for item in docs.generations()]


def assert_consistent(url: str) -> None:
    """Generations that documents name hold all of their chunks, of this version, and no others hold any."""
    with psycopg.connect(url) as connection:
        (wrong,) = connection.execute(
            """
            SELECT count(*) FROM pgrecall.chunks AS c
              JOIN pgrecall.documents AS d USING (tenant_id, document_id)
             WHERE substr(d.text, c.start_offset + 1, c.end_offset - c.start_offset) <> c.content
                OR NOT d.generations @> ARRAY[c.generation_id]
            """
        ).fetchone() or (None,)
        (bare,) = connection.execute(
            """
            SELECT count(*) FROM pgrecall.documents AS d, unnest(d.generations) AS g (number)
             WHERE EXISTS (SELECT FROM pgrecall.generations WHERE generation_id = number)
               AND NOT EXISTS (SELECT FROM pgrecall.chunks AS c
                                WHERE c.generation_id = number AND c.tenant_id = d.tenant_id
                                  AND c.document_id = d.document_id AND c.start_offset = 0)
            """
        ).fetchone() or (None,)
    assert (wrong, bare) == (0, 0)


def test_another_model_and_other_chunks(docs: Collection, database_url: str) -> None:
    embedder = other()
    before = docs.search("place7 tide", k=1)[0]
    report = docs.reindex(embedder=embedder, chunking=LARGE)
    assert (report.documents, report.lacking, report.failed) == (20, 20, [])
    assert report.embedded == report.chunks > 0
    assert states(docs) == [("active", "tiny", 0), ("building", "other", 0)]
    # Nothing has changed for searches.
    assert docs.search("place7 tide", k=1)[0] == before
    docs.activate()
    assert (docs.embedder_name, docs.dimensions) == ("other", 48)
    hit = docs.search("place7 tide", k=1)[0]
    assert hit.uri == before.uri
    assert hit.end - hit.start > before.end - before.start
    assert states(docs) == [("retired", "tiny", 0), ("active", "other", 0)]
    assert_consistent(database_url)


def test_every_process_follows_the_switch(docs: Collection, database_url: str) -> None:
    theirs = TinyEmbedder()
    with pgrecall.connect(database_url) as elsewhere:
        reader = elsewhere.collection("docs", embedder=theirs)
        assert reader.search("tide", k=3)
        docs.reindex(chunking=LARGE)
        docs.activate()
        assert reader.search("place3 tide", k=1)[0].uri == "d003"
        assert reader.status().chunks == docs.status().chunks
        docs.reindex(embedder=other())
        docs.activate()
        # They cannot know what "other" is; words alone can still be searched.
        with pytest.raises(errors.InvalidArgument, match=r"other.*embedder=\.\.\."):
            reader.search("tide", k=3)
        assert reader.search("tide", k=3, mode="text")


def test_what_is_explained_is_the_generation_that_was_searched(docs: Collection) -> None:
    docs.reindex(embedder=other())
    searched = docs._target.generation
    (new,) = run(building(searched.collection_id), docs._session)
    flow = search_in(docs._target, new, ["tide"], {"explain": True})
    stages = run(flow, docs._session).explanation
    assert [stage.arm for stage in stages] == ["vector", "text"]
    docs.activate()
    # Whoever searched before the switch searches again.
    with pytest.raises(errors.GenerationChanged):
        run(explain(searched, Query(text="tide", mode="text")), docs._session)


def test_a_model_of_which_there_is_no_key_is_named(docs: Collection, database_url: str) -> None:
    with OpenAIServer() as server:
        model = pgrecall.open_embedder(
            "openai:text-embedding-3-small@64", base_url=server.url, api_key="k"
        )
        docs.reindex(embedder=model)
        docs.activate()
    with pgrecall.connect(database_url) as elsewhere, pytest.raises(errors.CredentialsMissing):
        elsewhere.collection("docs").search("tide")


def test_what_is_written_meanwhile_reaches_both(docs: Collection, database_url: str) -> None:
    docs.reindex(embedder=other())
    docs.ingest([document(3, "changed"), document(50), document(51)])
    assert docs.delete("d004") == 1
    assert states(docs) == [("active", "tiny", 0), ("building", "other", 0)]
    assert_consistent(database_url)
    docs.activate()
    assert "changed" in docs.search("place3 changed", k=1)[0].text
    assert {docs.search(f"place{n}", k=1)[0].uri for n in (50, 51)} == {"d050", "d051"}
    assert not docs.search("place4", where={"n": 4})
    assert docs.status().documents == 21


def test_a_new_model_that_fails_holds_nobody_up(docs: Collection, db: Database) -> None:
    docs.reindex(embedder=other())
    # A process that does not have the new embedder goes on without it, and so does one whose is down.
    stranger = db.collection("docs", embedder=TinyEmbedder())
    assert stranger.ingest(document(60)).new == 1
    docs._target.know(DeadEmbedder(48, "other"))
    assert docs.ingest([document(61), document(62)]).new == 2
    assert states(docs) == [("active", "tiny", 0), ("building", "other", 3)]
    good = other()
    docs._target.know(good)
    docs.activate()
    assert len(good.seen) > 0
    assert docs.search("place61", k=1)[0].uri == "d061"


def test_rollback_keeps_what_changed_meanwhile(docs: Collection, database_url: str) -> None:
    docs.reindex(embedder=other(), chunking=LARGE)
    docs.activate()
    docs.ingest([document(2, "moon"), document(70)])
    docs.delete("d005")
    assert states(docs) == [("retired", "tiny", 2), ("active", "other", 0)]
    old = TinyEmbedder()
    docs._target.know(old)
    docs.rollback()
    # Only what changed was embedded again.
    assert {word for text in old.seen for word in text.split() if "place" in word} == {
        "place2",
        "place70",
    }
    assert states(docs) == [("active", "tiny", 0), ("retired", "other", 0)]
    assert "moon" in docs.search("place2 moon", k=1)[0].text
    assert docs.search("place70", k=1)[0].uri == "d070"
    assert_consistent(database_url)
    docs.rollback()
    assert docs.embedder_name == "other"


def test_a_forced_rollback_goes_without_what_changed(docs: Collection, database_url: str) -> None:
    docs.reindex(embedder=other())
    docs.activate()
    docs.ingest([document(2, "moon")])
    docs._target.know(DeadEmbedder())
    with pytest.raises(errors.GenerationIncomplete, match="d002: The provider is down"):
        docs.rollback()
    assert states(docs) == [("retired", "tiny", 1), ("active", "other", 0)]
    docs.rollback(force=True)
    assert states(docs) == [("active", "tiny", 1), ("retired", "other", 0)]
    docs._target.know(TinyEmbedder())
    assert not docs.search("place2", where={"n": 2})
    # The same document again, though it is unchanged; reindexing would do it as well.
    assert docs.ingest([document(2, "moon")]).unchanged == 0
    assert "moon" in docs.search("place2 moon", k=1)[0].text
    assert_consistent(database_url)


def test_reindexing_completes_the_active_generation(docs: Collection) -> None:
    docs.reindex(embedder=other())
    docs.activate()
    docs.ingest([document(2, "moon")])
    docs.rollback(force=True)
    assert docs.reindex().documents == 1
    assert states(docs)[0] == ("active", "tiny", 0)
    with pytest.raises(errors.InvalidArgument, match="already"):
        docs.reindex()


def test_documents_that_the_new_model_refuses(docs: Collection) -> None:
    docs.ingest(Document(uri="bad", text="a poison that the new model does not take"))
    picky = PoisonedEmbedder(errors.InvalidArgument("not that"))
    picky.name = "picky"
    report = docs.reindex(embedder=picky)
    assert [failure.uri for failure in report.failed] == ["bad"]
    assert report.documents == 20
    # The version that is searched is as good as before.
    assert docs.status().failed == 0
    with pytest.raises(errors.GenerationIncomplete, match=r"documents, 1 of them \(bad: not that"):
        docs.activate()
    assert docs.embedder_name == "tiny"
    docs.activate(force=True)
    assert states(docs)[1] == ("active", "picky", 1)
    assert docs.search("tide", k=5)


def test_one_generation_is_built_at_a_time(docs: Collection) -> None:
    number = docs.reindex(embedder=other()).generation_id
    with pytest.raises(errors.InvalidArgument, match="being built"):
        docs.reindex(embedder=other("third"))
    assert docs.reindex(embedder=other()).documents == 0
    assert docs.drop_generation(number) == [number]
    docs.reindex(embedder=other("third"))
    with pytest.raises(errors.InvalidArgument, match="searched in"):
        docs.drop_generation(docs.generations()[0].generation_id)
    with pytest.raises(errors.GenerationNotFound):
        docs.drop_generation(number)
    with pytest.raises(errors.InvalidArgument, match="max_tokens"):
        docs.reindex(chunking=pgrecall.ChunkConfig(max_tokens=10_000))


def test_nothing_to_activate_or_to_go_back_to(docs: Collection) -> None:
    for impossible in (docs.activate, docs.rollback, docs.compare):
        with pytest.raises(errors.GenerationNotFound):
            impossible()


def test_drop_does_not_hold_searches_up(docs: Collection, database_url: str) -> None:
    docs.reindex(chunking=LARGE)
    docs.activate()
    # Somebody reads chunks in a long transaction; the drop gives way to searches until that ends.
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT count(*) FROM pgrecall.chunks")
        dropping = threading.Thread(target=docs.drop_generation)
        dropping.start()
        slowest = 0.0
        for _ in range(10):
            began = time.monotonic()
            assert docs.search("tide", k=3, expand="neighbours")
            slowest = max(slowest, time.monotonic() - began)
            time.sleep(0.05)
        assert dropping.is_alive()
        assert slowest < 2
    dropping.join(30)
    assert [item.state for item in docs.generations()] == ["active"]
    with psycopg.connect(database_url) as connection:
        left = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relname LIKE 'chunks!_g%' ESCAPE '!' AND relkind = 'r'"
        ).fetchone()
    assert left == (1,)


def test_indexes_on_metadata_and_recall_come_along(docs: Collection, database_url: str) -> None:
    docs.index_metadata("n", type="int")
    docs.reindex(embedder=other())
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT tablename, count(*) FROM pg_indexes WHERE schemaname = 'pgrecall'"
            " AND indexname LIKE '%metadata!_%' ESCAPE '!' AND tablename LIKE 'chunks!_g%' ESCAPE '!'"
            " GROUP BY tablename ORDER BY tablename"
        ).fetchall()
    assert [count for _, count in found] == [1, 1]


def test_compare(docs: Collection, tmp_path: Path) -> None:
    docs.reindex(embedder=other(), chunking=LARGE)
    sampled = docs.compare(k=3)
    assert sampled.questions == 20 or sampled.questions == 50
    assert (sampled.judged, sampled.active.metrics) == (0, {})
    file = tmp_path / "queries.jsonl"
    file.write_text(
        'place3 tide\n\n{"question": "place5 tide", "relevant": ["d005"]}\n'
        '{"question": "place6", "relevant": {"d006": 2, "d001": 0}}\n'
    )
    found = docs.compare(read_questions(file), k=3, mode="text")
    assert (found.questions, found.judged, found.k) == (3, 2, 3)
    assert found.active.embedder == "tiny"
    assert found.candidate.embedder == "other"
    assert found.candidate.metrics == {"nDCG@3": 1.0, "R@3": 1.0, "RR@3": 1.0}
    assert found.same_first == 1
    assert 0 < found.overlap <= 1
    assert found.active.p50_ms > 0
    wrong = docs.compare([JudgedQuestion("place5", {"nowhere": 1})], k=3)
    assert (wrong.active.metrics["nDCG@3"], wrong.absent, found.absent) == (0, 1, 0)
    # Comparing is not searching: the collection still is in the old one.
    assert docs.embedder_name == "tiny"


def test_overlap_is_one_of_a_thing_with_itself(docs: Collection) -> None:
    docs.reindex(embedder=other(dimensions=32))  # the same vectors under another name
    found = docs.compare(["place3 tide", "place9"], k=5)
    assert (found.overlap, found.documents_overlap, found.same_first) == (1, 1, 1)
    assert found.differing == ()


@pytest.mark.parametrize("line", ["{", '{"asked": "x"}', '{"question": " "}', '{"question": 1}'])
def test_questions_that_cannot_be_read(tmp_path: Path, line: str) -> None:
    file = tmp_path / "q"
    file.write_text(f"fine\n{line}\n")
    with pytest.raises(errors.InvalidArgument, match=r"[Ll]ine 2"):
        read_questions(file)
    with pytest.raises(errors.UnreadableSource):
        read_questions(tmp_path / "absent")


def test_plan(docs: Collection, database_url: str) -> None:
    planned = docs.plan_reindex(embedder=other(), chunking=LARGE)
    assert [item.state for item in docs.generations()] == ["active"]
    report = docs.reindex(embedder=other(), chunking=LARGE)
    assert (planned.documents, planned.sampled) == (20, 20)
    assert (planned.chunks, planned.tokens) == (report.chunks, report.tokens)
    assert planned.cost is None
    assert docs.plan_reindex().documents == 0


def test_awaited(database_url: str) -> None:
    async def work() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder(), chunking=SMALL)
            await docs.ingest([document(n) for n in range(20)])
            assert (await docs.plan_reindex(embedder=other())).documents == 20
            assert (await docs.reindex(embedder=other())).documents == 20
            await docs.ingest([document(30)])
            assert (await docs.compare(["place3"], k=3)).questions == 1
            await docs.activate()
            assert docs.embedder_name == "other"
            assert (await docs.search("place30", k=1))[0].uri == "d030"
            await docs.rollback()
            assert (await docs.search("place30", k=1))[0].uri == "d030"
            assert [item.lacking for item in await docs.generations()] == [0, 0]
            assert len(await docs.drop_generation()) == 1

    asyncio.run(work())


@contextmanager
def busy(work: Callable[[], None], threads: int) -> Iterator[list[BaseException]]:
    """Run ``work`` again and again in threads; what went wrong."""
    failures: list[BaseException] = []
    stop = threading.Event()

    def loop() -> None:
        while not stop.is_set() and not failures:
            try:
                work()
            except BaseException as exc:
                failures.append(exc)

    running = [threading.Thread(target=loop) for _ in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield failures
    finally:
        stop.set()
        for thread in running:
            thread.join()


def test_searching_and_writing_while_the_generation_switches(
    docs: Collection, database_url: str
) -> None:
    docs.reindex(embedder=other(), chunking=LARGE)
    written = iter(range(100, 10_000))
    with pgrecall.connect(database_url) as elsewhere:
        reader = elsewhere.collection("docs", embedder=TinyEmbedder())
        reader._target.know(other())

        def search() -> None:
            hits = reader.search("place7 tide number 7", k=5)
            assert len(hits) == 5
            assert hits[0].uri == "d007"
            # All of one chunking: small chunks hold one part, large ones several.
            parts = {hit.text.count("Part") > 1 for hit in hits if hit.ordinal == 0}
            assert len(parts) <= 1
            # Vectors of one model: the same words would score otherwise.
            assert hits[0].vector_score is not None
            assert hits[0].vector_score > 0.3
            assert reader.search("place7", k=3, mode="text")[0].uri == "d007"
            assert reader.similar("d007", k=3)

        def write() -> None:
            n = next(written)
            assert docs.ingest([document(n), document(8, f"word{n}")]).failed == []

        with busy(search, 2) as failures, busy(write, 1) as refused:
            docs.activate()
            for _ in range(19):
                time.sleep(0.02)
                docs.rollback()
        assert failures == []
        assert refused == []
    assert docs.generations()[0].state == "active"
    assert_consistent(database_url)
    assert docs.generations()[0].lacking == 0


def test_a_run_that_meets_a_switch_goes_on_in_the_new_generation(
    docs: Collection, db: Database, database_url: str
) -> None:
    docs.reindex(embedder=other())
    operator = db.collection("docs", embedder=TinyEmbedder())
    operator._target.know(other())

    def sources() -> Iterator[Document]:
        for n in range(200, 400):
            if n == 300:
                operator.activate()
            yield document(n)

    report = docs.ingest(sources())
    assert (report.new, report.failed) == (200, [])
    assert [lacking for state, _, lacking in states(docs) if state == "active"] == [0]
    assert docs.search("place399", k=1)[0].uri == "d399"
    assert_consistent(database_url)


def contents(url: str, generation: int) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT DISTINCT content FROM pgrecall.chunks WHERE generation_id = %s", [generation]
        ).fetchall()
    return {content for (content,) in rows}


CHILD = """
import os, pgrecall
with pgrecall.connect(os.environ["PGRECALL_DATABASE_URL"]) as db:
    db.collection("docs").reindex(embedder="openai:text-embedding-3-small@64")
"""


def test_a_document_that_becomes_a_long_one_by_the_switch(db: Database) -> None:
    """Its vectors are then elsewhere than those that it had."""
    embedder = Held()
    embedder.may.set()
    docs = db.create_collection("docs", embedder=embedder, chunking=LARGE)
    docs.ingest(document(0))
    embedder.asked.clear()
    embedder.may.clear()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(docs.ingest, Document(uri="long", text=long_text(600)))
        assert embedder.asked.wait(20)
        same = db.collection("docs", embedder=TinyEmbedder())
        same.reindex(chunking=TINY)
        same.activate()
        embedder.may.set()
        report = run.result(30)
    assert (report.new, report.failed) == (1, [])
    assert report.chunks > LONG
    assert db.verify().healthy


def test_killed_and_gone_on_with(docs: Collection, database_url: str) -> None:
    docs.ingest([document(n) for n in range(20, 240)])
    with OpenAIServer() as server:
        environment = {
            **os.environ,
            "PGRECALL_DATABASE_URL": database_url,
            "OPENAI_BASE_URL": server.url,
            "OPENAI_API_KEY": "k",
        }

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, "-c", CHILD], env=environment)

        process = start()
        until = time.monotonic() + 60
        server.faults += [Fault(delay=0.2)] * 50
        while [item.documents for item in docs.generations()][1:] < [64]:
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert_consistent(database_url)
        done = docs.generations()[1]
        assert (done.state, done.indexed) == ("building", False)
        assert 64 <= done.documents < 240
        server.faults.clear()
        paid, there = len(server.requests), contents(database_url, done.generation_id)
        assert start().wait(60) == 0
        texts = [text for request in server.requests[paid:] for text in request.body["input"]]
    # Nothing that was written is embedded again, and everything else once.
    assert there
    assert not there & set(texts)
    assert there | set(texts) == contents(database_url, done.generation_id)
    assert states(docs)[1] == ("building", "openai:text-embedding-3-small@64", 0)
    assert_consistent(database_url)


def test_what_is_spent_on_it_is_on_record(
    docs: Collection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        report = docs.reindex(embedder="openai:text-embedding-3-small@64")
        docs.ingest([document(70)])
        branch, ingested, filled, _ = docs.runs()
    assert (filled.kind, filled.by_worker, filled.state) == ("reindex", False, "done")
    assert (filled.new, filled.chunks, filled.tokens) == (20, report.chunks, report.tokens)
    assert filled.cost == pytest.approx(report.tokens * 0.02 / 1e6) == report.cost
    assert (ingested.kind, ingested.new, ingested.cost) == ("ingest", 1, None)
    # What an ingestion embeds for the generation that is being built.
    assert (branch.kind, branch.embedder, branch.chunks) == ("reindex", filled.embedder, 0)
    assert branch.tokens > 0
    assert branch.cost


def test_a_model_that_takes_less_gets_smaller_chunks(docs: Collection) -> None:
    narrow = other("narrow")
    narrow.max_tokens = 20
    with pytest.raises(errors.InvalidArgument, match="takes at most 20 tokens"):
        docs.plan_reindex(embedder=narrow, chunking=SMALL)
    docs.reindex(embedder=narrow)
    docs.activate()
    (active,) = [item for item in docs.generations() if item.state == "active"]
    assert active.chunking["max_tokens"] == 20
    assert docs.status().documents == 20
