"""The migrations: what they make, that they can be undone, and that nobody else is disturbed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.conninfo import make_conninfo
from sqlalchemy import Column, Integer, MetaData, Table
from sqlalchemy.dialects.postgresql.base import ischema_names

import pgrecall
from pgrecall import errors
from pgrecall.store import migrate
from pgrecall.store.schema import TO_JOBS, Halfvec, Vector, metadata
from tests.embedders import TinyEmbedder

ROOT = Path(__file__).parents[2]
OUR_TABLES = {table.name for table in metadata.tables.values()}

OBJECTS = """
    SELECT 'relation ' || relname FROM pg_class WHERE relnamespace = 'pgrecall'::regnamespace
     UNION ALL
    SELECT 'function ' || oid::regprocedure FROM pg_proc
     WHERE pronamespace = 'pgrecall'::regnamespace
     UNION ALL
    SELECT 'type ' || typname FROM pg_type WHERE typnamespace = 'pgrecall'::regnamespace
"""
DEFINITIONS = """
    SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'pgrecall'::regnamespace
     UNION ALL
    SELECT attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod) || ' '
           || attnotnull || ' ' || attidentity::text || attgenerated::text || ' '
           || coalesce(pg_get_expr(adbin, adrelid), '')
      FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
      JOIN pg_class AS c ON c.oid = attrelid
     WHERE relnamespace = 'pgrecall'::regnamespace AND attnum > 0
     UNION ALL
    SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace = 'pgrecall'::regnamespace
     UNION ALL
    SELECT pg_get_indexdef(indexrelid) FROM pg_index
      JOIN pg_class AS c ON c.oid = indexrelid WHERE relnamespace = 'pgrecall'::regnamespace
     UNION ALL
    SELECT 'revision ' || version_num FROM pgrecall.alembic_version
