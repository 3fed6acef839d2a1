"""Connecting: to the embedded Postgres, or to the one that a URL names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgrecall import creating, doctor, errors
from pgrecall.collection import AsyncCollection, Collection
from pgrecall.connecting import Opened, Settled
from pgrecall.creating import Described
from pgrecall.doctor import Diagnosis
from pgrecall.embed.base import Embedder
from pgrecall.evaluate import Evaluation, ModelReport, evaluate
from pgrecall.flow import Flow, run, run_async
from pgrecall.load.discover import StrPath
from pgrecall.queueing import AsyncQueueing, Queueing
from pgrecall.store import collections, migrate, runs
from pgrecall.store.borrowed import AsyncLender, Lender, address, borrow, borrow_async
from pgrecall.store.session import AsyncSession, Row, Session, check, check_async, prepare
from pgrecall.target import Target
from pgrecall.types import Document, Run

if TYPE_CHECKING:
    from pgrecall.worker import WorkerOptions


class Database(Queueing):
    """An open database. From ``pgrecall.connect``; a context manager."""

    def __init__(self, opened: Settled, session: Session) -> None:
        self._opened = opened
        self._session = session

    @property
    def url(self) -> str:
        """The address of the database, for psql and other clients."""
        return self._opened.url

    def collection(self, name: str, *, embedder: str | Embedder | None = None) -> Collection:
        """A collection that exists; raises CollectionNotFound.

        ``embedder`` is needed only where the collection was made with an object of the caller's own.
        """
        return self._collection(creating.opened(name, embedder))

    def collections(self) -> list[Collection]:
        """All collections, by name."""
        names = run(collections.names(), self._session)
        return [self.collection(name) for name in names]

    def create_collection(
        self, name: str, *, exist_ok: bool = False, **options: Unpack[Described]
    ) -> Collection:
        """A new collection; raises CollectionExists unless ``exist_ok``.

        ``embedder`` is a name such as "static" (the default) or "openai:text-embedding-3-small", or any
        object that satisfies ``pgrecall.Embedder``. ``language`` is a text search configuration of
        Postgres; ``text_search`` the extension that ranks words, "pg_textsearch", instead of the text arm
        that needs none. ``storage`` is how vectors are kept, indexed and compared: "halfvec", "vector",
        "bit", or a ``pgrecall.Storage``; without it, halfvec up to 4,000 dimensions, bit above. Raises
        InvalidArgument for what does not fit together, ExtensionMissing.
        """
        wanted = self._opened.wanted(**options)
        return self._collection(creating.create(name, wanted, exist_ok=exist_ok))

    def planned(self, name: str, **options: Unpack[Described]) -> Collection:
        """A collection for ``plan`` only, whether it exists or not; nothing is created, no provider asked.

        Raises InvalidArgument as ``create_collection`` does.
        """
        return self._collection(self._opened.planned(name, options))

    def runs(self, *, limit: int = 20) -> list[Run]:
        """The last ingestions into any collection, newest first; also of those that were dropped."""
        return run(runs.recent(None, limit), self._session)

    def drop_collection(self, name: str) -> None:
        """Remove a collection with all its documents; raises CollectionNotFound."""
        run(collections.drop(name), self._session)

    def evaluate_models(
        self,
        evaluation: Evaluation,
        *,
        collection: str | None = None,
        sources: Iterable[StrPath | Document] = (),
    ) -> ModelReport:
        """Compare embedders on a sample of a collection's documents, or of ``sources``.

        Each embeds the sample into a throw-away collection; none is left. One that fails is in the report
        with its error. Raises CollectionNotFound, InvalidArgument if there is no document, MissingExtra.
        """
        flow = evaluate(evaluation, collection=collection, sources=sources)
        return run(flow, self._session)

    def doctor(self, *, embedders: Sequence[Embedder] = ()) -> Diagnosis:
        """Look at the server, its settings, and what must stand around documents; quick.

        ``embedders`` are those of collections that were made with objects of the caller's own.
        """
        return run(doctor.doctor(embedders), self._session)

    def verify(self, *, repair: bool = False, embedders: Sequence[Embedder] = ()) -> Diagnosis:
        """Hold every chunk of the database against its document's text; reads all of it.

        With ``repair``, what is broken is made again from the stored text, and what belongs to nothing
        is removed. Readers and writers go on meanwhile.
        """
        return run(doctor.check(repair=repair, embedders=embedders), self._session)

    def close(self) -> None:
        """Close the connections; the last user of the embedded server stops it."""
        self._session.close()
        self._opened.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _collection(self, flow: Flow[Target]) -> Collection:
        return Collection(run(flow, self._session), self._session)


class AsyncDatabase(AsyncQueueing):
    """As ``Database``, awaited. From ``pgrecall.connect_async``; an asynchronous context manager."""

    def __init__(self, source: str | AsyncLender | None, home: Path | None) -> None:
        self._source, self._home = source, home

    async def open(self) -> Self:
        """Connect; ``async with`` does it by itself."""
        if self._source is None or isinstance(self._source, str):
            # Only the start of the embedded server blocks; it is a matter of processes, not of waiting.
            opened = await asyncio.to_thread(Opened, self._source, self._home)
            pool: AsyncConnectionPool[AsyncConnection[Row]] = AsyncConnectionPool(
                **opened.pool_options, configure=_prepare_async, check=check_async
            )
            await pool.open()
            self._opened: Settled = opened
            self._session = AsyncSession(pool)
        else:
            self._session = borrow_async(self._source)
            self._opened = Settled(address(self._source))
            await run_async(migrate.verify(), self._session)
        return self

    @property
    def url(self) -> str:
        """As ``Database.url``."""
        return self._opened.url

    async def collection(
        self, name: str, *, embedder: str | Embedder | None = None
    ) -> AsyncCollection:
        """As ``Database.collection``."""
        return await self._collection(creating.opened(name, embedder))

    async def collections(self) -> list[AsyncCollection]:
        """As ``Database.collections``."""
        names = await run_async(collections.names(), self._session)
        return [await self.collection(name) for name in names]

    async def create_collection(
        self, name: str, *, exist_ok: bool = False, **options: Unpack[Described]
    ) -> AsyncCollection:
        """As ``Database.create_collection``."""
        wanted = self._opened.wanted(**options)
        return await self._collection(creating.create(name, wanted, exist_ok=exist_ok))

    async def planned(self, name: str, **options: Unpack[Described]) -> AsyncCollection:
        """As ``Database.planned``."""
        return await self._collection(self._opened.planned(name, options))

    async def runs(self, *, limit: int = 20) -> list[Run]:
        """As ``Database.runs``."""
        return await run_async(runs.recent(None, limit), self._session)

    async def drop_collection(self, name: str) -> None:
        """As ``Database.drop_collection``."""
        await run_async(collections.drop(name), self._session)

    async def evaluate_models(
        self,
        evaluation: Evaluation,
        *,
        collection: str | None = None,
        sources: Iterable[StrPath | Document] = (),
    ) -> ModelReport:
        """As ``Database.evaluate_models``."""
        flow = evaluate(evaluation, collection=collection, sources=sources)
        return await run_async(flow, self._session)

    async def doctor(self, *, embedders: Sequence[Embedder] = ()) -> Diagnosis:
        """As ``Database.doctor``."""
        return await run_async(doctor.doctor(embedders), self._session)

    async def verify(
        self, *, repair: bool = False, embedders: Sequence[Embedder] = ()
    ) -> Diagnosis:
        """As ``Database.verify``."""
        return await run_async(doctor.check(repair=repair, embedders=embedders), self._session)

    async def work(
        self,
        options: WorkerOptions | None = None,
        *,
        embedders: Iterable[Embedder] = (),
        stop: asyncio.Event | None = None,
    ) -> None:
        """Be a worker: do what is handed over, until ``stop`` is set or the task is cancelled.

        ``embedders`` are those of collections that were made with an object of the caller's own. Raises
        InvalidArgument on a lent connection, since a worker opens connections of its own.
        """
        if not isinstance(self._opened, Opened):
            raise errors.InvalidArgument(
                "A worker opens connections of its own: connect with a URL, not with a connection."
            )
        # procrastinate takes a quarter of a second to import.
        from pgrecall.worker import work

        await work(self.url, self._session, options, embedders=embedders, stop=stop)

    async def close(self) -> None:
        """As ``Database.close``."""
        await self._session.close()
        await asyncio.to_thread(self._opened.release)

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _collection(self, flow: Flow[Target]) -> AsyncCollection:
        return AsyncCollection(await run_async(flow, self._session), self._session)


def connect(url: str | Lender | None = None, *, home: Path | None = None) -> Database:
    """Open a database: ``url``, else PGRECALL_DATABASE_URL, else the embedded server in ``home``.

    Instead of a URL, a psycopg Connection or ConnectionPool or a SQLAlchemy Engine of your own may be
    given; it stays yours. What is done in a transaction that is open on a connection is part of it; where
    none is open, each step is committed by itself. The tables of the embedded server are made and updated by
    themselves; those of a server of your own by ``pgrecall db upgrade``. Raises DatabaseUnavailable,
    SchemaMissing, SchemaOutdated, ExtensionMissing, ExtensionTooOld, EmbeddedServerError.
    """
    if url is not None and not isinstance(url, str):
        session = borrow(url)
        run(migrate.verify(), session)
        return Database(Settled(address(url)), session)
    opened = Opened(url, home)
    pool: ConnectionPool[Connection[Row]] = ConnectionPool(
        **opened.pool_options, configure=prepare, check=check
    )
    pool.open()
    return Database(opened, Session(pool))


def connect_async(
    url: str | AsyncLender | None = None, *, home: Path | None = None
) -> AsyncDatabase:
    """As ``connect``, for ``async with``; what is lent is an awaited one too."""
    return AsyncDatabase(url, home)


async def _prepare_async(connection: AsyncConnection[Row]) -> None:
    prepare(connection)
