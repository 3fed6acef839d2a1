"""Tables of the user's own: reading their rows page by page.

A page is a statement of its own, ordered by the identifier: no transaction stays open while rows are
embedded, memory does not grow with the table, and any pooler will do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import sql

from pgrecall import errors
from pgrecall.flow import Flow
from pgrecall.store.session import Row, fetch

#: Rows that are read, and keys that are looked up, in one round trip.
PAGE = 500
#: A column without a time zone may be in any: fourteen hours are the farthest, a date is a day.
ZONE = timedelta(days=1)
#: Types that mean a length of one where none is named: a key cast to them would be cut.
_OF_ANY_LENGTH = {"character": "bpchar", "bit": "varbit"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How rows are read: a query, and which of its columns mean what."""

    query: sql.Composable
    id: str
    #: The type of the identifier, as Postgres writes it.
    id_type: str
    text: str
    tenant: str | None
    #: The column that says when a row was changed, and its type; None: every row is read each time.
    updated: str | None
    updated_type: str = "timestamp with time zone"

    @property
    def _names(self) -> dict[str, sql.Composable]:
        none = sql.SQL("NULL")
        return {
            "query": self.query,
            "id": _quoted("q", self.id),
            "id_type": sql.SQL(self.id_type),
            "text": _quoted("q", self.text),
            "tenant": _quoted("q", self.tenant) if self.tenant else none,
            "updated": _quoted("q", self.updated) if self.updated else none,
            "updated_type": sql.SQL(self.updated_type),
        }

    def compose(self, *parts: str) -> sql.Composed:
        """A statement out of parts, with the names put in."""
        return sql.SQL(" ".join(parts)).format(**self._names)


#: A row without text is as good as none.
_ROWS = "FROM ({query}\n) AS q WHERE {id} IS NOT NULL AND {text}::text ~ '\\S'"

#: The identifier as text, the tenant as text, the row.
TableRow = tuple[str, str | None, dict[str, Any]]


def table_query(table: str) -> Flow[sql.Composable]:
    """All of a table that is named as in SQL; raises InvalidArgument if there is none."""
    name = yield from resolved(table)
    return sql.SQL("SELECT * FROM {}").format(_quoted(*name))


def _quoted(*names: str) -> sql.Identifier:
    """A name in a statement with parameters, where a percent sign is written twice."""
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


def resolved(table: str) -> Flow[tuple[str, str]]:
    """Schema and name of a table that is named as in SQL; raises InvalidArgument if there is none."""
    try:
        rows = yield from fetch(
            """
            SELECT nspname::text, relname::text FROM pg_class AS c
              JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)
            """,
            [table],
        )
    except errors.DatabaseUnavailable:
        raise
    except errors.DatabaseError as exc:
        raise errors.InvalidArgument(f"{table!r} is no name of a table: {exc}") from exc
    if not rows:
        raise errors.InvalidArgument(
            f"There is no table {table}, or this role may not see it; write SCHEMA.TABLE as in SQL."
        )
    return rows[0][0], rows[0][1]


def own_query(query: str) -> sql.Composable:
    """A query of the user's; as part of another one it can do nothing but read."""
    return sql.SQL(query.strip().rstrip(";").replace("%", "%%"))


def first_row(query: sql.Composable) -> Flow[Mapping[str, Any] | None]:
    """Any row, to see which columns there are; None if there is no row."""
    rows = yield from fetch(sql.SQL("SELECT to_json(q) FROM ({}\n) AS q LIMIT 1").format(query), [])
    return rows[0][0] if rows else None


def types(query: sql.Composable, columns: Sequence[str]) -> Flow[list[str]]:
    """The types of columns, as Postgres writes them; the query returns a row."""
    asked = sql.SQL(", ").join(
        sql.SQL("pg_typeof({})::text").format(_quoted("q", column)) for column in columns
    )
    rows: list[Any] = yield from fetch(
        sql.SQL("SELECT {} FROM ({}\n) AS q LIMIT 1").format(asked, query), []
    )
    return [_OF_ANY_LENGTH.get(kind, kind) for kind in rows[0]]


def any_row(reading: Reading) -> Flow[bool]:
    """Whether there is a row with an identifier and a text."""
    rows = yield from fetch(reading.compose("SELECT EXISTS (SELECT", _ROWS, ")"), [])
    return bool(rows[0][0])


def page(reading: Reading, after: str | None, since: datetime | None) -> Flow[list[TableRow]]:
    """The next rows by identifier; with ``since`` those that may have changed after it."""
    parts = ["SELECT {id}::text, {tenant}::text, to_json(q)", _ROWS]
    params: list[Any] = []
    if after is not None:
        parts.append("AND {id} > %s::{id_type}")
        params.append(after)
    if since is not None:
        parts.append("AND ({updated} >= %s::timestamptz::{updated_type} OR {updated} IS NULL)")
        params.append(since if "with time zone" in reading.updated_type else since - ZONE)
    parts.append("ORDER BY {id} LIMIT %s")
    rows: list[Any] = yield from fetch(reading.compose(*parts), [*params, PAGE])
    return rows


def rows_of(reading: Reading, keys: Sequence[str]) -> Flow[list[TableRow]]:
    """The rows of these identifiers that are there."""
    found: list[Any] = yield from fetch(
        reading.compose(
            "SELECT {id}::text, {tenant}::text, to_json(q)",
            _ROWS,
            "AND {id} = ANY(%s::text[]::{id_type}[])",
        ),
        [list(keys)],
    )
    return found


def present(reading: Reading, keys: Sequence[str]) -> Flow[set[tuple[str, str | None]]]:
    """Those of the identifiers that have a row, each with its tenant."""
    rows: list[Row] = yield from fetch(
        reading.compose(
            "SELECT {id}::text, {tenant}::text", _ROWS, "AND {id} = ANY(%s::text[]::{id_type}[])"
        ),
        [list(keys)],
    )
    return {(row[0], row[1]) for row in rows}


def committed_before() -> Flow[datetime]:
    """What was changed before this moment, by the source's clock, is visible now.

    ``now()`` in a transaction is when it began, and its rows show when it ends: so it is the beginning of the
    oldest transaction, as far as this role can see the others.
    """
    rows = yield from fetch(
        """
        SELECT least(now(), min(xact_start)) FROM pg_stat_activity
         WHERE datname = current_database() AND backend_type = 'client backend'
        """
    )
    moment: datetime = rows[0][0]
    return moment


_FROM = re.compile(r'\bfrom\s+((?:"[^"]+"|\w+)(?:\s*\.\s*(?:"[^"]+"|\w+))?)', re.I)


def name_of(query: str) -> str:
    """The first table that a query reads from, to name its rows; raises InvalidArgument."""
    found = _FROM.search(query)
    if found is None:
        raise errors.InvalidArgument(
            "The query names no table; give its rows a name (name=, --name)."
        )
    return found[1]
