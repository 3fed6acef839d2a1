"""Migrations: bring a database to this package's schema, or say in one sentence what it lacks."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pgrecall import errors

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Engine

    from pgrecall.flow import Flow

#: The newest revision under migrations/versions; a test keeps the two equal.
HEAD = "0002"
#: The oldest pgvector that has iterative index scans.
MINIMUM_PGVECTOR = (0, 8)
#: pgvector here, pgvector on the server's disk, and whether anybody ever migrated this database.
STATE = """
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
       (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
       to_regclass('pgrecall.alembic_version') IS NOT NULL
"""
REVISION = "SELECT version_num FROM pgrecall.alembic_version"
#: Alembic keeps what it is doing in globals: one migration at a time in a process.
_ONE_AT_A_TIME = threading.Lock()


def upgrade(url: str, revision: str = "head") -> None:
    """Create or update the tables, in one transaction.

    Creates the extension where it is available and the role may. Raises ExtensionMissing,
    ExtensionTooOld or DatabaseUnavailable.
    """
    _prepare_extension(url)
    _alembic("upgrade", url, revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Go back to an older revision; ``base`` removes every table and all that is in them."""
    _alembic("downgrade", url, revision)


def offline_sql(revision: str = "head") -> str:
    """The SQL that ``upgrade`` would run on an empty database, for those who may not run DDL."""
    from alembic import command

    output = io.StringIO()
    with _ONE_AT_A_TIME:
        command.upgrade(_config(output), revision, sql=True)
    return output.getvalue()


def check(url: str) -> None:
    """Connect once, and raise what keeps pgrecall from working there.

    Raises DatabaseUnavailable, ExtensionMissing, ExtensionTooOld, SchemaMissing or SchemaOutdated.
    """
    import psycopg

    with unavailable(), psycopg.connect(libpq_url(url), autocommit=True) as connection:
        row = connection.execute(STATE).fetchone()
        version, available, migrated = row or (None, None, False)
        check_extension(version, available)
        found = migrated and connection.execute(REVISION).fetchone()
    check_revision(found[0] if found else None)


def verify() -> Flow[None]:
    """As ``check``, on a session that is open already."""
    from pgrecall.store.session import fetch

    ((version, available, migrated),) = yield from fetch(STATE)
    check_extension(version, available)
    found = (yield from fetch(REVISION)) if migrated else []
    check_revision(found[0][0] if found else None)


def check_revision(found: str | None) -> None:
    """Raise SchemaMissing or SchemaOutdated if the tables are missing or too old."""
    if found is None:
        raise errors.SchemaMissing
    # Revisions are numbers; tables newer than this package still serve it.
    if int(found) < int(HEAD):
        raise errors.SchemaOutdated(
            f"The tables are at revision {found}, this pgrecall needs {HEAD}: "
            "run `pgrecall db upgrade`."
        )


def check_extension(version: str | None, available: str | None) -> None:
    """Raise ExtensionMissing or ExtensionTooOld if pgvector is missing or too old."""
    if version is None and available is None:
        raise errors.ExtensionMissing(
            "This server has no pgvector: install it (https://github.com/pgvector/pgvector), "
            "then run CREATE EXTENSION vector in this database."
        )
    if version is None:
        raise errors.ExtensionMissing
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_PGVECTOR:
        raise errors.ExtensionTooOld(
            f"This database has pgvector {version}, and 0.8 is needed: install a newer one on the "
            "server, then run ALTER EXTENSION vector UPDATE."
        )


def engine_for(url: str) -> Engine:
    """A SQLAlchemy engine on psycopg 3 without a pool; ``url`` is whatever libpq takes."""
    import psycopg
    from sqlalchemy import create_engine, pool

    def connect() -> psycopg.Connection[Any]:
        return psycopg.connect(libpq_url(url))

    return create_engine("postgresql+psycopg://", creator=connect, poolclass=pool.NullPool)


def libpq_url(url: str) -> str:
    """The URL without the driver's name that SQLAlchemy users write: postgresql+psycopg://..."""
    scheme, separator, rest = url.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}" if separator else url


def statements(name: str) -> Iterator[str]:
    """The statements of ``functions/NAME.sql``; an empty line follows the end of each."""
    text = (files("pgrecall.store") / "functions" / f"{name}.sql").read_text("utf-8")
    for statement in text.split(";\n\n"):
        yield statement.strip().removesuffix(";")


def _prepare_extension(url: str) -> None:
    import psycopg

    with unavailable(), psycopg.connect(libpq_url(url), autocommit=True) as connection:
        row = connection.execute(STATE).fetchone()
        assert row is not None
        version, available, _ = row
        if version is None and available is not None:
            try:
                # IF NOT EXISTS alone fails for one of two that run at once; the lock ends with
                # the connection.
                connection.execute("SELECT pg_advisory_lock(hashtext('pgrecall.migrate'))")
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            except psycopg.errors.InsufficientPrivilege as exc:
                raise errors.ExtensionMissing(
                    "This role may not create the extension: a superuser runs CREATE EXTENSION "
                    "vector in this database once, then run `pgrecall db upgrade` again."
                ) from exc
            version = available
        check_extension(version, available)


@contextmanager
def unavailable() -> Iterator[None]:
    """Turn a failed connection into DatabaseUnavailable, with the server's own words.

    Raises InvalidArgument for what libpq cannot read as an address.
    """
    import psycopg

    try:
        yield
    except psycopg.ProgrammingError as exc:
        if exc.sqlstate is not None:
            raise
        raise errors.InvalidArgument(
            "That is no database URL: write postgresql://user:password@host:5432/database."
        ) from exc
    except psycopg.OperationalError as exc:
        reason = str(exc).strip().splitlines()[0]
        raise errors.DatabaseUnavailable(
            f"No Postgres answers at that address ({reason}); check PGRECALL_DATABASE_URL and that "
            "the server runs."
        ) from exc


def _alembic(command_name: str, url: str, revision: str) -> None:
    import psycopg
    from alembic import command
    from sqlalchemy.exc import DBAPIError

    from pgrecall.store.session import translated

    config = _config(io.StringIO())
    try:
        with _ONE_AT_A_TIME, engine_for(url).connect() as connection:
            config.attributes["connection"] = connection
            getattr(command, command_name)(config, revision)
            connection.commit()
    except DBAPIError as exc:
        if isinstance(exc.orig, psycopg.Error):
            raise translated(exc.orig) from exc
        raise


def _config(output: io.StringIO) -> Config:
    from alembic.config import Config

    config = Config(output_buffer=output, stdout=io.StringIO())
    config.set_main_option("script_location", str(_scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _scripts() -> Path:
    """Inside the wheel, else beside the sources of an editable install."""
    package = Path(__file__).parents[1]
    inside, beside = package / "migrations", package.parents[1] / "migrations"
    return inside if inside.is_dir() else beside
