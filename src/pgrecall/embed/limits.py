"""What a provider allows by the minute: as the user says, and as the headers of its answers say. Pure.

Times are seconds of one monotonic clock; amounts are requests or tokens.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping

#: A minute, and a little for the way of a request to the server, which counts when it arrives.
PERIOD = 61.0

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Window:
    """At most ``limit`` in any period: a log of what went out in the last one.

    Whoever keeps this keeps the limit by a fixed minute and by a bucket that refills, too.
    """

    def __init__(self, limit: int | None, period: float = PERIOD) -> None:
        self.limit = limit
        self._period = period
        self._log: deque[tuple[float, int]] = deque()
        self._total = 0

    def wait(self, amount: int, now: float) -> float:
        """Seconds until that much may go out; 0 for now.

        More than the limit goes out when nothing else has: it could never otherwise.
        """
        if self.limit is None:
            return 0.0
        self._forget(now)
        excess = self._total + min(amount, self.limit) - self.limit
        for since, spent in self._log:
            if excess <= 0:
                break
            excess -= spent
            if excess <= 0:
                return since + self._period - now
        return 0.0

    def take(self, amount: int, now: float) -> None:
        """It goes out."""
        if self.limit is not None:
            self._log.append((now, min(amount, self.limit)))
            self._total += min(amount, self.limit)

    def _forget(self, now: float) -> None:
        while self._log and self._log[0][0] + self._period <= now:
            self._total -= self._log.popleft()[1]


class Allowance:
    """What the server last said is left, and when all of it will be there again."""

    def __init__(self, kind: str) -> None:
        """``kind`` is "requests" or "tokens", as in ``x-ratelimit-remaining-requests``."""
        self._headers = [f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset")]
        self._limit = self._left = self._at = self._full_at = 0.0

    def learn(self, headers: Mapping[str, str], under_way: int, now: float) -> None:
        """Take what an answer says, less what is under way: the server may not have counted it."""
        limit, left, reset = (headers.get(header, "") for header in self._headers)
        if limit.isdecimal() and left.isdecimal() and (seconds := duration(reset)) is not None:
            self._limit, self._left = float(limit), float(left) - under_way
            self._at, self._full_at = now, now + seconds

    def wait(self, amount: int, now: float) -> float:
        """Seconds until that much is left, if it comes back evenly; 0 for now."""
        if now >= self._full_at:
            return 0.0
        missing = min(amount, self._limit) - self._left
        pace = (self._limit - self._left) / (self._full_at - self._at)
        return max(0.0, self._at + missing / pace - now) if missing > 0 else 0.0

    def take(self, amount: int) -> None:
        """It goes out."""
        self._left -= amount


def duration(text: str) -> float | None:
    """Seconds of ``6m0s``, ``20ms`` or ``1.5``; None for what is none."""
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(f"{number}{unit}" for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
