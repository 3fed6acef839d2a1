"""Where flows meet Postgres: the steps they may yield, and the sessions that perform them.

A session is a pool, or one connection inside a transaction; steps do not care which. Connections are in
autocommit mode: a statement of its own costs one round trip, and a transaction is always spelled out.
"""

from __future__ import annotations

import re
import select
import sys
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import tuple_row
from psycopg.sql import SQL, Composed
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolClosed, PoolTimeout

from pgrecall import errors
from pgrecall.flow import Flow, Step, run, run_async
from pgrecall.store.vectors import Asked

T = TypeVar("T")
Row = tuple[Any, ...]
Query = LiteralString | SQL | Composed

#: SQLSTATEs that our own functions raise.
RAISED: dict[str, type[errors.PgrecallError]] = {
    "PR001": errors.CollectionNotFound,
    "PR002": errors.GenerationChanged,
    "PR003": errors.FilterError,
    "PR004": errors.InvalidArgument,
}

#: SQLSTATEs of a server that shuts down or starts up, or of a broken line.
LOST = ("57P01", "57P02", "57P03", "08")

#: What becomes of prepared statements behind a pooler that hands each transaction to another connection.
_UNPREPARED = (psycopg.errors.DuplicatePreparedStatement, psycopg.errors.InvalidSqlStatementName)


class AskedDumper(Dumper):
    """Sends a vector in its wire format; the server infers the type from where it goes."""

    format = Format.BINARY

    def dump(self, obj: Asked) -> bytes:
        """The bytes are the wire format already."""
        return obj.wire


@dataclass(frozen=True, slots=True)
class Fetch:
    """Run one statement; the result is its rows, or [] if it returns none."""

    query: Query
    params: Sequence[Any] | None
    binary: bool

    def perform(self, session: Session) -> list[Row]:
        """Blocking."""
        with session.connection() as connection, _translated():
            # Not connection.cursor(): a caller's connection may make others, with parameters of their own.
            cursor = Cursor(connection, row_factory=tuple_row)
            cursor.execute(self.query, self.params, binary=self.binary)
            if cursor.pgresult is None:
                # In a pipeline of the caller's, which has not asked for answers yet; an inner one's end does.
                with connection.pipeline():
                    pass
            return cursor.fetchall() if _has_rows(cursor) else []

    async def perform_async(self, session: AsyncSession) -> list[Row]:
        """Awaiting."""
        async with session.connection() as connection:
            with _translated():
                cursor = AsyncCursor(connection, row_factory=tuple_row)
                await cursor.execute(self.query, self.params, binary=self.binary)
                if cursor.pgresult is None:
                    async with connection.pipeline():
                        pass
                return await cursor.fetchall() if _has_rows(cursor) else []


def _has_rows(cursor: Cursor[Row] | AsyncCursor[Row]) -> bool:
    # cursor.description says the same, and builds an object for each column to say it.
    return cursor.pgresult is not None and cursor.pgresult.nfields > 0


@dataclass(frozen=True, slots=True)
class CopyRows:
    """Write rows by binary COPY; ``types`` names the Postgres type of each column."""

    statement: Query
    types: Sequence[str]
    rows: Iterable[Sequence[Any]]

    def perform(self, session: Session) -> None:
        """Blocking."""
        with (
            session.connection() as connection,
            _translated(),
            Cursor(connection) as cursor,
            cursor.copy(self.statement) as copy,
        ):
            copy.set_types(self.types)
            for row in self.rows:
                copy.write_row(row)

    async def perform_async(self, session: AsyncSession) -> None:
        """Awaiting."""
        async with session.connection() as connection:
            with _translated():
                async with AsyncCursor(connection) as cursor, cursor.copy(self.statement) as copy:
                    copy.set_types(self.types)
                    for row in self.rows:
                        await copy.write_row(row)


@dataclass(frozen=True, slots=True)
class Transaction:
    """Run a flow on one connection, in one transaction; an error inside rolls it back."""

    flow: Flow[Any]

    def perform(self, session: Session) -> Any:
        """Blocking."""
        with session.connection() as connection, _translated(), connection.transaction():
            return run(self.flow, OnConnection(connection))

    async def perform_async(self, session: AsyncSession) -> Any:
        """Awaiting."""
        async with session.connection() as connection:
            with _translated():
                async with connection.transaction():
                    return await run_async(self.flow, OnAsyncConnection(connection))


def fetch(query: Query, params: Sequence[Any] | None = None) -> Flow[list[Row]]:
    """The rows of one statement, values decoded."""
    rows: list[Row] = yield Fetch(query, params, False)
    return rows


def fetch_binary(query: Query, params: Sequence[Any] | None = None) -> Flow[list[Row]]:
    """As ``fetch``, in the binary format: types that psycopg does not know arrive as their bytes."""
    rows: list[Row] = yield Fetch(query, params, True)
    return rows


