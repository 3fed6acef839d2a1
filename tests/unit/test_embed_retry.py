from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from threading import Event

import pytest
from tenacity import AsyncRetrying, RetryCallState, Retrying

from pgrecall.embed.retry import (
    Backoff,
    TransientError,
    retry_after,
    rules,
    sleep_unless,
    time_left,
)
from pgrecall.errors import EmbeddingError

BUSY = TransientError("The server is busy")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_may_be_a_date() -> None:
    wait = retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)})

    assert wait == pytest.approx(60, abs=2)


def failed(attempt: int, error: TransientError) -> RetryCallState:
    """After the failure of that attempt."""
    state = RetryCallState(Retrying(), fn=None, args=(), kwargs={})
    state.attempt_number = attempt
    state.set_exception((type(error), error, None))
    return state


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(first=1.0, longest=8.0)
    for attempt, longest in enumerate([1, 2, 4, 8, 8], start=1):
        pauses = [backoff.pause(failed(attempt, BUSY)) for _ in range(200)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


def test_a_pause_that_was_asked_for_is_kept_and_spread() -> None:
    asked = failed(1, TransientError("Busy", retry_after=20.0))
    pauses = {Backoff(first=1.0).pause(asked) for _ in range(50)}

    assert len(pauses) > 1
    assert all(20.0 <= pause <= 21.0 for pause in pauses)


def test_a_pause_of_nothing_is_not_taken_at_its_word() -> None:
    assert Backoff(first=1.0).pause(failed(1, TransientError("Busy", retry_after=0.0))) >= 0.5


class Failing:
    """Fails with one error whenever it is called, by threads or by tasks; notes the pauses."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls = 0
        self.pauses: list[float] = []

    def attempt(self) -> None:
        self.calls += 1
        raise self.error

    async def attempt_async(self) -> None:
        self.attempt()

    async def sleep_async(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def run(self, backoff: Backoff, deadline: float) -> None:
        given = rules(backoff, time.monotonic() + deadline)
        Retrying(sleep=self.pauses.append, **given)(self.attempt)

    def run_async(self, backoff: Backoff, deadline: float) -> None:
        given = rules(backoff, time.monotonic() + deadline)
        asyncio.run(AsyncRetrying(sleep=self.sleep_async, **given)(self.attempt_async))


Run = Callable[[Failing, Backoff, float], None]
either_way = pytest.mark.parametrize("run", [Failing.run, Failing.run_async], ids=["sync", "async"])


@either_way
def test_attempts_end(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    failing = Failing(BUSY)
    with (
        caplog.at_level(logging.WARNING, "pgrecall"),
        pytest.raises(EmbeddingError, match=r"busy; gave up after 3 attempts\.$") as raised,
    ):
        run(failing, Backoff(attempts=3, first=0.01), 10)
    assert failing.calls == 3
    first, second = failing.pauses
    assert first < 0.02
    assert second < 0.03
    assert [record.getMessage() for record in caplog.records] == [
        f"The server is busy; trying again in {pause:.1f} s" for pause in failing.pauses
    ]
    assert raised.value.__cause__ is BUSY
    assert not isinstance(raised.value, TransientError)


@either_way
def test_no_attempt_begins_after_the_deadline(run: Run) -> None:
    failing = Failing(TransientError("Busy", retry_after=3599.9))
    with pytest.raises(EmbeddingError, match=r"in 3600 s, past the deadline\.$") as raised:
        run(failing, Backoff(first=0.01), 5)
    assert raised.value.__cause__ is failing.error
    assert (failing.calls, failing.pauses) == (1, [])


@either_way
def test_what_will_not_pass_is_raised_as_it_is(run: Run) -> None:
    failing = Failing(EmbeddingError("No such model."))
    with pytest.raises(EmbeddingError) as raised:
        run(failing, Backoff(), 10)
    assert raised.value is failing.error
    assert (failing.calls, failing.pauses) == (1, [])


def test_an_attempt_may_take_what_is_left() -> None:
    now = time.monotonic()
    assert 4.9 < time_left(now + 5, 60) <= 5
    assert time_left(now + 60, 5) == 5
    assert time_left(now - 1, 60) > 0


def test_the_event_ends_the_pause_and_the_attempts() -> None:
    failing, stopped = Failing(BUSY), Event()
    stopped.set()
    given = rules(Backoff(first=60, longest=60), time.monotonic() + 300)
    with pytest.raises(EmbeddingError, match="Another request"):
        Retrying(sleep=sleep_unless(stopped), **given)(failing.attempt)
    assert failing.calls == 1
