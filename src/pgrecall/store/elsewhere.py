"""Another database, for one run: where a table of the user's own is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import make_conninfo

from pgrecall.errors import DatabaseUnavailable
from pgrecall.store.borrowed import OnOwn, OnOwnAsync
from pgrecall.store.migrate import libpq_url

#: Seconds that connecting may take, unless the URL says otherwise.
TIMEOUT = 15


@contextmanager
def elsewhere(url: str | None) -> Iterator[OnOwn | None]:
    """A session on one connection of its own, which only reads; None without a URL."""
    if url is None:
        yield None
        return
    try:
        connection: Connection[Any] = Connection.connect(_conninfo(url), **_OPTIONS)
    except psycopg.Error as exc:
        raise _unavailable(exc) from exc
    with connection:
        yield OnOwn(connection)


@asynccontextmanager
async def elsewhere_async(url: str | None) -> AsyncIterator[OnOwnAsync | None]:
    """As ``elsewhere``, awaiting."""
    if url is None:
        yield None
        return
    try:
        connection: AsyncConnection[Any] = await AsyncConnection.connect(_conninfo(url), **_OPTIONS)
    except psycopg.Error as exc:
        raise _unavailable(exc) from exc
    async with connection:
        yield OnOwnAsync(connection)


#: No prepared statements, since any pooler may stand between.
_OPTIONS: dict[str, Any] = {"autocommit": True, "prepare_threshold": None}


def _conninfo(url: str) -> str:
    return make_conninfo(libpq_url(url), connect_timeout=TIMEOUT, application_name="pgrecall")


def _unavailable(exc: psycopg.Error) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"The database of the table cannot be reached: {str(exc).strip()}")
