"""No text is embedded twice: across edits, names, collections, failures and killed runs."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

import pgrecall
from pgrecall import Database, Document, errors
from pgrecall.chunking import ChunkConfig
from pgrecall.embed import open_embedder
from pgrecall.embed.remote import RemoteEmbedder
from pgrecall.store.prepared import LONG
from pgrecall.types import FloatArray
from tests.acceptance.conftest import assert_whole, command
from tests.driving import go
from tests.embedders import CarelessEmbedder, TinyEmbedder
from tests.openai_server import Fault, OpenAIServer
from tests.test_api import SMALL, paragraphs, rows
from tests.unit.test_chunking_edits import changed, deleted, document, inserted

TINY = ChunkConfig(max_tokens=16, overlap_tokens=0, min_tokens=1)


def waiting(url: str) -> int:
    """Vectors that wait for their document."""
    return int(rows(url, "SELECT count(*) FROM pgrecall.paid_vectors")[0][0])


def twice(embedder: TinyEmbedder) -> list[str]:
    return [text for text, count in Counter(embedder.seen).items() if count > 1]


def long_text(words: int = LONG, name: str = "w") -> str:
    return "\n\n".join(f"{name}{n} x{n} y{n} z{n} boat{n} mast{n}" for n in range(words))


def test_other_names_and_other_collections(db: Database) -> None:
    embedder, text = TinyEmbedder(), paragraphs(20)
    first = db.create_collection("first", embedder=embedder, chunking=SMALL)
    first.ingest(Document(uri="a", text=text, title="Log"))
    seen = len(embedder.seen)
    copies = [Document(uri=f"copy{n}", text=text, title="Log", tenant_id=f"t{n}") for n in range(3)]
    assert first.ingest(copies).embedded == 0
    first.delete(["a", "copy0", "copy1"])
    assert first.ingest(Document(uri="renamed", text=text, title="Log")).embedded == 0
    # Another object of the same name is the same embedder.
    other = db.create_collection("other", embedder=TinyEmbedder(), chunking=SMALL)
    report = other.ingest(Document(uri="a", text=text, title="Log"))
    assert (report.embedded, report.reused) == (0, report.chunks)
    assert len(embedder.seen) == seen
    # Of another name or length, nothing is the same.
    for stranger in (TinyEmbedder(name="stranger"), TinyEmbedder(dimensions=16)):
        docs = db.create_collection(f"{stranger.name}{stranger.dimensions}", embedder=stranger)
        assert docs.ingest(Document(uri="a", text=text, title="Log")).embedded > 0
    db.drop_collection("first")
    assert other.search("tide")


def test_looking_through_collections_that_are_dropped_this_moment(
    db: Database, database_url: str
) -> None:
    note = Document(uri="a", text="The tide turns.")
    for name in ("first", "second"):
        db.create_collection(name, embedder=TinyEmbedder()).ingest(note)
    third = db.create_collection("third", embedder=TinyEmbedder())
    with psycopg.connect(database_url) as connection, ThreadPoolExecutor() as pool:
        connection.execute("SELECT")  # a transaction is open from here on
        with pgrecall.connect(connection) as lent:
            lent.drop_collection("first")
            lent.drop_collection("second")
        report = pool.submit(third.ingest, note)
        while not rows(database_url, "SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert not report.done()
            time.sleep(0.02)
        connection.commit()
        assert report.result().new == 1


def test_equal_texts_of_one_run(db: Database) -> None:
    """They stand in groups of which none is written when the next is embedded."""
    embedder = TinyEmbedder()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    text = "\n\n".join(f"boat {n} mast {n} sail {n}" for n in range(400))
    report = docs.ingest([Document(uri=f"d{n}", text=text) for n in range(5)])
    assert report.embedded == len(embedder.seen)
    assert twice(embedder) == []


def test_a_long_document_waits_in_parts_and_leaves_nothing_behind(db: Database) -> None:
    embedder = TinyEmbedder()
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    report = docs.ingest(Document(uri="long", text=long_text()))
    assert report.chunks > 2 * LONG
    assert report.embedded == len(set(embedder.seen)) == len(embedder.seen)
    assert waiting(db.url) == 0
    assert assert_whole(db.url) == 1
    changed = docs.ingest(Document(uri="long", text=long_text().replace("boat300 ", "ship ")))
    # Its own chunks, of 16 tokens, and those whose cuts moved.
    assert 1 <= changed.embedded <= 10
    assert waiting(db.url) == 0
    assert docs.search("ship", k=1, mode="text")[0].text.count("ship") == 1
    assert db.verify().healthy


class Failing(TinyEmbedder):
    """Answers so many texts, then fails; ``hands_over``: with what it has answered."""

    def __init__(self, answers: int, *, hands_over: bool = True) -> None:
        super().__init__()
        self.left, self.hands_over = answers, hands_over

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        vectors = super().embed_documents(texts[: self.left])
        if len(texts) > self.left:
            answered = dict(enumerate(vectors)) if self.hands_over else None
            self.left = 0
            raise errors.EmbeddingError("Too much.", answered=answered)
        self.left -= len(texts)
        return vectors


@pytest.mark.parametrize("size", [100, LONG], ids=["short", "long"])
def test_what_was_answered_before_a_failure_is_kept(db: Database, size: int) -> None:
    embedder = Failing(answers=size * 2 // 3)
    docs = db.create_collection("docs", embedder=embedder, chunking=TINY)
    document = Document(uri="d", text=long_text(size))
    report = docs.ingest(document)
    assert [failure.reason for failure in report.failed] == ["Too much."]
    assert waiting(db.url) == report.embedded == size * 2 // 3
    embedder.left = 10**6
    again = docs.ingest(document)
    assert (again.new, again.embedded) == (1, again.chunks - report.embedded)
    assert twice(embedder) == []
    assert waiting(db.url) == 0


def test_answers_beside_one_that_cannot_be_stored_are_kept(db: Database) -> None:
    embedder = CarelessEmbedder(float("nan"))
    docs = db.create_collection("docs", embedder=embedder)
    texts = [*(f"tide {n}" for n in range(9)), "careless tide"]
    report = docs.ingest([Document(uri=text, text=text) for text in texts])
    assert [failure.uri for failure in report.failed] == ["careless tide"]
    assert twice(embedder) == ["careless tide"]
    assert waiting(db.url) == 0


def test_requests_that_were_answered_are_handed_over() -> None:
    with OpenAIServer() as server:
        server.faults += [None, Fault(status=403)]
        embedder = open_embedder("openai:any@48", base_url=server.url, api_key="k", concurrency=1)
        texts = [f"text {n}" for n in range(2500)]
        with pytest.raises(errors.EmbeddingError) as caught:
            embedder.embed_documents(texts)
        assert sorted(caught.value.answered) == list(range(2048))
        again = embedder.embed_documents(texts[100:101])
        assert caught.value.answered[100] == pytest.approx(again[0], abs=1e-6)


def test_vectors_of_a_document_that_cannot_be_written_wait(db: Database) -> None:
    embedder = TinyEmbedder()
    docs = db.create_collection("docs", embedder=embedder, chunking=SMALL)
    text = paragraphs(20)
    report = docs.ingest(Document(uri="d", text=text, language="klingon"))
    assert len(report.failed) == 1
    assert waiting(db.url) == len(embedder.seen) > 0
    assert docs.ingest(Document(uri="d", text=text)).embedded == 0
    assert waiting(db.url) == 0


class Slow(TinyEmbedder):
    """Another model, which is awaited, and waits for ``may``."""

    def __init__(self) -> None:
        super().__init__(name="slow")
        self.asked, self.may = asyncio.Event(), asyncio.Event()

    async def embed_documents_async(self, texts: Sequence[str]) -> FloatArray:
        self.asked.set()
        await self.may.wait()
        return self.embed_documents(texts)

    async def embed_query_async(self, text: str) -> FloatArray:
        return self.embed_query(text)


def test_a_run_that_breaks_off_keeps_what_it_has_for_a_generation_that_is_built(
    database_url: str,
) -> None:
    documents = [Document(uri=f"d{n}", text=long_text(60, f"n{n}w")) for n in range(4)]

    async def main() -> None:
        embedder, newer = TinyEmbedder(), TinyEmbedder(name="newer")
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=embedder, chunking=TINY)
            await docs.ingest([Document(uri=f"d{n}", text="old") for n in range(4)])
            await docs.reindex(embedder=newer)
            with psycopg.connect(database_url) as mine:
                mine.execute("SELECT FROM pgrecall.documents FOR UPDATE")
                everything = 1 + (await docs.plan(documents)).embedded
                run = asyncio.create_task(docs.ingest(documents))
                while len(newer.seen) < everything:
                    await asyncio.sleep(0.01)
                # Its last call is answered by then, and what it was for waits for a writer.
                await asyncio.sleep(0.5)
                run.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await run
                mine.rollback()
            assert (await docs.ingest(documents)).changed == 4
            assert twice(embedder) == twice(newer) == []
            assert waiting(database_url) == 0

    go(main())


def test_a_run_that_is_cancelled_keeps_what_was_answered(database_url: str) -> None:
    document = Document(uri="d", text=long_text(150))

    async def main(server: OpenAIServer) -> None:
        embedder = open_embedder("openai:any@48", base_url=server.url, api_key="k")
        assert isinstance(embedder, RemoteEmbedder)
        async with embedder, pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=embedder, chunking=TINY)
            server.faults += [None, None, Fault(delay=2)]
            run = asyncio.create_task(docs.ingest(document))
            while len(server.requests) < 3:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            run.cancel()
            with pytest.raises(asyncio.CancelledError):
                await run
            first = {text for request in server.requests[:2] for text in request.body["input"]}
            (interrupted,) = await db.runs()
            assert interrupted.state == "interrupted"
            assert interrupted.embedded == waiting(database_url) == len(first) > 200
            server.requests.clear()
            report = await docs.ingest(document)
            assert first.isdisjoint(asked(server))
            assert report.embedded + len(first) == report.chunks
            assert waiting(database_url) == 0

    with OpenAIServer() as server:
        go(main(server))


def test_a_worker_that_stops_keeps_what_it_has_embedded(database_url: str) -> None:
    """It waits for the model of a generation that is being built."""
    options = pgrecall.WorkerOptions(drain=True, grace=0.1)

    async def main() -> None:
        embedder, slow, stop = TinyEmbedder(), Slow(), asyncio.Event()
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=embedder, chunking=TINY)
            await docs.reindex(embedder=slow)
            await docs.enqueue(Document(uri="d", text=long_text(100)))
            working = asyncio.create_task(db.work(options, embedders=[embedder, slow], stop=stop))
            await slow.asked.wait()
            stop.set()
            await working
            assert waiting(database_url) == len(embedder.seen) > 0
            slow.may.set()
            await db.work(options, embedders=[embedder, slow])
            assert (await docs.status()).documents == 1
            assert twice(embedder) == twice(slow) == []
            assert waiting(database_url) == 0

    go(main())


def killed(url: str, tree: Path, server: OpenAIServer, done: Callable[[], bool]) -> None:
    """Ingest the folder until ``done``, then kill -9."""
    process = subprocess.Popen(ingest(tree), env=environment(url, server))
    until = time.monotonic() + 60
    while not done():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def ingest(tree: Path) -> list[str]:
    given = (
        "--quiet",
        "--embedder",
        "openai:any@48",
        "--chunk-tokens",
        "64",
        "--chunk-overlap",
        "0",
    )
    return command("ingest", tree, *given)


def environment(url: str, server: OpenAIServer) -> Mapping[str, str]:
    mine = {"PGRECALL_DATABASE_URL": url, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "k"}
    return {**os.environ, **mine}


EMBEDDED = "SELECT CASE header WHEN '' THEN '' ELSE header || E'\\n\\n' END || content FROM pgrecall.chunks"


def asked(server: OpenAIServer) -> list[str]:
    return [text for request in server.requests for text in request.body["input"]]


@pytest.mark.parametrize("documents", [120, 1], ids=["many", "long"])
def test_a_run_that_is_killed_half_way_pays_for_nothing_again_that_was_stored(
    database_url: str, tmp_path: Path, documents: int
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for n in range(documents):
        (tree / f"{n}.txt").write_text(long_text(5000 // documents, f"n{n}w"))
    stored = "SELECT content_hash FROM pgrecall.chunks UNION SELECT content_hash FROM pgrecall.paid_vectors"
    with OpenAIServer() as server:
        server.faults += [Fault(delay=0.3)] * 100
        killed(database_url, tree, server, lambda: len(rows(database_url, stored)) >= 900)
        kept = len(rows(database_url, stored))
        first = asked(server)
        server.requests.clear()
        server.faults.clear()
        subprocess.run(ingest(tree), env=environment(database_url, server), check=True)
        second = asked(server)
    # Not the questions that measure the index.
    texts = {row[0] for row in rows(database_url, EMBEDDED)}
    total, second = len(texts), [text for text in second if text in texts]
    assert 900 <= kept < total
    assert len(second) == len(set(second)) == total - kept
    # What was under way when it was killed, at most.
    assert len(set(first) & set(second)) == len(first) - kept <= 8 * LONG
    assert waiting(database_url) == 0
    assert assert_whole(database_url) == documents


def test_ctrl_c_while_requests_wait_for_a_limit_ends_the_run_and_keeps_what_was_answered(
    database_url: str, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for n in range(30):
        (tree / f"{n}.txt").write_text(long_text(5000 // 30, f"n{n}w"))
    with OpenAIServer() as server:
        limited = [*ingest(tree), "--embedder", "openai:any@48?tpm=12000"]
        process = subprocess.Popen(limited, env=environment(database_url, server))
        until = time.monotonic() + 60
        while not server.requests:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130, "the others would be sent in a minute, and the next one"
        first = asked(server)
        server.requests.clear()
        subprocess.run(ingest(tree), env=environment(database_url, server), check=True)
        second = asked(server)
    assert first
    assert not set(first) & set(second)
    ((chunks, tokens),) = rows(
        database_url, "SELECT embedded, tokens FROM pgrecall.runs ORDER BY run_id LIMIT 1"
    )
    assert chunks == len(first)
    assert 0 < tokens <= 12_000
    assert waiting(database_url) == 0
    assert assert_whole(database_url) == 30


@pytest.mark.parametrize("markup", ["markdown", "plain"])
def test_one_edited_paragraph_embeds_four_chunks_at_most(db: Database, markup: str) -> None:
    """Wherever it stands in a document of two hundred chunks."""
    rng = random.Random(markup)
    docs = db.create_collection("docs", embedder=TinyEmbedder())
    text = document(rng, "markdown" if markup == "markdown" else "plain")
    uri = "log.md" if markup == "markdown" else "log.txt"
    assert 150 < docs.ingest(Document(uri=uri, text="\n\n".join(text), title="Log")).chunks < 350
    bodies = [n for n, part in enumerate(text) if not part.startswith("#")]
    for at in [bodies[0], bodies[-1], *rng.sample(bodies, 2)]:
        for edit in (changed, inserted, deleted):
            edited = "\n\n".join(edit(text, at, rng))
            report = docs.ingest(Document(uri=uri, text=edited, title="Log"))
            assert (report.changed, len(report.failed)) == (1, 0)
            assert report.embedded <= 4, f"{edit.__name__} {at}"
            docs.ingest(Document(uri=uri, text="\n\n".join(text), title="Log"))
