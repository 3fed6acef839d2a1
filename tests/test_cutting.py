"""Chunking by a process beside the run: the same chunks, and nothing lost when it goes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

import pgrecall
from pgrecall import Collection, Document
from pgrecall.chunking import ChunkConfig, split
from pgrecall.cutting import Task, cut
from pgrecall.ingest import cutter
from pgrecall.ingest.cutter import Cutter, spare
from pgrecall.ingest.job import Group, Ingestion, Lane
from pgrecall.ingest.stages import identified
from pgrecall.load.pool import AVAILABLE
from pgrecall.tokens import open_tokenizer

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="processes of this kind need POSIX")

TEXTS = [
    Path(module.__file__ or "").read_text("utf-8")
    for module in (pgrecall, cutter, asyncio, subprocess)
]


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cutter]:
    """A process that is ready, and the spare one."""
    monkeypatch.setattr(cutter, "_cores", lambda: 2)
    monkeypatch.setattr(cutter, "LONG_RUN", 10**9)
    made = Cutter("wordllama")
    while not made.ready():
        time.sleep(0.01)
    spare.give(made)
    yield made
    spare.give(None)


def documents(count: int) -> Iterator[Document]:
    for n in range(count):
        yield Document(uri=f"d{n}.py", text=f"# {n}\n{TEXTS[n % len(TEXTS)]}", title=f"Title {n}")


def stored(docs: Collection) -> list[tuple[object, ...]]:
    with docs._session.connection() as connection:
        return connection.execute(
            "SELECT uri, ordinal, start_offset, end_offset, header, content, content_hash, token_count,"
            " embedding::text FROM pgrecall.chunks WHERE generation_id = %s ORDER BY uri, ordinal",
            [docs._target.generation.generation_id],
        ).fetchall()


@pytest.mark.parametrize("tokenizer", cutter.SHIPPED)
@pytest.mark.parametrize("text", ["", " \n", "A word.", "half a pair \ud800, and on", *TEXTS[:2]])
def test_what_passes_is_what_split_makes(tokenizer: str, text: str) -> None:
    config = ChunkConfig(max_tokens=64, overlap_tokens=8, min_tokens=8)
    task = Task(
        text=text, tokenizer=tokenizer, config=config, markup="code", title="T", token_ids=True
    )
    expected = split(
        text, config, tokenizer=open_tokenizer(tokenizer), markup="code", title="T", token_ids=True
    )
    made = cut(task).chunks(text)
    assert made == expected
    for one, two in zip(made, expected, strict=True):
        ids = [None if c.token_ids is None else c.token_ids.tolist() for c in (one, two)]
        assert ids[0] == ids[1]


def test_a_run_is_the_same_with_it(database_url: str, other: Cutter) -> None:
    with pgrecall.connect(database_url) as db:
        with_it = db.create_collection("with")
        report = with_it.ingest(documents(50))
        assert not report.failed
        assert other.answered > 50
        assert spare.take("wordllama") is other, "the run gives it back"
        without = db.create_collection("without")
        assert without.ingest(documents(50)).chunks == report.chunks
        assert stored(with_it) == stored(without)
        other.close()


def test_awaited_too(database_url: str, other: Cutter) -> None:
    async def take_in() -> int:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs")
            return (await docs.ingest(documents(80))).chunks

    chunks = asyncio.run(take_in())
    assert chunks == sum(
        len(split(d.text, tokenizer=open_tokenizer("wordllama"), markup="code", title=d.title))
        for d in documents(80)
    )
    assert other.answered > 80


def test_a_killed_one_loses_nothing(database_url: str, other: Cutter) -> None:
    def kill_half_way() -> Iterator[Document]:
        for n, document in enumerate(documents(120)):
            if n == 70:
                os.kill(other._process.pid, signal.SIGKILL)
            yield document

    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs")
        report = docs.ingest(kill_half_way())
        assert (report.new, report.failed) == (120, [])
        assert other.answered > 0
        assert spare.take("wordllama") is None
        whole = db.create_collection("whole")
        whole.ingest(documents(120))
        assert stored(docs) == stored(whole)


def test_one_that_is_still_starting_is_kept(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutter, "_cores", lambda: 2)
    monkeypatch.setattr(cutter, "LONG_RUN", 0)
    with pgrecall.connect(database_url) as db:
        assert db.create_collection("docs").ingest(documents(2)).new == 2
    kept = spare.take("wordllama")
    assert kept is not None
    while not kept.ready():
        time.sleep(0.01)
    kept.close()


def test_what_was_added_before_it_had_started_is_handed_over(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cutter, "_cores", lambda: 2)
    with pgrecall.connect(database_url) as db:
        target = db.create_collection("docs")._target
        job = Ingestion(lane=Lane(target.generation, target.embedder_of(target.generation)))
        waiting = [identified(target.generation, document) for document in documents(20)]
        texts = [item.document.text for item in waiting]
        monkeypatch.setattr(cutter, "LONG_RUN", sum(map(len, texts)))
        with closing(cutter.Cutting(job)) as cutting:
            cutting.add(waiting)
            assert cutting._cutter is not None
            while not cutting._cutter.ready():
                time.sleep(0.01)
            before = cutting._cutter.answered
            group = Group()
            while cutting.fill(group, last=True):
                group = Group()
            assert cutting._cutter.answered - before == 20
            # In order: each has the chunks of its own text.
            assert [item.chunks[-1].end for item in waiting] == [
                len(text.rstrip()) for text in texts
            ]
    spare.give(None)


def test_a_spare_one_that_has_gone_is_not_taken(other: Cutter) -> None:
    os.kill(other._process.pid, signal.SIGKILL)
    other._process.wait(10)
    assert spare.take("wordllama") is None


def test_it_ends_with_the_process_that_it_works_for() -> None:
    program = (
        "import os, signal\nfrom pgrecall.ingest.cutter import Cutter\n"
        "cutter = Cutter('wordllama')\nprint(cutter._process.pid, flush=True)\n"
        "while not cutter.ready(): pass\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while psutil.pid_exists(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not psutil.pid_exists(int(done.stdout))


def test_a_forked_process_leaves_it_to_its_parent() -> None:
    program = """
import os
from pgrecall.cutting import Task
from pgrecall.ingest.cutter import Cutter, spare
from pgrecall.ingest.job import Group, Ingestion, Lane
from pgrecall.ingest.stages import identified
cutter = Cutter("wordllama")
while not cutter.ready():
    pass
spare.give(cutter)
pid = os.fork()
if pid == 0:
    assert spare.take("wordllama") is None
    raise SystemExit
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert spare.take("wordllama") is cutter
cutter.give(Task(text="Still there.", tokenizer="wordllama"))
assert cutter.take().chunks("Still there.")[0].content == "Still there."
cutter.close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
