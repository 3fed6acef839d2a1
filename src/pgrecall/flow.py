"""Rules without waiting: a flow says what it needs, a driver gets it, blocking or awaiting.

A flow is a generator. It yields steps (a query, a transaction, a call of an embedder), receives their
results, and returns its own. ``run`` and ``run_async`` are the only places that wait, so every rule is
written once and serves both flavours::

    def count(table: str) -> Flow[int]:
        rows = yield from fetch("SELECT count(*) FROM ...")
        return rows[0][0]
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

T = TypeVar("T")


class Step(Protocol):
    """One thing to wait for, in both flavours. ``session`` is what the driver was given."""

    def perform(self, session: Any) -> Any:
        """Do it, blocking."""

    async def perform_async(self, session: Any) -> Any:
        """Do it, awaiting."""


Flow: TypeAlias = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Compute:
    """Compute something that takes the processor a while, or read files."""

    work: Callable[[], Any]

    def perform(self, session: object) -> Any:
        """Here and now."""
        return self.work()

    async def perform_async(self, session: object) -> Any:
        """In a thread, so that nobody who awaits is held up."""
        return await asyncio.to_thread(self.work)


def compute(work: Callable[[], T]) -> Generator[Step, Any, T]:
    """The result of ``work``."""
    result: T = yield Compute(work)
    return result


def run(flow: Flow[T], session: Any) -> T:
    """Drive a flow to its result; an error of a step is raised inside the flow."""
    try:
        step = next(flow)
        while True:
            try:
                result = step.perform(session)
            except BaseException as exc:
                step = flow.throw(exc)
            else:
                step = flow.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value


async def run_async(flow: Flow[T], session: Any) -> T:
    """As ``run``, awaiting each step; cancellation is raised inside the flow too."""
    try:
        step = next(flow)
        while True:
            try:
                result = await step.perform_async(session)
            except BaseException as exc:
                step = flow.throw(exc)
            else:
                step = flow.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value


@dataclass(frozen=True, slots=True)
class On:
    """Run a flow on another session."""

    session: Any
    flow: Flow[Any]

    def perform(self, session: object) -> Any:
        """Blocking."""
        return run(self.flow, self.session)

    async def perform_async(self, session: object) -> Any:
        """Awaiting."""
        return await run_async(self.flow, self.session)


@dataclass(frozen=True, slots=True)
class OnEach:
    """Run flows on another session, all at the same time; the result is the list of theirs."""

    session: Any
    flows: Sequence[Flow[Any]]

    def perform(self, session: object) -> list[Any]:
        """Blocking, each in a thread."""
        with ThreadPoolExecutor(len(self.flows)) as pool:
            return list(pool.map(lambda flow: run(flow, self.session), self.flows))

    async def perform_async(self, session: object) -> list[Any]:
        """Awaiting, each in a task."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run_async(flow, self.session)) for flow in self.flows]
        return [task.result() for task in tasks]
