"""A worker's life: procrastinate's loop, what the dead leave behind, the way back to a lost database."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import procrastinate
from procrastinate.exceptions import ConnectorException
from procrastinate.job_context import JobContext
from procrastinate.manager import JobManager
from procrastinate.worker import Worker as Loop
from psycopg import AsyncConnection, OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pgrecall import errors
from pgrecall.flow import run_async
from pgrecall.store import jobs, jobtables, settling
from pgrecall.store.session import AsyncSession, check_async
from pgrecall.worker.accounts import Accounts
from pgrecall.worker.desk import Desk
from pgrecall.worker.embedders import Embedders
from pgrecall.worker.failing import Final
from pgrecall.worker.filling import Filling
from pgrecall.worker.options import Backoff, WorkerOptions

logger = logging.getLogger("pgrecall.worker")

#: Seconds between two looks for new jobs, should the notification that there is one get lost.
POLL = 5.0
#: The same for one that drains the queue, which also looks whether it is done.
GLANCE = 0.2
#: The longest pause before a lost database is tried again, in seconds.
LONGEST_ABSENCE = 30.0

Lost = (ConnectorException, OperationalError, PoolTimeout, errors.DatabaseUnavailable)


class Worker:
    """Takes documents out of the queue of the database at ``url`` until ``stop`` is called.

    ``session`` is where documents are read and written; procrastinate has a pool of its own, on which the
    schema pgrecall is the search path, so that no connection of anybody else's is touched.
    """

    def __init__(
        self,
        url: str,
        session: AsyncSession,
        options: WorkerOptions,
        embedders: Embedders,
        accounts: Accounts,
    ) -> None:
        jobtables.check()
        self._url, self._session, self._options = url, session, options
        self._accounts = accounts
        self._desk = Desk(session, embedders, accounts)
        self._filling = Filling(session, embedders, accounts)
        self._stopping = asyncio.Event()
        self._loop: Loop | None = None

    def stop(self) -> None:
        """Finish what is in hand, or give it back when ``grace`` is over. For the thread of the event loop."""
        self._stopping.set()
        self._end_loop()

    async def run(self) -> None:
        """Work. A database that goes away is waited for, except by a worker that only drains the queue.

        That one raises DatabaseUnavailable.
        """
        pause = 1.0
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            try:
                await self._work()
            except Lost as exc:
                if self._options.drain:
                    raise errors.DatabaseUnavailable(
                        f"The connection to Postgres was lost ({exc})."
                    ) from exc
                logger.warning("The database went away (%s); trying again in %.0f s", exc, pause)
            if self._options.drain:
                return
            if asyncio.get_running_loop().time() - began > LONGEST_ABSENCE:
                pause = 1.0
            await self._sleep(pause)
            pause = min(2 * pause, LONGEST_ABSENCE)

    async def _work(self) -> None:
        async with self._app() as app, _beside(self._look_after), _beside(self._accounts.keep):
            await self._take_over()
            await self._run_loop(app)
            if self._options.drain:
                await self._drain(app)

    async def _drain(self, app: procrastinate.App) -> None:
        while not self._stopping.is_set():
            # A newer version becomes due when the one in hand is done.
            while not self._stopping.is_set() and await run_async(jobs.waits(), self._session):
                await self._sleep(0.1)
                await self._run_loop(app)
            # What was planned for a quiet moment: this is one.
            await run_async(settling.settle_now(), self._session)
            await self._run_loop(app)
            # Finishing a generation may bring more to do, which is to be finished too.
            left = await run_async(settling.left(), self._session)
            if not (left or await run_async(jobs.waits(), self._session)):
                return

    async def _run_loop(self, app: procrastinate.App) -> None:
        options = self._options
        self._loop = loop = Loop(
            app,
            queues=[jobs.QUEUE],
            name=None,
            concurrency=options.concurrency,
            fetch_job_polling_interval=GLANCE if options.drain else POLL,
            shutdown_graceful_timeout=options.grace,
            delete_jobs="successful",
            install_signal_handlers=False,
            update_heartbeat_interval=options.heartbeat,
            stalled_worker_timeout=options.stalled_after,
        )
        if self._stopping.is_set():
            return
        working = asyncio.create_task(loop.run())  # type: ignore[no-untyped-call]
        try:
            if options.drain:
                await self._until_idle(loop, working)
        finally:
            await working

    async def _until_idle(self, loop: Loop, working: asyncio.Task[None]) -> None:
        """End the loop when nothing is in hand and nothing due.

        Its own way (``wait=False``) is to give back what is in hand when nothing more is due, after the grace
        that is meant for a signal; and to give no sign of life meanwhile.
        """
        pause = 0.01
        try:
            while not (working.done() or self._stopping.is_set()):
                # Before it has a number, nobody could see what it has in hand.
                number = loop.worker_id
                if number is not None and not await run_async(jobs.busy(number), self._session):
                    return
                await asyncio.wait([working], timeout=pause)
                pause = min(2 * pause, GLANCE)
        finally:
            loop.stop()  # type: ignore[no-untyped-call]

    @asynccontextmanager
    async def _app(self) -> AsyncIterator[procrastinate.App]:
        connector = procrastinate.PsycopgConnector(
            conninfo=_in_our_schema(self._url),
            min_size=1,
            max_size=4,
            kwargs={"application_name": "pgrecall worker"},
            configure=_autocommit,
            pool_factory=_pool,
        )
        app = procrastinate.App(connector=connector)
        app.job_manager = _Manager(connector, self._end_loop)
        backoff = Backoff(self._options)

        @app.task(name=jobs.INGEST, pass_context=True, retry=backoff)
        async def ingest(context: JobContext, uri: str) -> None:
            await self._desk.ingest(*_of(context, backoff))

        @app.task(name=jobs.REINDEX, pass_context=True, retry=backoff)
        async def reindex(context: JobContext, generation_id: int) -> None:
            job_id, final = _of(context, backoff)
            await self._filling.add(job_id, context.job.attempts, final)

        @app.task(name=jobs.SETTLE)
        async def settle(collection_id: int, since: float) -> None:
            await self._desk.settle(collection_id, since)

        @app.task(name=jobs.FINISH, retry=backoff)
        async def finish(generation_id: int) -> None:
            await self._filling.finish(generation_id)

        async with app.open_async():
            yield app

    def _end_loop(self) -> None:
        # After a loss ``run`` begins anew; the jobs whose end was not written down are then nobody's, and
        # taken over.
        if self._loop is not None:
            self._loop.stop()  # type: ignore[no-untyped-call]

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(self._options.heartbeat)
            try:
                await self._take_over()
            except errors.DatabaseError as exc:
                logger.warning("Could not look after other workers: %s", exc)

    async def _take_over(self) -> None:
        flow = jobs.take_over(
            stalled_after=self._options.stalled_after, attempts=self._options.attempts
        )
        if taken := await run_async(flow, self._session):
            logger.warning("Took over %d jobs of workers that died", taken)

    async def _sleep(self, seconds: float) -> None:
        """Until then, or until the worker is to stop."""
        await asyncio.wait([asyncio.ensure_future(self._stopping.wait())], timeout=seconds)


class _Manager(JobManager):
    """Says so when the end of a job could not be written down."""

    def __init__(self, connector: procrastinate.BaseConnector, lost: Callable[[], None]) -> None:
        super().__init__(connector)
        self._lost = lost

    async def finish_job(self, *args: Any, **kwargs: Any) -> None:
        """As procrastinate's."""
        await self._told(super().finish_job(*args, **kwargs))

    async def retry_job(self, *args: Any, **kwargs: Any) -> None:
        """As procrastinate's."""
        await self._told(super().retry_job(*args, **kwargs))

    async def _told(self, telling: Awaitable[None]) -> None:
        try:
            await telling
        except Exception as exc:
            logger.warning("The end of a job could not be written down: %s", exc)
            self._lost()


def _of(context: JobContext, backoff: Backoff) -> tuple[int, Final]:
    """The number of a job, and whether it is given up if it fails now."""
    job = context.job
    assert job.id is not None
    return job.id, lambda exc: backoff.get_retry_decision(exception=exc, job=job) is None


@asynccontextmanager
async def _beside(work: Callable[[], Any]) -> AsyncIterator[None]:
    """A task that runs as long as the block."""
    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _autocommit(connection: AsyncConnection[Any]) -> None:
    # procrastinate's statements each stand alone; BEGIN and COMMIT would be three round trips for one.
    await connection.set_autocommit(True)


def _pool(**given: Any) -> AsyncConnectionPool[AsyncConnection[Any]]:
    """With our check of an idle connection, which costs no round trip."""
    return AsyncConnectionPool(**{**given, "check": check_async})


def _in_our_schema(url: str) -> str:
    """procrastinate writes names without a schema.

    As a startup option, so that a pooler that would hand the connection on to others refuses it.
    """
    given = str(conninfo_to_dict(url).get("options") or "")
    return make_conninfo(url, options=f"{given} -c search_path=pgrecall".strip())
