"""Who may send a request now: limits by the minute, and as many at once as the server stands.

All embedders of a process that ask one server for one model with one key share a throttle, whether
from threads or from tasks. They stand in line, so that a large request is not starved by small ones.

The number of requests at once adapts as TCP's window does (slow start: Jacobson, 1988; additive increase,
multiplicative decrease: Chiu and Jain, 1989): twice as many each time that as many as allowed were answered
well, until the first trouble; from then on one more; half as many when the server refuses or times out, fewer
when answers take three times as long as they did.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from pgrecall.embed.gather import check_reader
from pgrecall.embed.limits import Allowance, Window
from pgrecall.errors import EmbeddingError
from pgrecall.flow import Flow
from pgrecall.pipeline import reader_left

#: Requests at once to begin with.
START = 4
#: A server that asks for a longer pause is asked again after this one all the same.
LONGEST_HOLD = 60.0
#: Questions go before documents, unless these have waited for so many seconds: more than a minute, which
#: a limit by the minute makes them wait in any case.
COURTESY = 120.0
#: An answer that takes so many times the shortest one for requests of that size is slow ...
SLOW = 3.0
#: ... if it takes so many seconds more, too: short answers vary without meaning anything.
NOTICEABLE = 0.25

#: Done when whoever waits for it should look again.
Bell = Future[None]


@dataclass(frozen=True, slots=True)
class Wait:
    """A step that waits for a bell, or for some seconds; None: however long."""

    bell: Bell
    seconds: float | None

    def perform(self, stopped: Bell) -> None:
        """Blocking. Raises EmbeddingError if the call was stopped meanwhile, or nobody waits for it."""
        left = reader_left()
        bells = [self.bell, stopped] if left is None else [self.bell, stopped, left]
        wait(bells, self.seconds, FIRST_COMPLETED)
        check_reader()
        if stopped.done():
            raise EmbeddingError("Another request of the same call failed; see its error.")

    async def perform_async(self, stopped: object) -> None:
        """Awaiting; cancellation ends it."""
        await asyncio.wait([asyncio.wrap_future(self.bell)], timeout=self.seconds)


@dataclass(eq=False, slots=True)
class Ticket:
    """A request that wants to be sent, or is under way."""

    tokens: int
    urgent: bool
    #: When it was made; then when it was admitted.
    since: float
    bell: Bell = field(default_factory=Future)


class Throttle:
    """The line in front of one server. Safe to share between threads and event loops."""

    def __init__(
        self,
        *,
        most: int,
        rpm: int | None = None,
        tpm: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``most`` requests at once, at most; requests and tokens per minute, None for no limit."""
        self.most = most
        self._window = float(min(START, most))
        self._requests, self._tokens = Window(rpm), Window(tpm)
        self._allowed = Allowance("requests"), Allowance("tokens")
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: tuple[deque[Ticket], deque[Ticket]] = (deque(), deque())
        self._under_way: set[Ticket] = set()
        self._held_until = self._cut_at = -1.0
        #: Whether the number of requests at once was ever reduced, and the most that were under way before.
        self._troubled, self._peak = False, 0
        #: Size of a request (bits of its tokens) -> the shortest answer, in seconds.
        self._best: dict[int, float] = {}

    @property
    def concurrency(self) -> int:
        """Requests that may be under way at once, at the moment."""
        return int(self._window)

    def tighten(self, *, most: int, rpm: int | None, tpm: int | None) -> None:
        """Keep the limits of another embedder too: the lower of both."""
        with self._lock:
            self.most = min(self.most, most)
            self._window = min(self._window, self.most)
            for window, limit in ((self._requests, rpm), (self._tokens, tpm)):
                if limit is not None:
                    window.limit = limit if window.limit is None else min(window.limit, limit)

    def admit(
        self, tokens: int, *, urgent: bool = False, until: float = float("inf")
    ) -> Flow[Ticket]:
        """Wait in line until a request of so many tokens may be sent; ``leave`` has to follow.

        Raises EmbeddingError if that would be after ``until``.
        """
        ticket = Ticket(tokens, urgent, self._clock())
        with self._lock:
            self._lines[urgent].append(ticket)
        try:
            while (pause := self._try(ticket)) is not None:
                left = until - self._clock()
                if min(pause, left) == left:
                    self._check_deadline(pause, left)
                longest = min(pause, left)
                yield Wait(ticket.bell, None if longest == float("inf") else longest)
        except BaseException:
            with self._lock:
                self._lines[urgent].remove(ticket)
                self._ring()
            raise
        return ticket

    def leave(
        self,
        ticket: Ticket,
        *,
        seconds: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """The request was answered after so many seconds, or failed for a reason of its own (None)."""
        with self._lock:
            now, full = self._clock(), len(self._under_way) >= self.concurrency
            alone = len(self._under_way) == 1
            self._under_way.remove(ticket)
            if seconds is not None:
                self._adapt(ticket, seconds, full=full, alone=alone)
            for allowance, amount in zip(
                self._allowed,
                (len(self._under_way), sum(other.tokens for other in self._under_way)),
                strict=True,
            ):
                allowance.learn(headers or {}, amount, now)
            self._ring()

    def overloaded(self, ticket: Ticket, retry_after: float | None) -> None:
        """The request was refused for want of capacity: fewer at once, and none before that time."""
        with self._lock:
            now = self._clock()
            self._under_way.remove(ticket)
            self._cut(ticket, 0.5, now)
            if retry_after:
                self._held_until = max(self._held_until, now + min(retry_after, LONGEST_HOLD))
            self._ring()

    def _check_deadline(self, pause: float, left: float) -> None:
        if left <= 0 or pause != float("inf"):
            raise EmbeddingError(
                "The limits of the provider leave no room before the deadline; ask less at a time, "
                "or raise rpm, tpm or the deadline."
            )

    def _try(self, ticket: Ticket) -> float | None:
        """None if it may go, else the seconds until it is worth another look."""
        with self._lock:
            ticket.bell = Future()
            now = self._clock()
            if self._next(now) is not ticket or len(self._under_way) >= self.concurrency:
                return float("inf")
            if (pause := self._pause(ticket.tokens, now)) > 0:
                return pause
            self._lines[ticket.urgent].popleft()
            self._under_way.add(ticket)
            self._peak = max(self._peak, len(self._under_way))
            ticket.since = now
            self._requests.take(1, now)
            self._tokens.take(ticket.tokens, now)
            for allowance, amount in zip(self._allowed, (1, ticket.tokens), strict=True):
                allowance.take(amount)
            self._ring()
            return None

    def _pause(self, tokens: int, now: float) -> float:
        requests_left, tokens_left = self._allowed
        return max(
            self._held_until - now,
            self._requests.wait(1, now),
            self._tokens.wait(tokens, now),
            requests_left.wait(1, now),
            tokens_left.wait(tokens, now),
        )

    def _next(self, now: float) -> Ticket | None:
        documents, questions = self._lines
        if questions and not (documents and now - documents[0].since > COURTESY):
            return questions[0]
        return documents[0] if documents else None

    def _ring(self) -> None:
        """Whoever is next looks again."""
        ticket = self._next(self._clock())
        if ticket is not None and not ticket.bell.done():
            ticket.bell.set_result(None)

    def _adapt(self, ticket: Ticket, seconds: float, *, full: bool, alone: bool) -> None:
        size = ticket.tokens.bit_length()
        best = self._best.setdefault(size, seconds)
        # With nothing else under way, this is what the server takes nowadays.
        self._best[size] = seconds if alone else min(best, seconds)
        if not alone and seconds > max(SLOW * best, best + NOTICEABLE):
            self._cut(ticket, 0.75, self._clock())
        elif not self._troubled and self._window < 2 * self._peak:
            self._window = min(self.most, self._window + 1)
        elif self._troubled and full:
            self._window = min(self.most, self._window + 1 / self._window)

    def _cut(self, ticket: Ticket, share: float, now: float) -> None:
        self._troubled = True
        # Once for all that were under way together.
        if ticket.since > self._cut_at:
            self._window = max(1.0, self._window * share)
            self._cut_at = now


_SHARED: WeakValueDictionary[Hashable, Throttle] = WeakValueDictionary()
_SHARED_LOCK = threading.Lock()


def shared_throttle(
    key: Hashable, *, most: int, rpm: int | None = None, tpm: int | None = None
) -> Throttle:
    """The throttle of this process for a key; where limits differ, the lower are kept."""
    with _SHARED_LOCK:
        throttle = _SHARED.get(key)
        if throttle is None:
            throttle = _SHARED[key] = Throttle(most=most, rpm=rpm, tpm=tpm)
        else:
            throttle.tighten(most=most, rpm=rpm, tpm=tpm)
        return throttle
