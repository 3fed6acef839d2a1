"""Processes that use an embedded server, and what is left of a server afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

USER = """
import sys
from pathlib import Path
import psycopg
from pgrecall.store.embedded import EmbeddedServer

with EmbeddedServer.start(Path(sys.argv[1])) as server:
    with psycopg.connect(server.url) as connection:
        print(connection.execute("SELECT 'it works'").fetchone()[0], flush=True)
    sys.stdin.read()
"""


@contextmanager
def users_of(home: Path, number: int) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes, started at once, that use the server until their stdin is closed."""
    users = [_start_user(home) for _ in range(number)]
    try:
        for user in users:
            assert user.stdout is not None
            assert user.stdout.readline() == "it works\n"
        yield users
    finally:
        for user in users:
            user.kill()
            user.communicate()


def _start_user(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def processes(home: Path) -> list[int]:
    """The process ids of the Postgres of ``home``, all of them."""
    return [
        process.pid
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "postgres"
        and (process.info["cwd"] or "").startswith(f"{home}/postgres-18")
    ]


def guardian(home: Path) -> psutil.Process:
    """The guardian of the server of ``home``."""
    (found,) = (
        process
        for process in psutil.process_iter(["cmdline"])
        if str(home) in (command := process.info["cmdline"] or ())
        and any(part.endswith("guardian.py") for part in command)
    )
    return found


def becomes(condition: Callable[[], bool]) -> bool:
    """Wait up to 20 s for a condition; whether it came true."""
    deadline = time.monotonic() + 20
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return true


def answer(url: str, query: str = "SELECT 'it works'") -> object:
    """The first column of the first row."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]