"""


def column(url: str, query: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        return sorted(row[0] for row in connection.execute(query.encode()))


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def usual(url: str) -> str:
    """Unqualified names mean the schema public, even if the role is called pgrecall."""
    return make_conninfo(url, options="-c search_path=public")


def drift(url: str, **options: Any) -> list[Any]:
    """What alembic would change to make the tables equal to the metadata."""
    ischema_names["halfvec"] = Halfvec
    ischema_names["vector"] = Vector
    with migrate.engine_for(usual(url)).connect() as connection:
        names = OUR_TABLES | {"mine"}
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_server_default": True,
                "include_schemas": True,
                "include_name": lambda name, kind, _: (
                    name == "pgrecall"
                    if kind == "schema"
                    else name not in TO_JOBS and (kind != "table" or name in names)
                ),
                "version_table_schema": "pgrecall",
                **options,
            },
        )
        return list(compare_metadata(context, options.get("metadata", metadata)))


@contextmanager
def role(url: str) -> Iterator[str]:
    """The URL of the same database for a role that may connect, and nothing else."""
    name = f"pgrecall_test_role_{os.getpid()}"
    execute(url, f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    try:
        yield parts._replace(netloc=f"{name}:secret@{place}").geturl()
    finally:
        execute(url, f"DROP OWNED BY {name}", f"DROP ROLE {name}")


def test_head_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [migrate.HEAD]
    assert scripts.get_bases() == ["0001"]


def test_an_upgrade_from_nothing_equals_the_metadata(bare_database_url: str) -> None:
    migrate.upgrade(bare_database_url)
    assert drift(bare_database_url) == []
    migrate.check(bare_database_url)


def test_a_collection_is_no_difference_to_the_metadata(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        db.create_collection("docs", embedder=TinyEmbedder())
    assert drift(database_url) == []


def test_a_difference_would_be_found(database_url: str) -> None:
    execute(database_url, "ALTER TABLE pgrecall.documents DROP COLUMN notes")
    assert [entry[0] for entry in drift(database_url)] == ["add_column"]


def test_down_and_up_again(database_url: str) -> None:
    before = column(database_url, DEFINITIONS)
    with pgrecall.connect(database_url) as db:
        db.create_collection("docs", embedder=TinyEmbedder())

    migrate.downgrade(database_url)

    left = [name for name in column(database_url, OBJECTS) if "alembic_version" not in name]
    assert left == []
    with pytest.raises(errors.SchemaMissing):
        migrate.check(database_url)
    migrate.upgrade(database_url)
    assert column(database_url, DEFINITIONS) == before
    migrate.upgrade(database_url)  # once more changes nothing
    assert column(database_url, DEFINITIONS) == before


def test_offline_sql_makes_the_same_database(empty_database_url: str, database_url: str) -> None:
    execute(empty_database_url, migrate.offline_sql())
    assert column(empty_database_url, DEFINITIONS) == column(database_url, DEFINITIONS)
    migrate.check(empty_database_url)


def test_alembic_from_the_repository_root(empty_database_url: str, database_url: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=ROOT,
        env={**os.environ, "PGRECALL_DATABASE_URL": empty_database_url},
        check=True,
        capture_output=True,
        timeout=60,
    )
    assert column(empty_database_url, DEFINITIONS) == column(database_url, DEFINITIONS)


def test_upgrades_at_once_all_succeed(bare_database_url: str, database_url: str) -> None:
    program = "import sys; from pgrecall.store import migrate; migrate.upgrade(sys.argv[1])"
    processes = [
        subprocess.Popen([sys.executable, "-c", program, bare_database_url]) for _ in range(2)
    ]
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(migrate.upgrade, bare_database_url) for _ in range(2)]:
            future.result()
    assert [process.wait(30) for process in processes] == [0, 0]
    assert column(bare_database_url, DEFINITIONS) == column(database_url, DEFINITIONS)


def test_a_users_own_alembic_lives_beside_ours(database_url: str) -> None:
    execute(
        usual(database_url),
        "CREATE TABLE mine (id integer PRIMARY KEY)",
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('users_own')",
    )
    mine = MetaData()
    Table("mine", mine, Column("id", Integer, primary_key=True))
    # As alembic is without options: the default schema.
    with migrate.engine_for(usual(database_url)).connect() as connection:
        theirs = MigrationContext.configure(connection)
        assert theirs.get_current_revision() == "users_own"
        assert compare_metadata(theirs, mine) == []

    migrate.downgrade(database_url)
    migrate.upgrade(database_url)

    assert column(database_url, "SELECT version_num FROM public.alembic_version") == ["users_own"]
    assert drift(database_url) == []


def refuses(url: str, error: type[errors.PgrecallError], words: str) -> None:
    """Both faces say the same, in one sentence."""
    for attempt in (migrate.check, pgrecall.connect):
        with pytest.raises(error, match=words) as caught:
            attempt(url)
        assert "\n" not in str(caught.value)


def test_a_database_without_tables(empty_database_url: str) -> None:
    refuses(empty_database_url, errors.SchemaMissing, "pgrecall db upgrade")


def test_older_tables_are_refused_and_newer_ones_served(database_url: str) -> None:
    execute(database_url, "UPDATE pgrecall.alembic_version SET version_num = '0000'")
    refuses(database_url, errors.SchemaOutdated, "revision 0000, this pgrecall needs 0002")
    execute(database_url, "UPDATE pgrecall.alembic_version SET version_num = '0999'")
    with pgrecall.connect(database_url) as db:
        assert db.collections() == []


def test_an_old_pgvector(database_url: str) -> None:
    execute(database_url, "UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    refuses(database_url, errors.ExtensionTooOld, "pgvector 0.7.4, and 0.8 is needed")
    with pytest.raises(errors.ExtensionTooOld):
        migrate.upgrade(database_url)


@pytest.mark.parametrize("version", ["0.8.0", "0.8.5", "0.10.0", "1.0.0"])
def test_a_new_pgvector(version: str) -> None:
    migrate.check_extension(version, version)


def test_a_server_without_pgvector() -> None:
    # No test server is without; what the server would say is known.
    with pytest.raises(errors.ExtensionMissing, match="This server has no pgvector: install it"):
        migrate.check_extension(None, None)


def test_a_database_without_pgvector(bare_database_url: str) -> None:
    refuses(bare_database_url, errors.ExtensionMissing, "CREATE EXTENSION vector")


def test_a_role_that_may_not_create_the_extension(bare_database_url: str) -> None:
    with role(bare_database_url) as url:
        with pytest.raises(errors.ExtensionMissing, match="superuser"):
            migrate.upgrade(url)
        assert column(bare_database_url, "SELECT extname FROM pg_extension") == ["plpgsql"]


def test_a_role_that_may_not_create_the_schema(empty_database_url: str) -> None:
    with (
        role(empty_database_url) as url,
        pytest.raises(errors.DatabaseError, match="permission denied for database"),
    ):
        migrate.upgrade(url)


def test_nobody_answers() -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    refuses(url, errors.DatabaseUnavailable, "No Postgres answers")
    for command in (migrate.upgrade, migrate.downgrade):
        with pytest.raises(errors.DatabaseUnavailable):
            command(url)


@pytest.mark.parametrize("url", ["nonsense", "mysql://x@y/z", "postgresql://a:b@c:d:e/f?g"])
def test_a_url_that_is_none(url: str) -> None:
    refuses(url, errors.InvalidArgument, "database URL")


def test_the_url_may_name_a_driver(database_url: str) -> None:
    url = database_url.replace("postgresql://", "postgresql+psycopg://", 1)
    migrate.check(url)
    with pgrecall.connect(url) as db:
        assert db.collections() == []
