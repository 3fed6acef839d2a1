"""Connecting: to the embedded Postgres, or to the one that a URL names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

from psycopg import AsyncConnection, Connection
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgrecall import doctor, errors
from pgrecall.chunking import ChunkConfig
from pgrecall.collection import AsyncCollection, Collection
from pgrecall.doctor import Diagnosis
from pgrecall.embed import open_embedder
from pgrecall.embed.base import Embedder
from pgrecall.embed.offline import offline
from pgrecall.evaluate import Evaluation, ModelReport, evaluate
from pgrecall.flow import Flow, run, run_async
from pgrecall.load.discover import StrPath
from pgrecall.reindex.choice import new_generation
from pgrecall.retrieve import Target
from pgrecall.store import collections, jobs, migrate, runs, wordsearch
from pgrecall.store.borrowed import AsyncLender, Lender, address, borrow, borrow_async
from pgrecall.store.collections import Generation, NewGeneration
from pgrecall.store.embedded import EmbeddedServer
from pgrecall.store.jobs import FailedJob, QueueStatus
from pgrecall.store.session import AsyncSession, Row, Session, check, check_async, prepare
from pgrecall.store.storage import Storage, StorageType, chosen
from pgrecall.types import Document, Run

if TYPE_CHECKING:
    from pgrecall.worker import WorkerOptions


class _Settled:
    """What is known of a database before anything is asked of it."""

    def __init__(self, url: str) -> None:
        # pydantic takes longer to import than everything else that a search needs.
        from pgrecall.settings import Settings

        self.settings = Settings()
        self.url = url

    def release(self) -> None:
        """Whoever lends a connection keeps the database."""

    def planned(self, name: str, options: Described) -> Flow[Target]:
        """The collection of that name, or what would be created under it."""
        return _foreseen(name, replace(self.wanted(**options), opened=offline))

    def wanted(
        self,
        *,
        embedder: str | Embedder | None = None,
        chunking: ChunkConfig | None = None,
        language: str = "english",
        text_search: str | None = None,
        storage: Storage | StorageType | None = None,
    ) -> Wanted:
        """What a caller asks of a collection, with the settings' defaults."""
        return Wanted(
            embedder=embedder,
            default_embedder=self.settings.embedder,
            chunking=chunking,
            language=language,
            text_search=text_search,
            storage=chosen(storage),
        )


class _Opened(_Settled):
    """A database that answers and has our tables, and the embedded server if it is that one."""

    def __init__(self, url: str | None, home: Path | None) -> None:
        super().__init__("")
        self.server: EmbeddedServer | None = None
        address = url or self.settings.database_url
        if address is None:
            self.server = EmbeddedServer.start(home or self.settings.home)
            address = self.server.url
        self.url = migrate.libpq_url(address)
        try:
            self._check()
        except BaseException:
            self.release()
            raise

    def _check(self) -> None:
        try:
            migrate.check(self.url)
        except (errors.SchemaMissing, errors.SchemaOutdated):
            # Nobody else looks after the embedded server; a server of their own, users upgrade.
            if self.server is None:
                raise
            migrate.upgrade(self.url)

    def release(self) -> None:
        """Leave the embedded server; the last user to leave stops it."""
        if self.server is not None:
            self.server.release()

    @property
    def pool_options(self) -> dict[str, Any]:
        """One connection at first, more on demand; each statement its own transaction."""
        return {
            "conninfo": self.url,
            "min_size": 1,
            "max_size": self.settings.pool_size,
            "open": False,
            "name": "pgrecall",
            "kwargs": {
                "autocommit": True,
                "application_name": "pgrecall",
                "prepare_threshold": 5 if self.settings.prepare else None,
            },
        }


def _create(name: str, wanted: Wanted, *, exist_ok: bool) -> Flow[Target]:
    if exist_ok:
        try:
            generation = yield from collections.active(name)
        except errors.CollectionNotFound:
            pass
        else:
            return wanted.existing(generation)
    embedder = open_embedder(wanted.embedder or wanted.default_embedder)
    try:
        yield from wordsearch.check(wanted.text_search)
        generation = yield from collections.create(
            name, wanted.generation(embedder), defaults=wanted.defaults
        )
    except errors.CollectionExists:
        if not exist_ok:
            raise
        # Somebody else was quicker.
        return wanted.existing((yield from collections.active(name)))
    return Target(generation, embedder)


def _foreseen(name: str, wanted: Wanted) -> Flow[Target]:
    try:
        return wanted.existing((yield from collections.active(name)))
    except errors.CollectionNotFound:
        embedder = wanted.opened(wanted.embedder or wanted.default_embedder)
        new = wanted.generation(embedder)
        return Target(collections.imagined(name, new, wanted.defaults), embedder)


