"""What a worker did and spent, on record: a run for each collection and span of time that it worked for it."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field

from pgrecall import errors
from pgrecall.flow import run_async
from pgrecall.ingest.job import Ingestion
from pgrecall.ingest.record import outcome
from pgrecall.store import runs
from pgrecall.store.collections import Generation
from pgrecall.store.session import AsyncSession
from pgrecall.types import IngestReport, RunKind

logger = logging.getLogger("pgrecall.worker")

#: Seconds without work after which a span ends, and how long one lasts at most.
IDLE, LONGEST = 60.0, 3600.0

#: What is counted together: the collection, the embedder, and what was done.
Account = tuple[str, str, RunKind]


@dataclass(slots=True)
class _Span:
    """A run that goes on."""

    number: int
    began: float
    #: When something was last added.
    last: float
    report: IngestReport = field(default_factory=IngestReport)


class Accounts:
    """The spans of one worker. For one event loop."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._spans: dict[Account, _Span] = {}
        self._turn = asyncio.Lock()

    async def add(self, job: Ingestion, kind: RunKind, *, since: float) -> None:
        """Count what a job did that began at ``since`` (``time.monotonic``), for each of its generations."""
        await self._add(job.generation, kind, job.report, since)
        for branch in job.branches.values():
            if branch is not None:
                await self._add(branch.generation, "reindex", branch.report, since)

    async def _add(
        self, generation: Generation, kind: RunKind, report: IngestReport, since: float
    ) -> None:
        if not (report.did_something or report.unchanged or report.tokens):
            return
        account = (generation.collection, generation.embedder, kind)
        async with self._turn:
            try:
                span = self._spans.get(account) or await self._begin(account, generation, since)
            except errors.DatabaseError as exc:
                logger.warning("What was done could not be recorded: %s", exc)
                return
        span.last = time.monotonic()
        span.report.add(report)

    async def _begin(self, account: Account, generation: Generation, since: float) -> _Span:
        ago = time.monotonic() - since
        number = await run_async(
            runs.begin(generation, account[2], by_worker=True, ago=ago), self._session
        )
        span = self._spans[account] = _Span(number, since, since)
        return span

    async def keep(self) -> None:
        """Write down how far the spans have come, and end those that are over; until cancelled."""
        while True:
            await asyncio.sleep(runs.BEAT)
            now = time.monotonic()
            for account, span in list(self._spans.items()):
                over = now - span.last > IDLE or now - span.began > LONGEST
                try:
                    await (self._end(account) if over else self._beat(span))
                except errors.DatabaseError as exc:
                    # The next time may get through.
                    logger.debug("Run %d could not say that it lives: %s", span.number, exc)

    async def _beat(self, span: _Span) -> None:
        await run_async(runs.beat(span.number, span.report), self._session)

    async def _end(self, account: Account) -> None:
        span = self._spans.pop(account)
        idle = time.monotonic() - span.last
        state, error = outcome(span.report)
        await run_async(runs.end(span.number, span.report, state, error, idle=idle), self._session)

    async def close(self) -> None:
        """End all of them."""
        for account in list(self._spans):
            try:
                await self._end(account)
            except errors.DatabaseError as exc:
                # Nothing is lost but the end of the record: the run counts as killed.
                logger.warning("The end of a run could not be recorded: %s", exc)