def copy_rows(statement: Query, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> Flow[None]:
    """Write rows by binary COPY."""
    yield CopyRows(statement, types, rows)


def transaction(flow: Flow[T]) -> Generator[Step, Any, T]:
    """The result of a flow that runs in one transaction."""
    result: T = yield Transaction(flow)
    return result


class Session:
    """A blocking session on a pool."""

    def __init__(self, pool: ConnectionPool[Connection[Row]]) -> None:
        self._pool = pool

    @contextmanager
    def connection(self) -> Iterator[Connection[Row]]:
        """A connection for one step."""
        try:
            connection = self._pool.getconn()
        except (PoolTimeout, PoolClosed) as exc:
            raise translated(exc) from exc
        # Not pool.connection(): that opens a transaction block's worth of commit and rollback,
        # which autocommit connections do not need.
        try:
            yield connection
        finally:
            self._pool.putconn(connection)

    def close(self) -> None:
        """Close the pool and wait for its threads."""
        self._pool.close()


class OnConnection:
    """The session inside a transaction."""

    def __init__(self, connection: Connection[Row]) -> None:
        self._connection = connection

    @contextmanager
    def connection(self) -> Iterator[Connection[Row]]:
        """The transaction's own connection."""
        yield self._connection


class AsyncSession:
    """An awaiting session on a pool."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Row]]) -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """A connection for one step."""
        try:
            connection = await self._pool.getconn()
        except (PoolTimeout, PoolClosed) as exc:
            raise translated(exc) from exc
        try:
            yield connection
        finally:
            await self._pool.putconn(connection)

    async def close(self) -> None:
        """Close the pool."""
        await self._pool.close()


class OnAsyncConnection:
    """The awaiting session inside a transaction."""

    def __init__(self, connection: AsyncConnection[Row]) -> None:
        self._connection = connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """The transaction's own connection."""
        yield self._connection


def prepare(connection: Connection[Row] | AsyncConnection[Row]) -> None:
    """Teach a new connection our types; no round trip."""
    connection.adapters.register_dumper(Asked, AskedDumper)


def check(connection: Connection[Row]) -> None:
    """Raise, so that the pool takes another, if the server closed a connection that lay idle."""
    if _has_news(connection):
        ConnectionPool.check_connection(connection)


async def check_async(connection: AsyncConnection[Row]) -> None:
    """As ``check``, awaiting."""
    if _has_news(connection):
        await AsyncConnectionPool.check_connection(connection)


def _has_news(connection: Connection[Row] | AsyncConnection[Row]) -> bool:
    """Whether something arrived that nobody asked for. Costs no round trip, unlike asking the server."""
    if sys.platform != "win32":
        # A tenth of the time that a selector takes to be made.
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([connection], [], [], 0)[0])


@contextmanager
def _translated() -> Iterator[None]:
    """Driver errors as ours, each with the driver's as its cause."""
    try:
        yield
    except psycopg.Error as exc:
        raise translated(exc) from exc
    except UnicodeEncodeError as exc:
        raise errors.InvalidArgument(
            "A text holds half of a surrogate pair, which is no valid Unicode; remove it."
        ) from exc


def translated(exc: psycopg.Error) -> errors.PgrecallError:
    """The error of ours for one of the driver's."""
    message = exc.diag.message_primary or str(exc).strip() or type(exc).__name__
    state = exc.sqlstate or ""
    if state in RAISED:
        return RAISED[state](message[:1].upper() + message[1:])
    undefined = psycopg.errors.UndefinedTable | psycopg.errors.UndefinedFunction
    if isinstance(exc, undefined) and re.search(r"\b(chunks|nearest|search_vector)_g\d", message):
        # With its collection or without: whoever looks for the active one will find out.
        return errors.GenerationChanged("The generation was dropped meanwhile.")
    if isinstance(exc, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        return errors.SchemaMissing()
    if isinstance(exc, _UNPREPARED):
        return errors.DatabaseError(
            "A pooler between here and Postgres keeps no prepared statements: set PGRECALL_PREPARE=false, or "
            "prepare_threshold=None on connections of your own."
        )
    if isinstance(exc, psycopg.DataError) and not state:
        return errors.InvalidArgument(f"A value cannot be sent to Postgres: {message}.")
    if isinstance(exc, PoolTimeout):
        return errors.DatabaseUnavailable()
    lost = isinstance(exc, psycopg.OperationalError | psycopg.InterfaceError) and not state
    if lost or state.startswith(LOST):
        return errors.DatabaseUnavailable(f"The connection to Postgres was lost ({message}).")
    return errors.DatabaseError(f"Postgres refused: {message}")
