"""Generations filled by workers as processes, one of them killed, while documents are written."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import pgrecall
from pgrecall import Document
from tests.acceptance.conftest import Cli, lines
from tests.acceptance.test_workers import LIVELY, value, wait_until, workers
from tests.openai_server import Fault, OpenAIServer
from tests.test_reindex import assert_consistent

MODEL = "openai:any@48"
FILLED = "SELECT count(*) FROM pgrecall.documents WHERE 2 = ANY(generations)"
OVER = "SELECT count(*) = 0 FROM pgrecall.procrastinate_jobs"


def boat(number: int, fish: str = "herring") -> Document:
    text = "\n\n".join(
        f"Boat {number} came back on day {day} with {number * day % 89} baskets of {fish}."
        for day in range(1, 5)
    )
    return Document(uri=f"d{number}", text=text)


def test_two_workers_of_which_one_is_killed_while_documents_are_written(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OpenAIServer() as provider, pgrecall.connect(database_url) as db:
        provider.rule = lambda body: Fault(delay=0.3)
        environment = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": provider.url}
        chunks = pgrecall.ChunkConfig(max_tokens=32, overlap_tokens=4, min_tokens=4)
        docs = db.create_collection("docs", embedder="static", chunking=chunks)
        docs.ingest(map(boat, range(300)))
        with monkeypatch.context() as patch:
            for name, setting in environment.items():
                patch.setenv(name, setting)
            assert docs.enqueue_reindex(embedder=MODEL).documents == 300
        options = (*LIVELY, "--concurrency", "1", "--quiet")
        with workers(database_url, 2, *options, **environment) as processes:
            wait_until(lambda: value(database_url, FILLED) > 0)
            processes[0].kill()
            # Nobody here has a key, so these reach the active generation alone.
            docs.ingest([boat(7, "cod"), *map(boat, range(300, 340))])
            docs.delete("d8")
            found = docs.search("boat 299", k=1, mode="text")
            assert found[0].uri == "d299"
            wait_until(lambda: value(database_url, OVER), 90)
            processes[1].send_signal(signal.SIGTERM)
            assert processes[1].wait(20) == 0
        _, new = docs.generations()
        assert (new.documents, new.lacking, new.queued, new.failed) == (339, 0, 0, 0)
        assert new.indexed
        with monkeypatch.context() as patch:
            for name, setting in environment.items():
                patch.setenv(name, setting)
            docs.activate()
            assert docs.search("boat 7 cod", k=1, mode="text")[0].text.count("cod")
        states = {run.state for run in docs.runs() if run.by_worker}
        assert "done" in states
        assert states <= {"done", "running", "killed"}
    assert_consistent(database_url)


def test_the_commands(cli: Cli, tmp_path: Path) -> None:
    for number in range(3):
        weeks = (f"Olives of week {number + week} ripen after {week} days." for week in range(20))
        (tmp_path / f"{number}.md").write_text("# Olives\n\n" + "\n\n".join(weeks))
    assert cli("ingest", tmp_path).returncode == 0

    queued = cli("reindex", "default", "--chunk-tokens", "64", "--queue")
    assert queued.stdout == "generation 2 (static): 3 documents queued, in 1 batches\n"
    assert "No worker runs yet: `pgrecall worker` adds them." in queued.stderr
    (_, new) = lines(cli("reindex", "default", "--status", "--json"))
    assert (new["lacking"], new["queued"], new["failed"]) == (3, 3, 0)
    assert "0 documents, 3 lacking, 3 with workers, 0 failed" in cli("status").stdout
    refused = cli("reindex", "default", "--activate")
    assert refused.returncode == 1
    assert "Workers are to add 3 documents to generation 2 yet" in refused.stderr
    assert cli("reindex", "default", "--queue", "--activate").returncode == 2

    drained = cli("worker", "--drain")
    assert "default: 3 documents added to generation 2, " in drained.stderr
    assert "default: generation 2 is finished" in drained.stderr
    assert cli("reindex", "default", "--activate").returncode == 0
    assert "reindex, worker" in cli("status", "--runs").stdout
    (worked, _) = lines(cli("status", "--runs", "--json"))
    assert (worked["kind"], worked["by_worker"], worked["new"]) == ("reindex", True, 3)
    again = cli("reindex", "default", "--queue")
    assert again.returncode == 1
    assert "name another embedder" in again.stderr

    limited = cli("reindex", "default", "--chunk-tokens", "100", "--max-tokens", "1")
    assert limited.returncode == 1
    assert "The budget was used up: 3 documents are left" in limited.stderr