class Described(TypedDict, total=False):
    """What describes a collection, as ``create_collection`` says; all of it may be left away."""

    embedder: str | Embedder | None
    chunking: ChunkConfig | None
    language: str
    text_search: str | None
    storage: Storage | StorageType | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a caller asks of a new collection; None where the caller does not mind."""

    embedder: str | Embedder | None
    default_embedder: str
    chunking: ChunkConfig | None
    language: str
    text_search: str | None
    storage: Storage | None
    #: How embedders are opened; a plan does it without a key.
    opened: Callable[[str | Embedder], Embedder] = open_embedder

    @property
    def defaults(self) -> dict[str, str]:
        """What its searches and documents do unless they say otherwise."""
        given = {"language": self.language, "text_search": self.text_search}
        return {name: value for name, value in given.items() if value is not None}

    def generation(self, embedder: Embedder) -> NewGeneration:
        """Its first generation. Raises InvalidArgument if the chunks would not fit the model."""
        return new_generation(embedder, self.chunking, self.storage)

    def existing(self, generation: Generation) -> Target:
        """The collection that is there, if it is what the caller asked for."""
        embedder = self.opened(self.embedder) if self.embedder is not None else None
        if embedder is not None and embedder.name != generation.embedder:
            asked, there = embedder.name, generation.embedder
        elif self.chunking is not None and self.chunking.to_dict() != generation.chunking:
            asked, there = str(self.chunking), str(generation.chunking)
        elif self.text_search not in (None, generation.text_search):
            asked, there = f"text_search={self.text_search!r}", f"{generation.text_search!r}"
        elif self._stored_otherwise(generation):
            asked, there = str(self.storage), str(generation.storage)
        else:
            return Target(generation, embedder)
        raise errors.InvalidArgument(
            f'The collection "{generation.collection}" exists with {there}, not {asked}: '
            "leave that argument away, choose another name, or reindex the collection."
        )

    def _stored_otherwise(self, generation: Generation) -> bool:
        wanted = self.storage
        if wanted is None:
            return False
        return wanted.of(generation.dimensions, generation.embedder) != generation.storage


class Database:
    """An open database. From ``pgrecall.connect``; a context manager."""

    def __init__(self, opened: _Settled, session: Session) -> None:
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
        return self._collection(_open(name, embedder))

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
        return self._collection(_create(name, wanted, exist_ok=exist_ok))

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

    def queue_status(self) -> QueueStatus:
        """How many documents wait for workers, are in hand, or have failed."""
        return run(jobs.status(), self._session)

    def failed_jobs(self, collection: str | None = None) -> list[FailedJob]:
        """Documents that workers could not take in, with the reasons, oldest first."""
        return run(jobs.failed(collection), self._session)

    def retry_jobs(self, job_ids: Sequence[int] | None = None) -> int:
        """Let failed documents be tried again; None: all of them. How many there were."""
        return run(jobs.retry(job_ids), self._session)

    def discard_jobs(self, job_ids: Sequence[int] | None = None) -> int:
        """Drop failed documents from the queue; None: all. Versions that are stored stay as they are."""
        return run(jobs.discard(job_ids), self._session)

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


class AsyncDatabase:
    """As ``Database``, awaited. From ``pgrecall.connect_async``; an asynchronous context manager."""

    def __init__(self, source: str | AsyncLender | None, home: Path | None) -> None:
        self._source, self._home = source, home

    async def open(self) -> Self:
        """Connect; ``async with`` does it by itself."""
        if self._source is None or isinstance(self._source, str):
            # Only the start of the embedded server blocks; it is a matter of processes, not of waiting.
            opened = await asyncio.to_thread(_Opened, self._source, self._home)
            pool: AsyncConnectionPool[AsyncConnection[Row]] = AsyncConnectionPool(
                **opened.pool_options, configure=_prepare_async, check=check_async
            )
            await pool.open()
            self._opened: _Settled = opened
            self._session = AsyncSession(pool)
        else:
            self._session = borrow_async(self._source)
            self._opened = _Settled(address(self._source))
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
        return await self._collection(_open(name, embedder))

    async def collections(self) -> list[AsyncCollection]:
        """As ``Database.collections``."""
        names = await run_async(collections.names(), self._session)
        return [await self.collection(name) for name in names]

    async def create_collection(
        self, name: str, *, exist_ok: bool = False, **options: Unpack[Described]
    ) -> AsyncCollection:
        """As ``Database.create_collection``."""
        wanted = self._opened.wanted(**options)
        return await self._collection(_create(name, wanted, exist_ok=exist_ok))

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

    async def queue_status(self) -> QueueStatus:
        """As ``Database.queue_status``."""
        return await run_async(jobs.status(), self._session)

    async def failed_jobs(self, collection: str | None = None) -> list[FailedJob]:
        """As ``Database.failed_jobs``."""
        return await run_async(jobs.failed(collection), self._session)

    async def retry_jobs(self, job_ids: Sequence[int] | None = None) -> int:
        """As ``Database.retry_jobs``."""
        return await run_async(jobs.retry(job_ids), self._session)

    async def discard_jobs(self, job_ids: Sequence[int] | None = None) -> int:
        """As ``Database.discard_jobs``."""
        return await run_async(jobs.discard(job_ids), self._session)

    async def work(
        self,
        options: WorkerOptions | None = None,
        *,
        embedders: Iterable[Embedder] = (),
        stop: asyncio.Event | None = None,
    ) -> None:
        """Be a worker: take in what ``enqueue`` hands over, until ``stop`` is set or the task is cancelled.

        ``embedders`` are those of collections that were made with an object of the caller's own. Raises
        InvalidArgument on a lent connection, since a worker opens connections of its own.
        """
        if not isinstance(self._opened, _Opened):
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
    given; it stays yours, and a transaction that is open on a connection stays open. The tables of the
    embedded server are made and updated by themselves; those of a server of your own by
    ``pgrecall db upgrade``. Raises DatabaseUnavailable, SchemaMissing, SchemaOutdated, ExtensionMissing,
    ExtensionTooOld, EmbeddedServerError.
    """
    if url is not None and not isinstance(url, str):
        session = borrow(url)
        run(migrate.verify(), session)
        return Database(_Settled(address(url)), session)
    opened = _Opened(url, home)
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


def _open(name: str, embedder: str | Embedder | None) -> Flow[Target]:
    generation = yield from collections.active(name)
    return Target(generation, open_embedder(embedder) if embedder is not None else None)


async def _prepare_async(connection: AsyncConnection[Row]) -> None:
    prepare(connection)
