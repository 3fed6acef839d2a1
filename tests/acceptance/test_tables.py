"""``pgrecall ingest --table`` and ``--sql`` as users meet them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tests.acceptance.conftest import Cli, lines
from tests.test_tables import ARTICLES


@pytest.fixture
def user(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(ARTICLES)
        yield connection


def test_the_command(cli: Cli, user: psycopg.Connection) -> None:
    query = "select id, title, body, updated_at, owner from articles"
    (report,) = lines(cli("ingest", "--sql", query, "--tenant-field", "owner", "--json"))
    assert report["new"] == 7
    user.execute("DELETE FROM articles WHERE id = 1")
    done = cli("ingest", "--sql", query, "--tenant-field", "owner")
    assert "1 removed" in done.stdout
    assert cli("ingest", "--table", "articles", "--triggers", "-c", "b").returncode == 0
    wrong = cli("ingest", "--table", "nothing")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (1, 1)
    assert cli("ingest").returncode == 2
    assert cli("ingest", ".", "--table", "articles").returncode == 2
