"""procrastinate's tables in our schema: the same as its own, whichever way they came there."""

from __future__ import annotations

import psycopg
import pytest
from procrastinate.schema import SchemaManager

import pgrecall
from pgrecall import errors
from pgrecall.store import jobtables, migrate

#: Columns, functions, indexes, triggers, constraints and enums by name and definition, without the schema.
THINGS = """
    SELECT 'column', relname || '.' || attname, format_type(atttypid, atttypmod) || ' ' || attnotnull || ' '
           || attidentity::text || ' ' || coalesce(pg_get_expr(adbin, adrelid), '')
      FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
      LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
     WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'c')
     UNION ALL
    SELECT 'function', proname || '(' || pg_get_function_identity_arguments(oid) || ')',
           prosrc || pg_get_function_result(oid)
      FROM pg_proc WHERE pronamespace = %(schema)s::regnamespace
     UNION ALL
    SELECT 'index', c.relname, pg_get_indexdef(c.oid) FROM pg_class AS c
     WHERE relnamespace = %(schema)s::regnamespace AND relkind = 'i'
     UNION ALL
    SELECT 'trigger', tgname, pg_get_triggerdef(t.oid)
      FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = tgrelid
     WHERE relnamespace = %(schema)s::regnamespace AND NOT tgisinternal
     UNION ALL
    SELECT 'constraint', conrelid::regclass::text, pg_get_constraintdef(oid)
      FROM pg_constraint WHERE connamespace = %(schema)s::regnamespace AND contype <> 'n'
     UNION ALL
    SELECT 'enum', typname, enumlabel FROM pg_enum JOIN pg_type AS t ON t.oid = enumtypid
     WHERE typnamespace = %(schema)s::regnamespace
"""
#: What we add to procrastinate's tables.
OURS = {"ix_procrastinate_jobs_lock"}


def things(connection: psycopg.Connection, schema: str) -> set[tuple[str, str, str]]:
    rows = connection.execute(THINGS.encode(), {"schema": schema}).fetchall()
    return {
        (kind, name.replace(f"{schema}.", ""), " ".join(text.replace(f"{schema}.", "").split()))
        for kind, name, text in rows
        if "procrastinate" in name and name not in OURS
    }


def test_our_migrations_know_the_installed_procrastinate() -> None:
    assert jobtables.installed()[-1] == jobtables.LAST
    jobtables.check()


def test_a_newer_procrastinate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobtables, "LAST", "03.03.00_01")
    with pytest.raises(errors.DatabaseError, match="newer than this pgrecall knows"):
        jobtables.check()


def test_the_tables_are_those_of_procrastinate(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE SCHEMA theirs")
        connection.execute("SET LOCAL search_path = theirs")
        connection.execute(SchemaManager.get_schema())
        connection.execute("SET LOCAL search_path = pg_catalog")
        theirs, ours = things(connection, "theirs"), things(connection, "pgrecall")
        assert len(theirs) > 60
        assert ours == theirs


def test_every_function_has_our_schema_as_its_path(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            """
            SELECT proname, proconfig FROM pg_proc
             WHERE pronamespace = 'pgrecall'::regnamespace AND proname LIKE 'procrastinate%'
            """
        ).fetchall()
    assert rows
    assert all("search_path=pgrecall, pg_temp" in (config or []) for _, config in rows)


def test_an_older_revision_is_upgraded_with_what_it_holds(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, "0001")
    with pytest.raises(errors.SchemaOutdated):
        migrate.check(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("INSERT INTO pgrecall.collections (name) VALUES ('docs')")
    migrate.upgrade(empty_database_url)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("SELECT pgrecall.enqueue('docs', 'uri', 'text')")
        left = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone()
    assert left == (0,)
    migrate.downgrade(empty_database_url, "0001")
    with psycopg.connect(empty_database_url) as connection:
        assert things(connection, "pgrecall") == set()
    migrate.upgrade(empty_database_url)


def test_a_later_procrastinate_is_taken_over_file_by_file(empty_database_url: str) -> None:
    """As a migration of ours will do, in one transaction with jobs in the tables."""
    before = "03.03.00_01_pre_priority_lock_fetch_job.sql"
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE SCHEMA pgrecall")
        connection.execute("SET search_path = pg_catalog")
        for statement in jobtables.script(before):
            connection.execute(statement.encode())
        connection.execute(
            """
            INSERT INTO pgrecall.procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')
            """
        )
        connection.commit()
        for statement in jobtables.script(jobtables.LAST, after=before):
            connection.execute(statement.encode())
        connection.commit()
        assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog",)
        kept = connection.execute("SELECT count(*) FROM pgrecall.procrastinate_jobs").fetchone()
        assert kept == (1,)
        ours = things(connection, "pgrecall")
        connection.execute("CREATE SCHEMA theirs")
        connection.execute("SET LOCAL search_path = theirs")
        connection.execute(SchemaManager.get_schema())
        connection.execute("SET LOCAL search_path = pg_catalog")
        assert ours == things(connection, "theirs")


def test_a_worker_of_an_older_database(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE pgrecall.alembic_version SET version_num = '0001'")
    with pytest.raises(errors.SchemaOutdated, match="pgrecall db upgrade"):
        pgrecall.connect(database_url)
