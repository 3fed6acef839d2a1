"""The record of a run: begun, kept alive, and ended as it ended.

What is embedded for generations that are being built is a run of its own, with another embedder."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Event, Thread

from pgrecall import telemetry
from pgrecall.errors import DatabaseError
from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.job import Ingestion
from pgrecall.store import runs
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import IngestReport, RunKind, RunState

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Record:
    """The rows of a run."""

    job: Ingestion
    number: int
    kind: RunKind
    #: What it broke off with.
    failure: BaseException | None = None
    #: By generation, the rows of its branches that have embedded something.
    branches: dict[int, int] = field(default_factory=dict)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Note how long it takes, and what it breaks off with."""
        name = self.job.generation.collection
        began = time.perf_counter()
        try:
            with telemetry.span(
                f"pgrecall.{self.kind} {name}",
                {"pgrecall.collection": name},
                details={"pgrecall.run_id": self.number},
            ):
                yield
        except BaseException as exc:
            self.failure = exc
            raise
        finally:
            self.job.report.seconds = time.perf_counter() - began


@contextmanager
def recorded(session: Session, job: Ingestion, kind: RunKind = "ingest") -> Iterator[None]:
    """Keep what happens inside as one run."""
    record = run(_begin(job, kind), session)
    over = Event()
    alive = Thread(target=_beat, args=(session, record, over), daemon=True)
    alive.start()
    try:
        with record.kept():
            yield
    finally:
        over.set()
        alive.join()
        run(_end(record), session)


def _beat(session: Session, record: _Record, over: Event) -> None:
    while not over.wait(runs.BEAT):
        run(_alive(record), session)


@asynccontextmanager
async def recorded_async(
    session: AsyncSession, job: Ingestion, kind: RunKind = "ingest"
) -> AsyncIterator[None]:
    """As ``recorded``, awaiting."""
    record = await run_async(_begin(job, kind), session)
    over = asyncio.Event()
    alive = asyncio.create_task(_beat_async(session, record, over))
    try:
        with record.kept():
            yield
    finally:
        over.set()
        await alive
        await run_async(_end(record), session)


async def _beat_async(session: AsyncSession, record: _Record, over: asyncio.Event) -> None:
    while not over.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), runs.BEAT)
            return
        await run_async(_alive(record), session)


def _begin(job: Ingestion, kind: RunKind) -> Flow[_Record]:
    number = yield from runs.begin(job.generation, kind)
    job.report.cost = job.budget.cost(0)
    logger.info(
        "Run %d of %s began.", number, job.generation.collection, extra=_fields(job, number)
    )
    return _Record(job, number, kind)


def _alive(record: _Record) -> Flow[None]:
    try:
        yield from runs.beat(record.number, record.job.report)
        for number, branch in (yield from _branches(record)):
            yield from runs.beat(number, branch.report)
    except DatabaseError as exc:
        # The next one may get through; if none does, the run ends by itself.
        logger.debug("Run %d could not say that it lives: %s", record.number, exc)


def _branches(record: _Record) -> Flow[list[tuple[int, Ingestion]]]:
    """What was embedded for other generations, each with its row."""
    found = []
    for generation_id, branch in list(record.job.branches.items()):
        if branch is None or not branch.report.embedded:
            continue
        if generation_id not in record.branches:
            record.branches[generation_id] = yield from runs.begin(branch.generation, "reindex")
        found.append((record.branches[generation_id], branch))
    return found


def _end(record: _Record) -> Flow[None]:
    job, number = record.job, record.number
    state, error = _outcome(job, record.failure)
    fields = {**_fields(job, number), "state": state, "error": error}
    logger.info("Run %d of %s: %s.", number, job.generation.collection, state, extra=fields)
    try:
        if state == "done" and not (job.notable or job.report.did_something):
            yield from runs.forget(number)
        else:
            yield from runs.end(number, job.report, state, error)
        for row, branch in (yield from _branches(record)):
            yield from runs.end(row, branch.report, state, error)
    except DatabaseError as exc:
        # Nothing is lost but the record: the run counts as killed.
        logger.warning("The end of run %d could not be recorded: %s", number, exc)


def outcome(report: IngestReport) -> tuple[RunState, str | None]:
    """How a run ended that nothing broke off."""
    return ("stopped", "The budget was used up.") if report.left else ("done", None)


def _outcome(job: Ingestion, failure: BaseException | None) -> tuple[RunState, str | None]:
    if failure is None:
        return outcome(job.report)
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
