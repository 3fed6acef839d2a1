from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from pgrecall.embed.retry import Backoff, TransientError, retry_after, time_left

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


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(first=1.0, longest=8.0)
    for attempt, longest in enumerate([1, 2, 4, 8, 8], start=1):
        pauses = [backoff.pause(attempt, BUSY) for _ in range(200)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


def test_a_pause_that_was_asked_for_is_kept_and_spread() -> None:
    asked = TransientError("Busy", retry_after=20.0)
    pauses = {Backoff(first=1.0).pause(1, asked) for _ in range(50)}

    assert len(pauses) > 1
    assert all(20.0 <= pause <= 21.0 for pause in pauses)


def test_a_pause_of_nothing_is_not_taken_at_its_word() -> None:
    assert Backoff(first=1.0).pause(1, TransientError("Busy", retry_after=0.0)) >= 0.5


def test_an_attempt_may_take_what_is_left() -> None:
    now = time.monotonic()
    assert 4.9 < time_left(now + 5, 60) <= 5
    assert time_left(now + 60, 5) == 5
    assert time_left(now - 1, 60) > 0
