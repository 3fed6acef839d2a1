"""Sessions on what the caller brings: a pool, a SQLAlchemy engine, or one connection.

Nothing of the caller's is closed, and no setting of it is changed. What has no transaction open gets one for
each step, and its end; in a transaction that the caller has open, everything is part of that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg import AsyncConnection, Connection
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolClosed, PoolTimeout

from pgrecall import errors
from pgrecall.store.session import AsyncSession, Row, Session, prepare, translated

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

#: What ``connect`` takes instead of a URL.
Lender: TypeAlias = "ConnectionPool[Connection[Any]] | Connection[Any] | Engine"
#: What ``connect_async`` takes instead of a URL.
AsyncLender: TypeAlias = (
    "AsyncConnectionPool[AsyncConnection[Any]] | AsyncConnection[Any] | AsyncEngine"
)


class OnPool(Session):
    """A session on the caller's pool."""

    def __init__(self, pool: ConnectionPool[Connection[Any]]) -> None:
        self._pool = pool

    @contextmanager
    def connection(self) -> Iterator[Connection[Row]]:
        """A connection for one step, committed at its end."""
        try:
            with self._pool.connection() as connection:
                prepare(connection)
                yield connection
        except (PoolTimeout, PoolClosed) as exc:
            raise translated(exc) from exc

    def close(self) -> None:
        """The pool is the caller's."""


class OnEngine(Session):
    """A session on the caller's SQLAlchemy engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def connection(self) -> Iterator[Connection[Row]]:
        """A connection for one step, committed at its end."""
        fairy = self._engine.raw_connection()
        try:
            connection = _psycopg(fairy.driver_connection, Connection)
            prepare(connection)
            with _ended(connection):
                yield connection
        finally:
            fairy.close()

    def close(self) -> None:
        """The engine is the caller's."""


class OnOwn(Session):
    """A session on one connection of the caller's; threads take turns."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._own = connection
        self._turn = RLock()

    @contextmanager
    def connection(self) -> Iterator[Connection[Row]]:
        """The connection, for one step; a transaction that was open stays so."""
        with self._turn:
            prepare(self._own)
            with _ended(self._own):
                yield self._own

    def close(self) -> None:
        """The connection is the caller's."""


class OnAsyncPool(AsyncSession):
    """As ``OnPool``, awaiting."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Any]]) -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """A connection for one step, committed at its end."""
        try:
            async with self._pool.connection() as connection:
                prepare(connection)
                yield connection
        except (PoolTimeout, PoolClosed) as exc:
            raise translated(exc) from exc

    async def close(self) -> None:
        """The pool is the caller's."""


class OnAsyncEngine(AsyncSession):
    """As ``OnEngine``, awaiting."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """A connection for one step, committed at its end."""
        async with self._engine.connect() as borrowed:
            fairy = await borrowed.get_raw_connection()
            connection = _psycopg(fairy.driver_connection, AsyncConnection)
            prepare(connection)
            async with _ended_async(connection):
                yield connection

    async def close(self) -> None:
        """The engine is the caller's."""


class OnOwnAsync(AsyncSession):
    """As ``OnOwn``, awaiting; tasks take turns."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._own = connection
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """The connection, for one step; a transaction that was open stays so."""
        async with self._turn:
            prepare(self._own)
            async with _ended_async(self._own):
                yield self._own

    async def close(self) -> None:
        """The connection is the caller's."""


def borrow(lender: Lender) -> Session:
    """A session on what the caller brings. Raises InvalidArgument for anything else."""
    if isinstance(lender, ConnectionPool):
        return OnPool(lender)
    if isinstance(lender, Connection):
        return OnOwn(lender)
    from sqlalchemy import Engine

    if isinstance(lender, Engine):
        return OnEngine(lender)
    raise errors.InvalidArgument(
        "connect takes a URL, a psycopg Connection or ConnectionPool, or a SQLAlchemy Engine, "
        f"not {type(lender).__name__}; connect_async takes the awaited ones."
    )


def borrow_async(lender: AsyncLender) -> AsyncSession:
    """As ``borrow``, for ``connect_async``."""
    if isinstance(lender, AsyncConnectionPool):
        return OnAsyncPool(lender)
    if isinstance(lender, AsyncConnection):
        return OnOwnAsync(lender)
    from sqlalchemy.ext.asyncio import AsyncEngine

    if isinstance(lender, AsyncEngine):
        return OnAsyncEngine(lender)
    raise errors.InvalidArgument(
        "connect_async takes a URL, a psycopg AsyncConnection or AsyncConnectionPool, or a SQLAlchemy "
        f"AsyncEngine, not {type(lender).__name__}; connect takes the blocking ones."
    )


def address(lender: Lender | AsyncLender) -> str:
    """Where the caller's connections go, as far as they say; for psql and other clients."""
    if isinstance(lender, ConnectionPool | AsyncConnectionPool):
        return str(lender.conninfo)
    if isinstance(lender, Connection | AsyncConnection):
        return lender.info.dsn
    return lender.url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextmanager
def _ended(connection: Connection[Any]) -> Iterator[None]:
    """End the transaction that a step began by itself."""
    if connection.info.transaction_status != TransactionStatus.IDLE or connection.autocommit:
        yield
        return
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


@asynccontextmanager
async def _ended_async(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """As ``_ended``, awaiting."""
    if connection.info.transaction_status != TransactionStatus.IDLE or connection.autocommit:
        yield
        return
    try:
        yield
    except BaseException:
        await connection.rollback()
        raise
    await connection.commit()


def _psycopg(connection: Any, expected: type[Any]) -> Any:
    if not isinstance(connection, expected):
        raise errors.InvalidArgument(
            f"This engine uses {type(connection).__module__.partition('.')[0]}; pgrecall needs one on "
            "psycopg 3: create_engine('postgresql+psycopg://...')."
        )
    return connection
