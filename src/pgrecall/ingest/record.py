"""The record of a run: begun, kept alive, and ended as it ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from threading import Event, Thread

from pgrecall import telemetry
from pgrecall.errors import DatabaseError
from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.job import Ingestion
from pgrecall.store import runs
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import RunState

logger = logging.getLogger(__name__)


@contextmanager
def recorded(session: Session, job: Ingestion) -> Iterator[None]:
    """Keep what happens inside as one run."""
    number = run(_begin(job), session)
    over = Event()
    alive = Thread(target=_beat, args=(session, job, number, over), daemon=True)
    alive.start()
    failure: BaseException | None = None
    began = time.perf_counter()
    try:
        with _observed(job, number):
            yield
    except BaseException as exc:
        failure = exc
        raise
    finally:
        job.report.seconds = time.perf_counter() - began
        over.set()
        alive.join()
        run(_end(job, number, failure), session)


def _beat(session: Session, job: Ingestion, number: int, over: Event) -> None:
    while not over.wait(runs.BEAT):
        run(_alive(job, number), session)


@asynccontextmanager
async def recorded_async(session: AsyncSession, job: Ingestion) -> AsyncIterator[None]:
    """As ``recorded``, awaiting."""
    number = await run_async(_begin(job), session)
    over = asyncio.Event()
    alive = asyncio.create_task(_beat_async(session, job, number, over))
    failure: BaseException | None = None
    began = time.perf_counter()
    try:
        with _observed(job, number):
            yield
    except BaseException as exc:
        failure = exc
        raise
    finally:
        job.report.seconds = time.perf_counter() - began
        over.set()
        await alive
        await run_async(_end(job, number, failure), session)


async def _beat_async(
    session: AsyncSession, job: Ingestion, number: int, over: asyncio.Event
) -> None:
    while not over.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), runs.BEAT)
            return
        await run_async(_alive(job, number), session)


def _observed(job: Ingestion, number: int) -> telemetry.Span:
    name = job.generation.collection
    return telemetry.span(
        f"pgrecall.ingest {name}",
        {"pgrecall.collection": name},
        details={"pgrecall.run_id": number},
    )


def _begin(job: Ingestion) -> Flow[int]:
    number = yield from runs.begin(job.generation)
    job.report.cost = job.budget.cost(0)
    logger.info(
        "Run %d of %s began.", number, job.generation.collection, extra=_fields(job, number)
    )
    return number


def _alive(job: Ingestion, number: int) -> Flow[None]:
    try:
        yield from runs.beat(number, job.report)
    except DatabaseError as exc:
        # The next one may get through; if none does, the run ends by itself.
        logger.debug("Run %d could not say that it lives: %s", number, exc)


def _end(job: Ingestion, number: int, failure: BaseException | None) -> Flow[None]:
    state, error = _outcome(job, failure)
    fields = {**_fields(job, number), "state": state, "error": error}
    logger.info("Run %d of %s: %s.", number, job.generation.collection, state, extra=fields)
    try:
        if state == "done" and not (job.notable or job.report.did_something):
            yield from runs.forget(number)
        else:
            yield from runs.end(number, job.report, state, error)
    except DatabaseError as exc:
        # Nothing is lost but the record: the run counts as killed.
        logger.warning("The end of run %d could not be recorded: %s", number, exc)


def _outcome(job: Ingestion, failure: BaseException | None) -> tuple[RunState, str | None]:
    if failure is None:
        return ("stopped", "The budget was used up.") if job.report.left else ("done", None)
    if isinstance(failure, Exception):
        return "failed", str(failure) or type(failure).__name__
    # KeyboardInterrupt, CancelledError, or a generator that was closed.
    return "interrupted", None


def _fields(job: Ingestion, number: int) -> dict[str, object]:
    """What a structured log says of the run."""
    report = job.report
    return {
        "run_id": number,
        "collection": job.generation.collection,
        "embedder": job.generation.embedder,
        "documents": report.new + report.changed + report.renamed,
        "unchanged": report.unchanged,
        "removed": report.removed,
        "failed": len(report.failed),
        "chunks": report.chunks,
        "embedded": report.embedded,
        "tokens": report.tokens,
        "cost": report.cost,
        "seconds": round(report.seconds, 3),
    }
