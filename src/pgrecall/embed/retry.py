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
from functools import partial
from threading import Event
from typing import Any, NoReturn

from tenacity import (
    RetryCallState,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random,
    wait_random_exponential,
)

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
        asked = _error(state).retry_after
        if asked:
            # A little more, so that the requests refused together do not return together.
            return asked + wait_random(0, self.first)(state)
        # 0 names no time either; taken at its word it would be nine requests at once.
        half = {"multiplier": self.first / 2, "max": self.longest / 2}
        return wait_exponential(**half)(state) + wait_random_exponential(**half)(state)


def rules(backoff: Backoff, until: float) -> dict[str, Any]:
    """Arguments for Retrying and AsyncRetrying; no attempt begins at ``until`` (monotonic) or after.

    What they call may raise TransientError to be called again; the last one becomes the cause of
    an EmbeddingError.
    """
    enough = stop_after_attempt(backoff.attempts)
    return {
        "retry": retry_if_exception_type(TransientError),
        "wait": backoff.pause,
        "stop": enough | stop_before_delay(until - time.monotonic()),
        "before_sleep": _log,
        "retry_error_callback": partial(_give_up, enough),
    }


def time_left(until: float, longest: float) -> float:
    """Seconds that an attempt which starts now may take; always positive."""
    return max(0.001, min(longest, until - time.monotonic()))


def sleep_unless(stopped: Event) -> Callable[[float], None]:
    """A sleep for Retrying that the event ends, and the attempts with it, by an EmbeddingError."""

    def sleep(seconds: float) -> None:
        if stopped.wait(seconds):
            raise EmbeddingError("Another request of the same call failed; see its error.")

    return sleep


def _error(state: RetryCallState) -> TransientError:
    error = state.outcome and state.outcome.exception()
    assert isinstance(error, TransientError)  # the only one that is tried again
    return error


def _log(state: RetryCallState) -> None:
    logger.warning("%s; trying again in %.1f s", _error(state), state.upcoming_sleep)


def _give_up(enough: stop_after_attempt, state: RetryCallState) -> NoReturn:
    error, taken = _error(state), state.attempt_number
    if enough(state):
        raise EmbeddingError(f"{error}; gave up after {taken} attempts.") from error
    raise EmbeddingError(
        f"{error}; gave up, as attempt {taken + 1} would begin in {state.upcoming_sleep:.0f} s, "
        "past the deadline."
    ) from error


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
