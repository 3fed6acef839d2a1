"""``pgrecall doctor``: what it prints, and how it ends."""

from __future__ import annotations

import json

import psycopg

import pgrecall
from tests.acceptance.conftest import Cli
from tests.test_doctor import BROKEN, D1, DOCUMENTS


def test_doctor_tells_and_mends(cli: Cli, database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        db.create_collection("docs").ingest(DOCUMENTS)
    done = cli("doctor")
    assert done.returncode == 0, done.stderr
    assert "ok       server  PostgreSQL" in done.stdout
    assert "Everything stands where it should" in done.stdout
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(BROKEN["content"].replace("D1", D1).encode())
    done = cli("doctor", "--verify")
    assert done.returncode == 1
    assert "error: content: docs: d1.txt: chunk 2 is not the text from" in done.stderr
    assert "4 documents" in done.stdout
    done = cli("doctor", "--repair")
    assert done.returncode == 0, done.stderr
    assert "2 problems, 2 repaired" in done.stdout
    environment, verified = map(json.loads, cli("doctor", "--verify", "--json").stdout.splitlines())
    assert environment["healthy"]
    assert verified["healthy"]
    assert (verified["documents"], verified["found"]) == (4, 0)
