"""The command line as a user meets it: arguments, environment, exit code, and what it prints."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import psycopg
import pytest

from pgrecall.cli import main

Done = subprocess.CompletedProcess[str]
Cli = Callable[..., Done]


def command(*arguments: object) -> list[str]:
    """``pgrecall`` with arguments, in this interpreter, any warning an error."""
    return [sys.executable, "-W", "error", "-m", "pgrecall", *map(str, arguments)]


@pytest.fixture
def process(database_url: str) -> Cli:
    """Run a command to its end on the test's database, in a process of its own."""

    def run(*arguments: object, stdin: str = "", **environment: str) -> Done:
        return subprocess.run(
            command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PGRECALL_DATABASE_URL": database_url, **environment},
        )

    return run


@pytest.fixture
def cli(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """As ``process``, without the second that a process needs: ``main`` is called in this one."""

    def run(*arguments: object, stdin: str = "", **environment: str) -> Done:
        args = ["pgrecall", *map(str, arguments)]
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", args)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            for name, value in {"PGRECALL_DATABASE_URL": database_url, **environment}.items():
                patch.setenv(name, value)
            with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
                code = exit_code(main)
        return Done(args, code, out.getvalue(), err.getvalue())

    return run


def exit_code(program: Callable[[], None]) -> int:
    """What the interpreter would exit with after the program."""
    try:
        program()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def lines(done: Done) -> list[dict[str, Any]]:
    """The JSON lines that a command printed."""
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_whole(url: str) -> int:
    """Every document is there with all its chunks, each a slice of its text; how many there are."""
    with psycopg.connect(url) as connection:
        documents = connection.execute(
            "SELECT tenant_id, document_id, text FROM pgrecall.documents WHERE status = 'ready'"
        ).fetchall()
        for tenant_id, document_id, text in documents:
            chunks = connection.execute(
                """
                SELECT ordinal, start_offset, end_offset, content FROM pgrecall.chunks
                 WHERE tenant_id = %s AND document_id = %s ORDER BY ordinal
                """,
                [tenant_id, document_id],
            ).fetchall()
            assert [ordinal for ordinal, *_ in chunks] == list(range(len(chunks)))
            assert all(text[start:end] == content for _, start, end, content in chunks)
            covered = bytearray(len(text))
            for _, start, end, _ in chunks:
                covered[start:end] = b"\1" * (end - start)
            left = "".join(char for char, seen in zip(text, covered, strict=True) if not seen)
            assert not left.strip(), f"not in any chunk: {left.strip()[:80]!r}"
        orphans = connection.execute(
            """
            SELECT count(*) FROM pgrecall.chunks AS c WHERE NOT EXISTS (
                   SELECT FROM pgrecall.documents AS d
                    WHERE d.tenant_id = c.tenant_id AND d.document_id = c.document_id)
            """
        ).fetchone()
        assert orphans == (0,)
    return len(documents)
