"""Workers as processes: several at once, killed, stopped, and what they leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

import pgrecall
from pgrecall import Document
from tests.acceptance.conftest import Cli, assert_whole, command, lines
from tests.openai_server import Fault, OpenAIServer

#: Quick enough for a test: a worker is dead after two seconds of silence.
LIVELY = ("--heartbeat", "0.5", "--stalled-after", "2", "--backoff", "0.2")


def value(url: str, query: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def documents(url: str) -> int:
    return int(value(url, "SELECT count(*) FROM pgrecall.documents WHERE status = 'ready'"))


def wait_until(reached: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)


@contextmanager
def workers(
    url: str, count: int, *options: object, **environment: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """So many ``pgrecall worker``; those that are left are killed at the end."""
    started = [
        subprocess.Popen(
            command("worker", *options),
            env={**os.environ, "PGRECALL_DATABASE_URL": url, **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                process.kill()
            process.communicate()


def enqueue(url: str, count: int, embedder: str = "static") -> None:
    with pgrecall.connect(url) as db:
        docs = db.create_collection("docs", embedder=embedder)
        docs.enqueue(
            Document(uri=f"d{n}", text=f"Boat {n} came back with {n * 7 % 89} baskets of fish.")
            for n in range(count)
        )


def test_several_workers_and_one_that_is_killed(database_url: str) -> None:
    enqueue(database_url, 150)
    with workers(database_url, 3, *LIVELY, "--quiet") as processes:
        wait_until(lambda: documents(database_url) > 30)
        processes[0].kill()
        wait_until(lambda: documents(database_url) == 150)
        # Also what the dead one had in hand is finished, and the collection settled.
        wait_until(
            lambda: value(database_url, "SELECT count(*) = 0 FROM pgrecall.procrastinate_jobs")
        )
        for process in processes[1:]:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(20) for process in processes[1:]] == [0, 0]
    assert assert_whole(database_url) == 150
    assert value(database_url, "SELECT max(version) FROM pgrecall.documents") == 1
    with pgrecall.connect(database_url) as db:
        assert db.collection("docs").status().indexed
        assert db.collection("docs").search("boat 149", k=1, mode="text")[0].uri == "d149"


def test_a_killed_worker_is_taken_over_and_a_stopped_one_gives_back(database_url: str) -> None:
    with OpenAIServer() as provider:
        environment = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": provider.url}
        with pytest.MonkeyPatch.context() as patch:
            for name, setting in environment.items():
                patch.setenv(name, setting)
            enqueue(database_url, 8, "openai:any@48")
        provider.faults += [Fault(delay=30), Fault(delay=30)]

        with workers(database_url, 1, *LIVELY, **environment) as (killed,):
            wait_until(lambda: provider.requests)
            killed.kill()
            killed.wait()
        assert value(database_url, "SELECT count(*) FROM pgrecall.queue") == 8

        # Dead for two seconds, its documents go to the next one, which is stopped with them in hand.
        with workers(database_url, 1, *LIVELY, "--grace", "0.2", **environment) as (stopped,):
            wait_until(lambda: len(provider.requests) == 2)
            stopped.send_signal(signal.SIGTERM)
            assert stopped.wait(20) == 0
        given_back = "SELECT count(*) FROM pgrecall.procrastinate_jobs WHERE status = 'todo'"
        assert value(database_url, given_back) == 8
        assert value(database_url, "SELECT count(*) FROM pgrecall.procrastinate_workers") <= 1

        with workers(database_url, 1, "--drain", **environment) as (last,):
            assert last.wait(60) == 0
    assert assert_whole(database_url) == 8


def test_a_document_that_kills_its_workers_fails_in_the_end(database_url: str) -> None:
    enqueue(database_url, 1)
    stalled = """
        UPDATE pgrecall.procrastinate_jobs SET status = 'doing', attempts = 2
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(stalled)
    with workers(database_url, 1, "--drain", "--attempts", "3") as (worker,):
        assert worker.wait(60) == 0
    with pgrecall.connect(database_url) as db:
        (failed,) = db.failed_jobs()
    assert failed.error == "Each worker that took the document died."
    assert failed.attempts == 3


def test_draining_tells_what_waits_for_another_attempt(
    cli: Cli, tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "olives.md").write_text("# Olives\n\nOlives ripen in November.")
    with OpenAIServer() as provider, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "k")
        patch.setenv("OPENAI_BASE_URL", provider.url)
        cli("ingest", tmp_path, "--queue", "--embedder", "openai:any@48")
        provider.faults.append(Fault(status=401))
        waiting = cli("worker", "--drain", "--backoff", "1000")
        assert waiting.returncode == 1
        assert (
            "1 documents wait for another attempt, the next in 1" in waiting.stderr
        )  # 13 to 21 min
        # Nothing is due, and still the queue is not empty.
        assert cli("worker", "--drain").returncode == 1

        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("UPDATE pgrecall.procrastinate_jobs SET scheduled_at = NULL")
        done = cli("worker", "--drain", "--quiet")
        assert (done.returncode, done.stderr) == (0, "")


def test_the_commands(cli: Cli, tmp_path: Path, database_url: str) -> None:
    (tmp_path / "good.md").write_text("# Olives\n\nOlives ripen in November.")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 nothing")
    queued = cli("ingest", "--queue", tmp_path)
    assert queued.returncode == 0
    assert queued.stdout == "1 queued, 0 unchanged, 1 failed\n"
    assert "broken.pdf" in queued.stderr
    assert "No worker runs yet: `pgrecall worker` takes them in." in queued.stderr
    (report,) = lines(cli("ingest", "--queue", tmp_path, "--json"))
    assert report["queued"] == 1

    assert "No worker runs" not in cli("ingest", "--queue", tmp_path / "broken.pdf").stderr

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SELECT pgrecall.enqueue('default', 'odd', 'x', pages => '{9,3}')")
    drained = cli("worker", "--drain", "--attempts", "1")
    assert drained.returncode == 0
    assert "good.md: taken in, 1 chunks" in drained.stderr
    assert "1 documents have failed: `pgrecall worker failed` lists them." in drained.stderr
    assert cli("worker", "--drain", "--strict").returncode == 1
    assert "odd" in cli("worker", "failed").stdout
    (failed,) = lines(cli("worker", "failed", "--json"))
    assert (failed["uri"], failed["attempts"]) == ("odd", 1)
    assert "pages" in failed["error"]

    number = failed["job_id"]
    assert cli("worker", "retry").returncode == 2
    assert cli("worker", "retry", number, "--all").returncode == 2
    assert cli("worker", "retry", number).stdout == "1 to be tried again\n"
    assert cli("worker", "discard", "--all").returncode == 1
    cli("worker", "--drain", "--attempts", "1")
    assert cli("worker", "discard", number).stdout == "1 discarded\n"
    assert cli("worker", "failed").stderr == "Nothing has failed.\n"
    assert json.loads(cli("search", "olives", "--json").stdout.splitlines()[0])["uri"].endswith(
        "good.md"
    )
