"""When a failed request is sent again: the rules, without the waiting.

The vendors' own retries are switched off in favour of these: they have no deadline, fixed pauses,
and cannot be interrupted. The rules are the same for every vendor, threads and asyncio.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pgrecall.errors import EmbeddingError

logger = logging.getLogger(__name__)


class TransientError(EmbeddingError):
    """The provider is overloaded or out of reach. Its message has no full stop: more follows."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        #: Seconds that the provider asks to wait.
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses between attempts: doubled each time, less up to half of it at random, in seconds.

    The default adds up to 46 to 92 s: most often longer than a limit that is counted by the minute.
    """

    attempts: int = 9
    first: float = 0.5
    longest: float = 30.0

    def pause(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after that attempt (from 1); never less than retry_after asks for."""
        longest = min(self.longest, self.first * 2.0 ** (attempt - 1))
        if not retry_after:  # 0 names no time; taken at its word it would be nine requests at once
            return longest * random.uniform(0.5, 1.0)
        # A little more, so that the requests that were refused together do not return together.
        return retry_after + self.first * random.random()


class Attempts:
    """The attempts at one request: how long each may take, and whether there is another."""

    def __init__(self, backoff: Backoff, *, timeout: float, deadline: float) -> None:
        self._backoff = backoff
        self._timeout = timeout
        self._until = time.monotonic() + deadline
        self._taken = 0

    @property
    def timeout(self) -> float:
        """Seconds that the attempt which starts now may take; always positive."""
        return max(0.001, min(self._timeout, self._until - time.monotonic()))

    def pause(self, error: TransientError) -> float:
        """Seconds to wait before the next attempt; raises EmbeddingError if there is none."""
        self._taken += 1
        seconds = self._backoff.pause(self._taken, error.retry_after)
        if self._taken >= self._backoff.attempts:
            raise EmbeddingError(f"{error}; gave up after {self._taken} attempts.") from error
        if time.monotonic() + seconds >= self._until:
            raise EmbeddingError(
                f"{error}; gave up, as attempt {self._taken + 1} would begin in {seconds:.0f} s, "
                "past the deadline."
            ) from error
        logger.warning("%s; trying again in %.1f s", error, seconds)
        return seconds


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the headers of an answer ask to wait, if they do so in a way that makes sense.

    ``Retry-After`` holds seconds or an HTTP date (RFC 9110, section 10.2.3); OpenAI also sends the
    finer ``retry-after-ms``. Header names are taken in lower case.
    """
    for header, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _seconds(headers.get(header, ""))
        if seconds is not None and math.isfinite(seconds) and seconds >= 0:
            return seconds * unit
    return None


def _seconds(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return _seconds_until(value)


def _seconds_until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
