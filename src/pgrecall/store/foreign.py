"""Tables with vectors that are not ours: what they are made of, and their rows.

As LangChain (``langchain_pg_embedding`` of v1, any table of v2), LlamaIndex (``data_*``), Haystack
(``haystack_documents``) or somebody's own SQL lay them out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from pgrecall.errors import InvalidArgument
from pgrecall.exchange.records import Record
from pgrecall.store.session import translated

#: Rows that are fetched at a time.
ROWS = 512
#: Types of columns that hold a vector; all are cast to real[].
VECTORS = {"vector", "halfvec", "_float4", "_float8"}
#: Types that become metadata.
PLAIN = {
    *(
        "text",
        "varchar",
        "bpchar",
        "name",
        "citext",
        "uuid",
        "bool",
        "date",
        "timestamp",
        "timestamptz",
    ),
    *("int2", "int4", "int8", "float4", "float8", "numeric", "json", "jsonb", "_text", "_varchar"),
    *("_int4", "_int8"),
}
#: What tells a layout -> its keys that mean nothing elsewhere.
LAYOUTS = {
    "LangChain (v1)": ({"collection_id", "document", "cmetadata"}, {"collection_id"}),
    "LangChain (v2)": ({"langchain_id", "langchain_metadata"}, set()),
    "LlamaIndex": ({"node_id", "metadata_", "text"}, {"id"}),
    "Haystack": ({"blob_data", "blob_meta", "meta", "content"}, {"blob_meta", "blob_mime_type"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTable:
    """A table with a column of vectors."""

    schema: str
    name: str
    #: Column -> type, as pg_type calls it.
    columns: dict[str, str]
    vector: str
    #: Of its vectors, if the column says so.
    dimensions: int | None
    #: LangChain's v1 keeps several collections in one table: the one to read.
    collection: str | None = None
    #: Column -> why it is not read.
    left: dict[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> str:
        """Whose layout it is."""
        for layout, (signs, _) in LAYOUTS.items():
            if signs <= self.columns.keys():
                return layout
        return "a table"


@contextmanager
def _connected(url: str) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    try:
        with psycopg.connect(url, row_factory=dict_row) as connection:
            connection.read_only = True
            yield connection
    except psycopg.Error as exc:
        raise translated(exc) from exc


def find(
    url: str, table: str | None, *, vector: str | None, collection: str | None
) -> ForeignTable:
    """The table of that name, or the only one with vectors.

    Raises InvalidArgument that lists what there is to choose from, DatabaseUnavailable.
    """
    with _connected(url) as connection:
        named = _tables(connection, table)
        if len(named) != 1:
            there = ", ".join(sorted(map(_shown, named))) or "none"
            raise InvalidArgument(
                f"Say which table to read (--table NAME); with a column of vectors there: {there}."
                if table is None
                else f"There is no table {table!r} that this role may see; name it as SCHEMA.NAME."
            )
        schema, name = named[0]
        columns = _columns(connection, schema, name)
        vector = _vector(columns, vector, f"{schema}.{name}")
        kinds = {column: kind for column, (kind, _) in columns.items()}
        modifier = columns[vector][1] if kinds[vector] in ("vector", "halfvec") else 0
        found = ForeignTable(
            schema=schema,
            name=name,
            columns=kinds,
            vector=vector,
            dimensions=modifier if modifier > 0 else None,
            left=_left(kinds, vector),
        )
        if found.layout != "LangChain (v1)":
            if collection is not None:
                raise InvalidArgument(
                    f"The table {name!r} has no collections; leave the name away."
                )
            return found
        chosen = _collection(connection, schema, collection)
        return ForeignTable(**{**_values(found), "collection": chosen})


def _values(table: ForeignTable) -> dict[str, Any]:
    return {name: getattr(table, name) for name in ForeignTable.__slots__}


def _shown(table: tuple[str, str]) -> str:
    return ".".join(table)


def _tables(
    connection: psycopg.Connection[dict[str, Any]], table: str | None
) -> list[tuple[str, str]]:
    if table is None:
        rows = connection.execute(
            """
            SELECT DISTINCT n.nspname AS schema, c.relname AS name
              FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
              JOIN pg_attribute AS a ON a.attrelid = c.oid JOIN pg_type AS t ON t.oid = a.atttypid
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
               AND t.typname IN ('vector', 'halfvec') AND n.nspname <> 'pgrecall'
            """
        ).fetchall()
    else:
        schema, _, name = table.rpartition(".")
        rows = connection.execute(
            """
            SELECT n.nspname AS schema, c.relname AS name
              FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname = %s
               AND CASE %s WHEN '' THEN pg_table_is_visible(c.oid) ELSE n.nspname = %s END
            """,
            [name, schema, schema],
        ).fetchall()
    return [(row["schema"], row["name"]) for row in rows]


def _columns(
    connection: psycopg.Connection[dict[str, Any]], schema: str, name: str
) -> dict[str, tuple[str, int]]:
    rows = connection.execute(
        """
        SELECT a.attname AS column, t.typname AS type, a.atttypmod AS modifier
          FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
          JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY a.attnum
        """,
        [schema, name],
    ).fetchall()
    return {row["column"]: (row["type"], row["modifier"]) for row in rows}


def _vector(columns: dict[str, tuple[str, int]], wanted: str | None, table: str) -> str:
    able = [name for name, (kind, _) in columns.items() if kind in VECTORS]
    own = [name for name in able if columns[name][0] in ("vector", "halfvec")] or able
    if wanted is not None and wanted in able:
        return wanted
    if wanted is None and len(own) == 1:
        return own[0]
    there = ", ".join(able) or "none"
    raise InvalidArgument(
        f"Say which column of {table} holds the vectors (--vector-field); of a type that can: {there}."
    )


def _left(columns: dict[str, str], vector: str) -> dict[str, str]:
    """The columns that are not read."""
    left = {
        name: f"of type {kind}"
        for name, kind in columns.items()
        if name != vector and kind not in PLAIN
    }
    for signs, hidden in LAYOUTS.values():
        if signs <= columns.keys():
            left |= dict.fromkeys(hidden, "internal to the framework")
    return left


def _collection(
    connection: psycopg.Connection[dict[str, Any]], schema: str, wanted: str | None
) -> str:
    rows = connection.execute(
        sql.SQL("SELECT name FROM {}").format(sql.Identifier(schema, "langchain_pg_collection"))
    ).fetchall()
    names = sorted(row["name"] for row in rows)
    if wanted is None and len(names) == 1:
        return str(names[0])
    if wanted not in names:
        raise InvalidArgument(
            "Say which collection of the table to read (--source-collection); there are: "
            f"{', '.join(names) or 'none'}."
        )
    return str(wanted)


def rows(url: str, table: ForeignTable) -> Iterator[Record]:
    """Its rows, as they come; few are in memory at a time."""
    with _connected(url) as connection, connection.cursor("pgrecall_import", binary=True) as cursor:
        cursor.itersize = ROWS
        cursor.execute(_select(table), [] if table.collection is None else [table.collection])
        for number, row in enumerate(cursor, 1):
            yield Record(f"Row {number}", {"embedding": row.pop(table.vector), **row})


def _select(table: ForeignTable) -> sql.Composed:
    read: Sequence[str] = [name for name in table.columns if name not in table.left]
    columns = [
        sql.SQL("{0}::real[] AS {0}").format(sql.Identifier(name))
        if name == table.vector
        else sql.Identifier(name)
        for name in read
    ]
    query = sql.SQL("SELECT {columns} FROM {table}").format(
        columns=sql.SQL(", ").join(columns), table=sql.Identifier(table.schema, table.name)
    )
    if table.collection is None:
        return query
    return query + sql.SQL(" WHERE collection_id = (SELECT uuid FROM {} WHERE name = %s)").format(
        sql.Identifier(table.schema, "langchain_pg_collection")
    )
