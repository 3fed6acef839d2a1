from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from pgrecall.embed.retry import Attempts, Backoff, TransientError, retry_after
from pgrecall.errors import EmbeddingError


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
        pauses = [backoff.pause(attempt) for _ in range(200)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


def test_a_pause_that_was_asked_for_is_kept_and_spread() -> None:
    pauses = {Backoff(first=1.0).pause(1, 20.0) for _ in range(50)}

    assert len(pauses) > 1
    assert all(20.0 <= pause <= 21.0 for pause in pauses)


def test_attempts_end() -> None:
    attempts = Attempts(Backoff(attempts=3, first=0.01), timeout=1, deadline=10)
    error = TransientError("The server is busy")

    assert attempts.pause(error) < 0.02
    assert attempts.pause(error) < 0.03
    with pytest.raises(EmbeddingError, match="busy; gave up after 3 attempts") as raised:
        attempts.pause(error)
    assert raised.value.__cause__ is error
    assert not isinstance(raised.value, TransientError)


def test_no_attempt_begins_after_the_deadline() -> None:
    attempts = Attempts(Backoff(), timeout=60, deadline=5)

    assert 4.9 < attempts.timeout <= 5
    with pytest.raises(EmbeddingError, match="in 3600 s, past the deadline"):
        attempts.pause(TransientError("Busy", retry_after=3599.9))
