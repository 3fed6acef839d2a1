"""When a failed request is sent again: the rules that tenacity follows, in threads and asyncio.

The vendors' own retries are switched off in favour of these: they have no deadline, fixed pauses,
and cannot be interrupted. The rules are the same for every vendor.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from threading import Event
from typing import Any, NoReturn

import tenacity
from tenacity import RetryCallState

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

    def pause(self, state: RetryCallState) -> float:
        """Seconds to wait after that attempt; never less than the provider asks for."""
        if asked := _error(state).retry_after:
            # A little more, so that the requests refused together do not return together.
            return asked + tenacity.wait_random(0, self.first)(state)
        # A retry_after of 0 names no time; taken at its word it would be nine requests at once.
        half = tenacity.wait_exponential(self.first / 2, self.longest / 2)
        return half(state) + tenacity.wait_random(0, half(state))(state)


def rules(backoff: Backoff, until: float) -> dict[str, Any]:
    """Arguments for Retrying and AsyncRetrying: a TransientError is tried again.

    No attempt begins at ``until`` (time.monotonic) or later. The end is an EmbeddingError.
    """
    enough = tenacity.stop_after_attempt(backoff.attempts)

    def give_up(state: RetryCallState) -> NoReturn:
        error, taken, pause = _error(state), state.attempt_number, state.upcoming_sleep
        late = f", as attempt {taken + 1} would begin in {pause:.0f} s, past the deadline"
        why = f" after {taken} attempts" if enough(state) else late
        raise EmbeddingError(f"{error}; gave up{why}.") from error

    return {
        "retry": tenacity.retry_if_exception_type(TransientError),
        "wait": backoff.pause,
        "stop": enough | tenacity.stop_before_delay(until - time.monotonic()),
        "before_sleep": _log,
        "retry_error_callback": give_up,
    }


def time_left(until: float, longest: float) -> float:
    """Seconds that an attempt which starts now may take; always positive."""
    return max(0.001, min(longest, until - time.monotonic()))


def sleep_unless(stopped: Event) -> Callable[[float], None]:
    """A sleep for Retrying that the event ends, and the attempts with it."""

    def sleep(seconds: float) -> None:
        if stopped.wait(seconds):
            raise EmbeddingError("Another request of the same call failed; see its error.")

    return sleep


def _error(state: RetryCallState) -> TransientError:
    error = state.outcome and state.outcome.exception()
    assert isinstance(error, TransientError)  # no other is tried again
    return error


def _log(state: RetryCallState) -> None:
    logger.warning("%s; trying again in %.1f s", _error(state), state.upcoming_sleep)


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
