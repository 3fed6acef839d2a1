"""When a failed request is sent again, and how long a provider asks to wait.

The vendors' own retries are switched off in favour of these: they have no deadline, fixed pauses,
and cannot be interrupted. The rules are the same for every vendor.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from pgrecall.errors import EmbeddingError


class TransientError(EmbeddingError):
    """The provider is overloaded or out of reach. Its message has no full stop: more follows."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, answered_by_server: bool = False
    ) -> None:
        super().__init__(message)
        #: Seconds that the provider asks to wait.
        self.retry_after = retry_after
        #: An error of the server's own (a 500): what it was asked may be the reason.
        self.answered_by_server = answered_by_server


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses between attempts: doubled each time, less up to half of it at random, in seconds.

    The default adds up to 46 to 92 s: most often longer than a limit that is counted by the minute.
    """

    attempts: int = 9
    first: float = 0.5
    longest: float = 30.0

    def pause(self, attempt: int, error: TransientError) -> float:
        """Seconds to wait after that attempt (from 1); never less than the provider asks for."""
        if asked := error.retry_after:
            # A little more, so that the requests refused together do not return together.
            return asked + random.uniform(0, self.first)
        # A retry_after of 0 names no time; taken at its word it would be nine requests at once.
        half: float = min(self.first * 2.0 ** (attempt - 1), self.longest) / 2
        return half + random.uniform(0, half)


def time_left(until: float, longest: float) -> float:
    """Seconds that an attempt which starts now may take; always positive."""
    return max(0.001, min(longest, until - time.monotonic()))


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
