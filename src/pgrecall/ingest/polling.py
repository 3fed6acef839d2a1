"""Following a table: it is looked at again and again, and an outage is waited out."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from threading import Event
from typing import Any

from pgrecall.errors import DatabaseUnavailable, EmbeddingError
from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.outage import FIRST_PAUSE, Outage
from pgrecall.types import IngestReport


class Pace:
    """When to look at a table next, and for what."""

    def __init__(self, every: float) -> None:
        #: Seconds between two looks.
        self.every = every
        #: Whether the table has been read once.
        self.begun = False
        self._outage = Outage(max(every, FIRST_PAUSE))
        self._swept, self._cost = -math.inf, 0.0

    def sweeps(self) -> bool:
        """Whether to look for deleted rows too: a twentieth of the time is for that."""
        return time.monotonic() - self._swept >= 20 * self._cost

    def done(self, began: float, *, swept: bool) -> float:
        """Seconds to wait after a look."""
        self.begun = True
        self._outage.over()
        if swept:
            self._swept = time.monotonic()
            self._cost = self._swept - began
        return self.every

    def failed(self, reason: Exception) -> float:
        """Seconds to wait after an outage; raises what no waiting mends."""
        return self._outage.pause(reason)


@dataclass(frozen=True, slots=True)
class _Sync:
    """A step: bring the collection in step with the table."""

    sync: Callable[..., Any]
    #: Whether to look for deleted rows.
    deletes: bool

    def perform(self, session: object) -> Any:
        return self.sync(deletes=self.deletes)

    async def perform_async(self, session: object) -> Any:
        return await self.sync(deletes=self.deletes)


def _look(pace: Pace, sync: Callable[..., Any]) -> Flow[tuple[IngestReport | None, float]]:
    """What there is to tell of one look, and the seconds until the next."""
    began, sweeps = time.monotonic(), pace.sweeps()
    try:
        report: IngestReport = yield _Sync(sync, sweeps)
    except (DatabaseUnavailable, EmbeddingError) as exc:
        return None, pace.failed(exc)
    told = report if report.did_something or not pace.begun else None
    return told, pace.done(began, swept=sweeps)


def watch_table(
    sync: Callable[..., IngestReport], every: float, stop: Event | None
) -> Generator[IngestReport, None, None]:
    """Look at a table again and again; yields the first report, and each that did something."""
    pace, stop = Pace(every), stop or Event()
    while not stop.is_set():
        report, seconds = run(_look(pace, sync), None)
        if report is not None:
            yield report
        stop.wait(seconds)


async def watch_table_async(
    sync: Callable[..., Awaitable[IngestReport]], every: float
) -> AsyncGenerator[IngestReport, None]:
    """As ``watch_table``, awaiting."""
    pace = Pace(every)
    while True:
        report, seconds = await run_async(_look(pace, sync), None)
        if report is not None:
            yield report
        await asyncio.sleep(seconds)
