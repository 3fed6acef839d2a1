"""Stages that run ahead: order, bounds, errors, and the end of their threads and tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrecall.pipeline import ahead, ahead_async, from_thread, in_thread, spread, spread_async


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert eventually(lambda: set(threading.enumerate()) <= before)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


class Source:
    """Counts what was taken from it, and knows whether it was closed."""

    def __init__(self, stop: int = 1_000_000) -> None:
        self.stop = stop
        self.taken = 0
        self.closed = False

    def items(self) -> Iterator[int]:
        try:
            while self.taken < self.stop:
                self.taken += 1
                yield self.taken
        finally:
            self.closed = True

    async def items_async(self) -> AsyncGenerator[int, None]:
        try:
            while self.taken < self.stop:
                await asyncio.sleep(0)
                self.taken += 1
                yield self.taken
        finally:
            self.closed = True


def broken_after(count: int) -> Iterator[int]:
    yield from range(count)
    raise OSError("gone")


def move(items: Iterator[int], target: list[int]) -> None:
    for item in items:
        target.append(item)


async def move_async(items: AsyncIterator[int], target: list[int]) -> None:
    async for item in items:
        target.append(item)


@settings(max_examples=30)
@given(
    st.lists(st.integers(), max_size=50),
    st.integers(min_value=1, max_value=5),
    st.integers(min_value=1, max_value=3),
)
def test_stages_keep_all_items_in_order(items: list[int], depth: int, stages: int) -> None:
    staged: Iterator[int] = iter(items)
    for _ in range(stages):
        staged = ahead(staged, depth)
    assert list(staged) == items

    async def main() -> list[int]:
        awaited = from_thread(items)
        for _ in range(stages):
            awaited = ahead_async(awaited, depth)
        return [item async for item in awaited]

    assert asyncio.run(main()) == items


@pytest.mark.parametrize("depth", [1, 4])
def test_a_stage_is_never_further_ahead_than_allowed(depth: int) -> None:
    source = Source()
    with closing(ahead(source.items(), depth)) as stage:
        for read in range(1, 6):
            assert next(stage) == read
            # One more is in the hands of the thread, waiting for a place.
            time.sleep(0.05)
            assert source.taken == read + depth + 1


@pytest.mark.parametrize("depth", [1, 4])
def test_an_awaited_stage_is_never_further_ahead_than_allowed(depth: int) -> None:
    async def main() -> None:
        source = Source()
        async with aclosing(ahead_async(source.items_async(), depth)) as stage:
            for read in range(1, 6):
                assert await anext(stage) == read
                await asyncio.sleep(0.01)
                assert source.taken == read + depth + 1

    asyncio.run(main())


def test_an_error_is_raised_at_the_reader_behind_what_came_before() -> None:
    read: list[int] = []
    with pytest.raises(OSError, match="gone"):
        move(ahead(ahead(broken_after(3))), read)
    assert read == [0, 1, 2]

    awaited: list[int] = []

    async def main() -> None:
        await move_async(ahead_async(ahead_async(from_thread(broken_after(3)))), awaited)

    with pytest.raises(OSError, match="gone"):
        asyncio.run(main())
    assert awaited == [0, 1, 2]


class Uncloseable:
    """An iterator that fails when it is begun, or when it is closed."""

    def __init__(self, *, beginning: bool) -> None:
        self.beginning = beginning

    def __iter__(self) -> Iterator[int]:
        if self.beginning:
            raise OSError("gone")
        return self

    def __next__(self) -> int:
        raise StopIteration

    def close(self) -> None:
        raise OSError("gone")


@pytest.mark.parametrize("beginning", [True, False])
def test_whatever_fails_in_the_thread_reaches_the_reader(beginning: bool) -> None:
    with pytest.raises(OSError, match="gone"):
        list(ahead(Uncloseable(beginning=beginning)))


def test_a_reader_that_stops_early_ends_all_stages_before_it() -> None:
    source = Source()
    threads = threading.active_count()
    with closing(ahead(ahead(ahead(source.items())))) as stage:
        assert next(stage) == 1
        assert threading.active_count() == threads + 3
    assert source.closed
    assert threading.active_count() == threads


def test_an_error_of_the_reader_ends_all_stages_before_it() -> None:
    source = Source()

    def read() -> None:
        with closing(ahead(ahead(source.items()))) as stage:
            raise ValueError(f"{next(stage)} is enough")

    with pytest.raises(ValueError, match="1 is enough") as kept:
        read()
    # An exception that is kept keeps the frames that it went through.
    assert kept.value.__traceback__ is not None
    assert source.closed


def test_leaving_or_cancelling_an_awaited_stage_ends_all_tasks_before_it() -> None:
    async def leave(source: Source) -> None:
        async with aclosing(ahead_async(ahead_async(source.items_async()))) as stage:
            async for item in stage:
                if item == 3:
                    break

    async def wait(source: Source) -> None:
        async with (
            asyncio.timeout(0.02),
            aclosing(ahead_async(ahead_async(source.items_async()))) as stage,
        ):
            assert await anext(stage) == 1
            await asyncio.Event().wait()

    async def main() -> None:
        left, cancelled = Source(), Source()
        await leave(left)
        with pytest.raises(TimeoutError):
            await wait(cancelled)
        assert left.closed
        assert cancelled.closed
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_cancellation_from_inside_a_source_reaches_the_reader() -> None:
    async def cancelled() -> AsyncGenerator[int, None]:
        yield 1
        raise asyncio.CancelledError

    read: list[int] = []

    async def main() -> None:
        await asyncio.wait_for(move_async(ahead_async(cancelled()), read), 5)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert read == [1]


def test_spread_keeps_order_and_runs_so_many_at_a_time() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work(item: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01 * (item % 3))
        with lock:
            running -= 1
        return item * item

    assert list(spread(range(20), work, 2)) == [n * n for n in range(20)]
    assert most == 2


def test_spread_begins_nothing_after_an_error() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError("three")
        return item

    with pytest.raises(ValueError, match="three"):
        list(spread(range(100), work, 2))
    assert len(begun) <= 5


def test_spread_hands_over_what_was_under_way_before_it_raises() -> None:
    def work(item: int) -> int:
        time.sleep(0.05 if item == 4 else 0)
        if item == 3:
            raise ValueError("three")
        return item

    results: list[int] = []
    with pytest.raises(ValueError, match="three"):
        move(spread(range(100), work, 3), results)
    assert results == [0, 1, 2, 4, 5]
    results.clear()
    with pytest.raises(OSError, match="gone"):
        move(spread(broken_after(3), work, 3), results)
    assert results == [0, 1, 2]


def test_spread_async_keeps_order_and_leaves_no_task_behind() -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        for n in range(10):
            yield n

    async def work(item: int) -> int:
        if item == 6:
            raise ValueError("six")
        await asyncio.sleep(0.05 if item == 7 else 0.001)
        return item

    results: list[int] = []

    async def collect() -> None:
        async with aclosing(spread_async(numbers(), work, 2)) as spreading:
            async for result in spreading:
                results.append(result)

    async def main() -> int:
        with pytest.raises(ValueError, match="six"):
            await collect()
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1
    assert results == [0, 1, 2, 3, 4, 5, 7]


@pytest.mark.parametrize("fails", [False, True])
def test_a_cancellation_waits_for_the_thread(fails: bool) -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        begun.set()
        assert go_on.wait(5)
        done.append("work")
        if fails:
            raise RuntimeError

    async def main() -> None:
        task = asyncio.create_task(in_thread(work))
        await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        await asyncio.wait([task], timeout=0.02)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        done.append("closed")

    asyncio.run(main())
    assert done == ["work", "closed"]


def test_in_thread_gives_the_result_or_the_error() -> None:
    async def main() -> None:
        assert await in_thread(threading.get_ident) != threading.get_ident()
        with pytest.raises(ZeroDivisionError):
            await in_thread(lambda: 1 // 0)

    asyncio.run(main())
