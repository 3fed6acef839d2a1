"""How a worker works, and when a document is tried again."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from procrastinate.exceptions import JobAborted
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy, RetryDecision

from pgrecall.errors import EmbeddingError, InvalidArgument

#: The longest pause between two attempts, in seconds.
LONGEST_PAUSE = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker works; all times in seconds. Raises InvalidArgument for what makes no sense."""

    #: Documents in hand at once. They wait for the embedder together, so more make fuller batches.
    concurrency: int = 16
    #: Stop when nothing is left to do now, instead of waiting for more.
    drain: bool = False
    #: How often a document is tried before it counts as failed.
    attempts: int = 8
    #: Pause before the second attempt; it doubles each time, up to a quarter of an hour.
    backoff: float = 5.0
    #: How often the worker says that it lives, and looks for others that do not.
    heartbeat: float = 10.0
    #: A worker that said nothing for so long is dead, and its documents are taken over.
    stalled_after: float = 30.0
    #: After a signal to stop: how long documents in hand may take before they are given back. Less than
    #: the ten seconds that Docker waits before it kills.
    grace: float = 8.0

    def __post_init__(self) -> None:
        if self.concurrency < 1 or self.attempts < 1:
            raise InvalidArgument("concurrency and attempts are at least 1.")
        if self.backoff < 0 or self.grace < 0:
            raise InvalidArgument("backoff and grace are not negative.")
        if not 0 < 2 * self.heartbeat <= self.stalled_after:
            raise InvalidArgument("stalled_after is at least twice heartbeat, which is above 0.")


class Backoff(BaseRetryStrategy):
    """Exponential pauses with some jitter, so that what failed together does not come back together."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        """When to try again; None if that would be of no use."""
        if isinstance(exception, JobAborted | asyncio.CancelledError):
            # The worker stops, and gives back what it has in hand.
            return RetryDecision(retry_at=datetime.now(UTC))
        if _of_the_text(exception) or job.attempts + 1 >= self._options.attempts:
            return None
        pause = min(self._options.backoff * 2.0**job.attempts, LONGEST_PAUSE)
        jitter = random.uniform(0.75, 1.25)
        return RetryDecision(retry_at=datetime.now(UTC) + timedelta(seconds=pause * jitter))


def _of_the_text(exception: BaseException) -> bool:
    """Whether it fails for what it says, and would fail again."""
    if isinstance(exception, EmbeddingError):
        return bool(exception.refused)
    return isinstance(exception, InvalidArgument)
