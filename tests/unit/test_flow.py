"""Flows: the same rule driven blocking and awaiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from pgrecall.flow import Flow, Step, run, run_async


@dataclass
class Ask:
    """Answers with the session's entry for a word; an entry that is an exception is raised."""

    word: str

    def perform(self, session: dict[str, Any]) -> Any:
        answer = session[self.word]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def perform_async(self, session: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return self.perform(session)


@dataclass
class Forever:
    """Never answers."""

    def perform(self, session: object) -> None:
        raise AssertionError

    async def perform_async(self, session: object) -> None:
        await asyncio.Event().wait()


def ask(word: str) -> Flow[Any]:
    answer = yield Ask(word)
    return answer


def both(flow: Callable[[], Flow[Any]], session: object) -> Any:
    """The result of either driver, which must be the same."""
    blocking = run(flow(), session)
    assert asyncio.run(run_async(flow(), session)) == blocking
    return blocking


def failing(flow: Callable[[], Flow[Any]], session: object, error: type[BaseException]) -> None:
    with pytest.raises(error):
        run(flow(), session)
    with pytest.raises(error):
        asyncio.run(run_async(flow(), session))


def nothing() -> Flow[int]:
    yield from ()
    return 7


def test_results_come_back_and_flows_nest() -> None:
    def sum_of_two() -> Flow[int]:
        return int((yield from ask("a")) + (yield from ask("b")))

    def nested() -> Flow[list[int]]:
        return [(yield from sum_of_two()), (yield from nothing())]

    assert both(nested, {"a": 1, "b": 2}) == [3, 7]


def test_an_error_of_a_step_is_raised_inside_the_flow() -> None:
    def careful() -> Flow[str]:
        try:
            yield from ask("broken")
        except KeyError:
            return f"went on with {(yield from ask('whole'))}"
        raise AssertionError

    assert both(careful, {"broken": KeyError("x"), "whole": 1}) == "went on with 1"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, StopIteration])
def test_an_error_that_nobody_catches_ends_the_flow_after_its_cleanup(
    error: type[BaseException],
) -> None:
    events: list[str] = []

    def tidy() -> Flow[None]:
        try:
            yield from ask("broken")
            events.append("not reached")
        finally:
            # Cleaning up may take steps of its own.
            events.append((yield from ask("cleanup")))

    # A StopIteration must not be taken for the flow's result.
    expected = RuntimeError if error is StopIteration else error
    failing(tidy, {"broken": error("x"), "cleanup": "cleaned"}, expected)
    assert events == ["cleaned", "cleaned"]


def test_cancellation_is_raised_inside_the_flow() -> None:
    events: list[str] = []

    def waiting() -> Flow[None]:
        try:
            step: Step = Forever()
            yield step
        except asyncio.CancelledError:
            events.append("cancelled")
            raise
        finally:
            events.append((yield from ask("cleanup")))

    async def main() -> None:
        async with asyncio.timeout(0.02):
            await run_async(waiting(), {"cleanup": "cleaned"})

    with pytest.raises(TimeoutError):
        asyncio.run(main())
    assert events == ["cancelled", "cleaned"]
