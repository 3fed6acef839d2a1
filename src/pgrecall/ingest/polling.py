"""Following a table: it is looked at again and again, and an outage is waited out."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from dataclasses import dataclass
from threading import Event

from pgrecall.errors import DatabaseUnavailable, EmbeddingError
from pgrecall.ingest.outage import FIRST_PAUSE, LONGEST_PAUSE, unless_final
from pgrecall.types import IngestReport

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Pace:
    """When to look at a table next, and for what."""

    #: Seconds between two looks.
    every: float
    _swept: float = -math.inf
    _cost: float = 0.0
    _failures: int = 0

    def sweeps(self) -> bool:
        """Whether to look for deleted rows too: a twentieth of the time is for that."""
        return time.monotonic() - self._swept >= 20 * self._cost

    def done(self, began: float, *, swept: bool) -> float:
        """Seconds to wait after a look."""
        self._failures = 0
        if swept:
            self._swept = time.monotonic()
            self._cost = self._swept - began
        return self.every

    def failed(self, reason: Exception) -> float:
        """Seconds to wait after an outage."""
        pause = min(max(self.every, FIRST_PAUSE) * 2.0**self._failures, LONGEST_PAUSE)
        self._failures = min(self._failures + 1, 16)
        logger.warning("%s Trying again in %.0f seconds.", reason, pause)
        return pause


def watch_table(
    sync: Callable[..., IngestReport], every: float, stop: Event | None
) -> Generator[IngestReport, None, None]:
    """Look at a table again and again; yields the first report, and each that did something."""
    pace, first, stop = Pace(every), True, stop or Event()
    while not stop.is_set():
        began, sweeps = time.monotonic(), pace.sweeps()
        try:
            report = sync(deletes=sweeps)
        except (DatabaseUnavailable, EmbeddingError) as exc:
            unless_final(exc)
            stop.wait(pace.failed(exc))
            continue
        if first or report.did_something:
            yield report
        first = False
        stop.wait(pace.done(began, swept=sweeps))


async def watch_table_async(
    sync: Callable[..., Awaitable[IngestReport]], every: float
) -> AsyncGenerator[IngestReport, None]:
    """As ``watch_table``, awaiting."""
    pace, first = Pace(every), True
    while True:
        began, sweeps = time.monotonic(), pace.sweeps()
        try:
            report = await sync(deletes=sweeps)
        except (DatabaseUnavailable, EmbeddingError) as exc:
            unless_final(exc)
            await asyncio.sleep(pace.failed(exc))
            continue
        if first or report.did_something:
            yield report
        first = False
        await asyncio.sleep(pace.done(began, swept=sweeps))
