"""Texts that are under way to an embedder: who needs one that somebody asks for already, shares the answer.

That holds within a process, for all runs and jobs on one database, in threads and in tasks. Nobody waits for
somebody who waits: each first asks for what is left to it, and then waits for what others ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from threading import RLock
from typing import TypeAlias, TypeVar
from weakref import WeakSet

from pgrecall.flow import Flow
from pgrecall.store.reuse import Model
from pgrecall.store.session import AsyncSession, Session
from pgrecall.store.whereabouts import Whereabouts

T = TypeVar("T")

#: Among which a text has one vector.
Subject: TypeAlias = tuple[Whereabouts, Model]

#: Flights of others that may fail to bring a text, before it is asked for without waiting for anybody: one
#: text that is refused, or a provider that is down, would otherwise have everybody wait in line.
PATIENCE = 2
#: A thread that waits without end does not notice Ctrl-C everywhere; so it waits so many seconds at a time.
_TURN = 5.0


def _taking_off() -> Future[None]:
    landed: Future[None] = Future()
    # So that one who waits and is cancelled does not cancel it for the others.
    landed.set_running_or_notify_cancel()
    return landed


@dataclass(slots=True, eq=False, weakref_slot=True)
class Flight:
    """Texts that one caller asks for, by hash. Others find it for as long as somebody holds it."""

    subject: Subject
    #: What it brings, or hopes to.
    keys: frozenset[bytes]
    #: The event loop of the task that asks; None if it is a thread that blocks.
    loop: asyncio.AbstractEventLoop | None
    #: In pgvector's wire format, once it has landed.
    vectors: dict[bytes, bytes] = field(default_factory=dict)
    landed: Future[None] = field(default_factory=_taking_off)

    def land(self, vectors: Mapping[bytes, bytes]) -> None:
        """Hand over what was answered, be it nothing; the first time counts."""
        if self.landed.done():
            return
        with _lock:
            self.vectors, self.keys = dict(vectors), frozenset(vectors)
        self.landed.set_result(None)

    def concerns(self, subject: Subject, keys: Collection[bytes]) -> bool:
        """Whether it brings one of these texts."""
        return self.subject == subject and not self.keys.isdisjoint(keys)


#: Reentrant: a flow that is thrown away lands its flight wherever the garbage is collected.
_lock = RLock()
_flights: WeakSet[Flight] = WeakSet()


def near(subject: Subject, keys: Collection[bytes]) -> list[Flight]:
    """The flights that bring some of these texts, or have brought them."""
    with _lock:
        return [flight for flight in _flights if flight.concerns(subject, keys)]


def brought(flights: Iterable[Flight], keys: Collection[bytes]) -> dict[bytes, bytes]:
    """The vectors of these texts that have been answered."""
    return {key: flight.vectors[key] for flight in flights for key in keys if key in flight.vectors}


def landed(subject: Subject, vectors: Mapping[bytes, bytes]) -> Flight:
    """A flight that has brought these: whoever holds it until they are stored has others find them."""
    flight = Flight(subject, frozenset(), None)
    flight.land(vectors)
    with _lock:
        _flights.add(flight)
    return flight


@dataclass(frozen=True, slots=True)
class Board:
    """Find the flights that bring some of these texts, and begin one for the rest, which comes first.

    A thread waits for threads only, since it may be the one that a task needs to go on; a task for threads
    and for those of its own loop, since another may have been stopped. Without ``company``, all are left.
    """

    subject: Subject
    keys: Collection[bytes]
    company: bool

    def perform(self, session: Session) -> list[Flight]:
        """At once."""
        return self._boarded(None)

    async def perform_async(self, session: AsyncSession) -> list[Flight]:
        """At once."""
        return self._boarded(asyncio.get_running_loop())

    def _boarded(self, loop: asyncio.AbstractEventLoop | None) -> list[Flight]:
        with _lock:
            others = [
                flight
                for flight in (_flights if self.company else ())
                if flight.concerns(self.subject, self.keys)
                and (flight.loop in (None, loop) or flight.landed.done())
            ]
            left = frozenset(self.keys).difference(*(other.keys for other in others))
            own = Flight(self.subject, left, loop)
            if left:
                _flights.add(own)
        return [own, *others]


@dataclass(frozen=True, slots=True)
class Await:
    """Wait until these have landed."""

    flights: Collection[Flight]

    def perform(self, session: Session) -> None:
        """Blocking."""
        for flight in self.flights:
            while not flight.landed.done():
                wait([flight.landed], timeout=_TURN)

    async def perform_async(self, session: AsyncSession) -> None:
        """Awaiting."""
        for flight in self.flights:
            if not flight.landed.done():
                await asyncio.wrap_future(flight.landed)


def shared(
    subject: Subject,
    wanted: Mapping[bytes, T],
    ask: Callable[[Flight, Mapping[bytes, T]], Flow[None]],
) -> Flow[tuple[list[Flight], list[Flight]]]:
    """Have each text asked for once in this process; own flights and those of others that bring them all.

    ``ask`` gets what is left to this caller, and lands the flight with it. What a flight of others does not
    bring, because it failed or was cancelled, is asked for again. Raises what ``ask`` does.
    """
    own: list[Flight] = []
    others: list[Flight] = []
    left, patience = dict(wanted), PATIENCE
    while left:
        flight, *near_by = yield Board(subject, left.keys(), company=patience > 0)
        if flight.keys:
            own.append(flight)
            try:
                yield from ask(flight, {key: left[key] for key in left if key in flight.keys})
            finally:
                flight.land({})
        if near_by:
            yield Await(near_by)
            others += near_by
        for key in brought([flight, *near_by], left.keys()):
            del left[key]
        patience -= 1
    return own, others
