"""How alembic reaches the database, and what it may look at: the schema pgrecall and nothing else."""

from __future__ import annotations

import os
from typing import Any

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql.base import ischema_names

from pgrecall.store.migrate import engine_for
from pgrecall.store.schema import SCHEMA, TO_JOBS, Halfvec, Vector, metadata

# Reflection meets the type in every database that has chunks.
ischema_names["halfvec"] = Halfvec
ischema_names["vector"] = Vector


def include_name(name: str | None, type_: str, parent_names: Any) -> bool:
    """Ignore every schema but ours, and the partitions that generations bring."""
    if type_ == "schema":
        return name == SCHEMA
    if type_ == "table":
        return name in {table.name for table in metadata.tables.values()}
    # It points at a table of procrastinate's, which is none of ours.
    return name not in TO_JOBS


#: Types of pgvector are found, whatever schema it is in.
SEARCH_PATH = """
SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), (
    SELECT quote_ident(nspname) FROM pg_catalog.pg_extension
      JOIN pg_catalog.pg_namespace AS n ON n.oid = extnamespace WHERE extname = 'vector')), true)
"""
OPTIONS: dict[str, Any] = {
    "target_metadata": metadata,
    "include_schemas": True,
    "include_name": include_name,
    "version_table_schema": SCHEMA,
    "version_table": "alembic_version",
    "compare_server_default": True,
}


def run_offline() -> None:
    """Write the SQL to standard output, for those who may not run DDL themselves."""
    context.configure(dialect_name="postgresql", literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.execute(SEARCH_PATH)
        context.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        context.run_migrations()


def run_online(connection: Connection) -> None:
    """Migrate in one transaction: all of it, or nothing."""
    context.configure(connection=connection, **OPTIONS)
    with context.begin_transaction():
        # One migration at a time; the lock goes with the transaction.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('pgrecall.migrate'))"))
        connection.execute(text(SEARCH_PATH))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        context.run_migrations()


if context.is_offline_mode():
    run_offline()
else:
    given: Connection | None = context.config.attributes.get("connection")
    if given is not None:
        run_online(given)
    else:
        url = context.get_x_argument(as_dictionary=True).get("url")
        with engine_for(url or os.environ["PGRECALL_DATABASE_URL"]).connect() as opened:
            run_online(opened)
