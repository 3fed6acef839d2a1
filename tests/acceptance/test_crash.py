"""Pulling the plug: what was written is whole, and the next run completes it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.conftest import Cli, assert_whole, command, lines

DOCUMENTS = 80
STOPPED = (
    b"error: Stopped. What was written is whole; the same command goes on where this one stopped.\n"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Documents of a few dozen chunks each, all different."""
    folder = tmp_path / "tree"
    folder.mkdir()
    for n in range(DOCUMENTS):
        paragraphs = (
            f"In place {n}, on day {day}, {day * n % 97} boats went out and {n * 7 % 31 + day} came "
            f"back with {day * 13 % 89} baskets of fish before the wind turned to {n % 16}."
            for day in range(100)
        )
        (folder / f"{n:03}.txt").write_text("\n\n".join(paragraphs))
    return folder


def start(url: str, tree: Path, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("ingest", tree, "--quiet"),
        env={**os.environ, "PGRECALL_DATABASE_URL": url},
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


def stored(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM pgrecall.documents").fetchone()
    assert row is not None
    return int(row[0])


def wait_for(url: str, count: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while stored(url) < count:
        assert process.poll() is None, "it ended before it was interrupted"
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_leaves_whole_documents(
    cli: Cli, tree: Path, database_url: str, way: signal.Signals
) -> None:
    process = start(database_url, tree, stderr=subprocess.PIPE)
    wait_for(database_url, 10, process)
    process.send_signal(way)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == (130 if way is signal.SIGINT else -signal.SIGKILL)
    assert said == (STOPPED if way is signal.SIGINT else b"")
    survived = assert_whole(database_url)
    assert 10 <= survived < DOCUMENTS
    (report,) = lines(cli("ingest", tree, "--json"))
    assert report["unchanged"] == survived
    assert report["new"] == DOCUMENTS - survived
    assert assert_whole(database_url) == DOCUMENTS


def test_two_runs_at_once_one_killed(cli: Cli, tree: Path, database_url: str) -> None:
    first, second = start(database_url, tree), start(database_url, tree)
    wait_for(database_url, 20, first)
    first.kill()
    first.wait(30)
    assert_whole(database_url)
    assert second.wait(120) == 0
    assert assert_whole(database_url) == DOCUMENTS
    (report,) = lines(cli("ingest", tree, "--json"))
    assert (report["new"], report["unchanged"]) == (0, DOCUMENTS)


def test_new_versions_replace_old_ones_whole_when_killed(
    cli: Cli, tree: Path, database_url: str
) -> None:
    lines(cli("ingest", tree, "--json"))
    for path in tree.iterdir():
        path.write_text(path.read_text().replace("boats", "ships"))
    process = start(database_url, tree)
    with psycopg.connect(database_url, autocommit=True) as connection:
        until = time.monotonic() + 60
        while connection.execute(
            "SELECT count(*) >= 10 FROM pgrecall.documents WHERE version = 2"
        ).fetchone() != (True,):
            assert time.monotonic() < until
            time.sleep(0.005)
    process.kill()
    process.wait(30)
    assert assert_whole(database_url) == DOCUMENTS
    (report,) = lines(cli("ingest", tree, "--json"))
    assert report["changed"] > 0
    with psycopg.connect(database_url) as connection:
        old = connection.execute(
            "SELECT count(*) FROM pgrecall.chunks WHERE content LIKE '%boats%'"
        ).fetchone()
    assert old == (0,)
