"""Fixtures for everybody: databases on a real Postgres, and an environment without the user's own.

The server is the embedded one in a temporary folder (``--postgres=embedded``, the default), a
container with pgvector (``--postgres=docker``), or the one that PGRECALL_TEST_DATABASE_URL names: a
superuser's URL, such as postgresql://postgres:secret@localhost/postgres. The suite makes its own
databases there and drops them.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

if TYPE_CHECKING:
    from pgrecall import Database

IMAGE = "pgvector/pgvector:pg18"
STEERING = ("PGRECALL_", "OPENAI_", "CO_API_", "COHERE_", "LANGCHAIN_", "LANGSMITH_", "PG")
UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

GIVEN_URL = os.environ.get("PGRECALL_TEST_DATABASE_URL")

CreateDatabase = Callable[..., AbstractContextManager[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        choices=["embedded", "docker"],
        default="embedded",
        help="the server of the tests, unless PGRECALL_TEST_DATABASE_URL names one",
    )


def pytest_configure() -> None:
    """No fixture, and no process that a test starts, sees the user's settings."""
    for name in steering_variables():
        del os.environ[name]
    # Haystack would report to its makers, and note in the home that it does.
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"
    # A shell lets its background jobs ignore Ctrl-C, and the processes that tests start inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Each law is judged by what it finds; how long an example takes, the other workers have a say in.
    settings.register_profile("pgrecall", deadline=None)
    settings.load_profile("pgrecall")


def pytest_report_header(config: pytest.Config) -> str:
    if GIVEN_URL:
        return f"postgres: {versions(GIVEN_URL)} (PGRECALL_TEST_DATABASE_URL)"
    if config.getoption("postgres") == "docker":
        return f"postgres: {IMAGE} (docker)"
    return f"postgres: {bundled_versions()} (embedded)"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test reads or writes what belongs to the user."""
    for name in steering_variables():
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PGRECALL_HOME", str(tmp_path / "pgrecall"))


@pytest.fixture(scope="session")
def server_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A superuser's URL of the test server."""
    if GIVEN_URL:
        yield GIVEN_URL
    elif request.config.getoption("postgres") == "docker":
        yield from docker_server()
    else:
        with fast_folder(tmp_path_factory) as home:
            yield from embedded_server(home)


@pytest.fixture(scope="session")
def create_database(server_url: str) -> Iterator[CreateDatabase]:
    """``with create_database(template=None) as url``: a database for this block only."""
    numbers = count()
    with psycopg.connect(server_url, autocommit=True) as admin:

        @contextmanager
        def create(template: str | None = None) -> Iterator[str]:
            name = f"pgrecall_test_{os.getpid()}_{next(numbers)}"
            source = database_of(template) if template else "template1"
            admin.execute(CREATE.format(sql.Identifier(name), sql.Identifier(source)))
            try:
                admin.execute(COST.format(sql.Identifier(name)))
                yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
            finally:
                wait_until_left(admin, name)
                admin.execute(DROP.format(sql.Identifier(name)))

        yield create


@pytest.fixture(scope="session")
def template_database(create_database: CreateDatabase) -> Iterator[str]:
    """A database with the extension and the tables of pgrecall; copied, never written."""
    from pgrecall.store import migrate

    with create_database() as url:
        migrate.upgrade(url)
        yield url


@pytest.fixture(scope="session")
def template_with_extension(create_database: CreateDatabase) -> Iterator[str]:
    """A database with nothing but the extension; copied, never written."""
    with create_database() as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
        yield url


@pytest.fixture
def database_url(create_database: CreateDatabase, template_database: str) -> Iterator[str]:
    """An empty pgrecall database: extension and tables are there."""
    with create_database(template_database) as url:
        yield url


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    """That database, open."""
    import pgrecall

    with pgrecall.connect(database_url) as opened:
        yield opened


@pytest.fixture
def empty_database_url(
    create_database: CreateDatabase, template_with_extension: str
) -> Iterator[str]:
    """A database with the extension, without tables."""
    with create_database(template_with_extension) as url:
        yield url


@pytest.fixture
def bare_database_url(create_database: CreateDatabase) -> Iterator[str]:
    """A database without the extension."""
    with create_database() as url:
        yield url


@pytest.fixture
def fast_tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """As ``tmp_path``, for the data of a server."""
    with fast_folder(tmp_path_factory) as folder:
        yield folder


@contextmanager
def fast_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory if there is room: a database is then made in 15 ms instead of 150."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and shutil.disk_usage(memory).free > 2_000_000_000):
        yield tmp_path_factory.mktemp("server")
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="pgrecall-test-") as folder:
        yield Path(folder)


def embedded_server(home: Path) -> Iterator[str]:
    from pgrecall.store.embedded import EmbeddedServer

    with EmbeddedServer.start(home, settings=UNSAFE_BUT_FAST) as server:
        yield server.url


def docker_server() -> Iterator[str]:
    from testcontainers.community.postgres import PostgresContainer

    settings = [f"-c{name}={value}" for name, value in UNSAFE_BUT_FAST.items()]
    container = PostgresContainer(IMAGE, driver=None).with_command(["postgres", *settings])
    with container:
        yield container.get_connection_url()


def steering_variables() -> list[str]:
    return [name for name in os.environ if name.startswith(STEERING)]


def database_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


def wait_until_left(admin: psycopg.Connection, name: str) -> None:
    """At most 0.1 s, which is what DROP DATABASE sleeps if it meets a connection that closes."""
    for _ in range(50):
        row = admin.execute(CONNECTIONS, [name]).fetchone()
        if row == (0,):
            return
        time.sleep(0.002)


def versions(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute(VERSIONS).fetchone()
    assert row is not None
    return f"PostgreSQL {row[0]}, pgvector {row[1]}"


def bundled_versions() -> str:
    from pgrecall.store.embedded import status
    from pgrecall.store.embedded.programs import binary

    control = next(binary("postgres").parents[1].glob("share/**/vector.control")).read_text()
    vector = control.partition("default_version = '")[2].partition("'")[0]
    return f"PostgreSQL {status().version}, pgvector {vector}"


# Three times as fast as the default strategy, as long as the template is small.
CREATE = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
# As on the embedded server, since tests say which plans there are; a copy does not inherit it.
COST = sql.SQL("ALTER DATABASE {} SET random_page_cost = 1.1")
DROP = sql.SQL("DROP DATABASE {} WITH (FORCE)")
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
VERSIONS = """
    SELECT split_part(current_setting('server_version'), ' ', 1), default_version
    FROM pg_available_extensions WHERE name = 'vector'
"""
