"""What a user sees of a collection and of a run: status, runs, progress, logs."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

import pgrecall
from pgrecall import Document
from tests.acceptance.conftest import Cli, command, lines
from tests.embedders import TinyEmbedder


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for n in range(12):
        (folder / f"{n}.txt").write_text(f"Boat {n} is in the harbour of town {n * 7}.")
    (folder / "empty.txt").touch()
    return folder


def on_terminal(url: str, *arguments: object) -> str:
    """What a terminal shows of a command."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PGRECALL_DATABASE_URL": url, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    with closing(os.fdopen(ours, "rb", buffering=0)) as terminal:
        try:
            while piece := terminal.read(65536):
                shown += piece
        except OSError:
            pass  # how Linux says that nobody writes to it any more
    assert process.wait(60) == 0, shown
    return shown.decode()


def test_a_plan_for_people_and_for_programs(cli: Cli, notes: Path) -> None:
    printed = cli("ingest", notes, "--plan")
    assert printed.returncode == 0
    assert "12 new, 0 changed, 0 unchanged, 0 removed, 1 failed" in printed.stdout
    assert "12: 12 to embed, 0 reused" in printed.stdout
    assert "none: it runs on your own machine" in printed.stdout
    assert "unknown: there was no run" in printed.stdout
    assert lines(cli("collections", "--json")) == [], "nothing was created"
    (planned,) = lines(cli("ingest", notes, "--plan", "--json"))
    (report,) = lines(cli("ingest", notes, "--json"))
    for name in ("new", "unchanged", "chunks", "embedded", "reused", "tokens", "cost", "failed"):
        assert report[name] == planned[name], name
    dear = cli("ingest", notes, "--plan", "-c", "b", "--embedder", "openai:text-embedding-3-large")
    assert "at $0.13 per million tokens (list price of 20" in dear.stdout
    unknown = cli("ingest", notes, "--plan", "-c", "b", "--embedder", "openai:nobody-knows-it")
    assert "unknown: there is no list price" in unknown.stdout


def test_a_budget_ends_with_code_1_and_the_next_run_goes_on(cli: Cli, notes: Path) -> None:
    (notes / "empty.txt").unlink()
    done = cli("ingest", notes, "--max-tokens", 100, "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert 0 < report["tokens"] <= 100
    assert report["new"] + report["left"] == 12
    said = cli("ingest", notes, "--max-tokens", 0)
    assert said.returncode == 1
    assert f"{report['left']} documents are left" in said.stderr
    assert cli("ingest", notes, "--max-cost", 0).returncode == 0, "the static embedder is free"
    table = cli("status", "--runs").stdout
    assert [line.split()[3] for line in table.splitlines()[1:]] == ["done", "stopped", "stopped"]
    runs = lines(cli("status", "--runs", "--json", "-c", "default"))
    assert runs[2]["tokens"] == report["tokens"]
    assert lines(cli("status", "--runs", "--json", "--limit", 1)) == runs[:1]


def test_status_in_figures(cli: Cli, notes: Path) -> None:
    cli("ingest", notes)
    (status,) = lines(cli("status", "--json"))
    assert (status["documents"], status["failed"], status["chunks"]) == (12, 1, 12)
    assert status["spent_tokens"] == status["tokens"] > 0
    assert (status["spent"], status["building"]) == (0, None)
    assert status["last_run"]["state"] == "done"
    assert status["throughput"]["chunks_per_second"] > 0
    assert {"embedding", "tsv", "metadata", "pkey"} <= status["index_bytes"].keys()
    assert 0 < sum(status["index_bytes"].values()) < status["bytes"]
    printed = cli("status").stdout
    for words in ("12 ready, 1 failed", "12, of ", "index       hnsw", "spent ", "done, 20"):
        assert words in printed


def test_an_index_is_seen_while_it_is_built(database_url: str) -> None:
    with pgrecall.connect(database_url) as db, psycopg.connect(database_url) as writer:
        docs = db.create_collection("docs", embedder=TinyEmbedder())
        docs.ingest([Document(uri="a", text="Olives are ripe.", metadata={"year": 2024})])
        assert docs.index_build() is None
        # A build beside the writers waits for those that are at work.
        writer.execute("DELETE FROM pgrecall.chunks WHERE uri = 'nobody'")
        work = threading.Thread(target=docs.index_metadata, args=("year",), kwargs={"type": "int"})
        work.start()
        until = time.monotonic() + 30
        while (build := docs.status().building) is None:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert build.index.startswith("metadata")
        assert "waiting" in build.phase
        writer.rollback()
        work.join()
        assert docs.index_build() is None


def test_a_terminal_shows_each_stage_and_a_pipe_nothing(
    cli: Cli, notes: Path, database_url: str
) -> None:
    shown = on_terminal(database_url, "ingest", notes)
    for stage in ("read", "chunk", "embed", "write"):
        assert stage in shown
    assert "13/13 documents, 1 failed" in shown
    assert "12 new" in shown
    quiet = on_terminal(database_url, "ingest", notes, "--quiet")
    assert "embed " not in quiet
    assert cli("ingest", notes, "--plan").stderr.startswith("error: ")


def test_logs_are_text_or_json_on_standard_error(cli: Cli, notes: Path) -> None:
    assert "Run" not in cli("ingest", notes).stderr
    for asked, environment in (("--log-json", {}), ("", {"PGRECALL_LOG_FORMAT": "json"})):
        words = [asked] if asked else []
        done = cli("--log-level", "info", *words, "ingest", notes, "--strict", **environment)
        logged = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        assert [record["level"] for record in logged] == ["info"] * 3
        began, failed, ended = logged
        assert began["run_id"] == ended["run_id"]
        assert failed["uri"].endswith("empty.txt")
        assert (ended["state"], ended["unchanged"], ended["failed"]) == ("done", 12, 1)
    text = cli("ingest", notes, PGRECALL_LOG_LEVEL="INFO").stderr
    assert "INFO pgrecall.ingest.record: Run 4 of default: done." in text
    assert cli("--log-level", "loud", "status").returncode == 2


def test_a_library_leaves_logging_alone() -> None:
    code = (
        "import logging, pgrecall; pgrecall.connect; loggers = logging.Logger.manager.loggerDict;"
    )
    code += "found = [n for n in ['root', *loggers] if n == 'root' or n.startswith('pgrecall')];"
    code += "print([n for n in found if logging.getLogger(None if n == 'root' else n).handlers])"
    done = subprocess.run([*command()[:1], "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
