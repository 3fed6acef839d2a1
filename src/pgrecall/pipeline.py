"""Stages that overlap: an iterator that runs ahead of its reader, in a thread or in a task."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from contextvars import ContextVar, copy_context
from queue import Empty, Full, Queue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

#: How often a stage that waits looks whether its reader has gone, in seconds.
_POLL = 0.1


#: In the thread of a stage and those that it starts: done when its reader has gone.
_left: ContextVar[Future[None] | None] = ContextVar("left", default=None)


def reader_left() -> Future[None] | None:
    """Done when nobody reads any more what this thread works for; None in a thread that has no reader."""
    return _left.get()


class _End:
    """Marks the end of a buffer, with the error that ended it if there was one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int = 1) -> Generator[T, None, None]:
    """The items, produced in a thread, at most ``depth`` of them ahead of the reader.

    An error is raised where the items are read. When the reader stops early, so does the thread.
    """
    buffer: Queue[T | _End] = Queue(depth)
    left: Future[None] = Future()
    # In the caller's context, which tasks inherit by themselves: whose trace this belongs to.
    context = copy_context()
    context.run(_left.set, left)
    thread = Thread(target=context.run, args=(_fill, items, buffer, left), daemon=True)
    thread.start()
    try:
        while not isinstance(item := _get(buffer), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set_result(None)
        thread.join()


def _get(buffer: Queue[T | _End]) -> T | _End:
    """Wait in short steps: a thread that waits without end does not notice Ctrl-C everywhere."""
    while True:
        with contextlib.suppress(Empty):
            return buffer.get(timeout=60 * _POLL)


def _fill(items: Iterable[T], buffer: Queue[T | _End], left: Future[None]) -> None:
    end = _End()
    try:
        _pour(items, buffer, left)
    except BaseException as exc:
        end = _End(exc)
    _put(buffer, end, left)


def _pour(items: Iterable[T], buffer: Queue[T | _End], left: Future[None]) -> None:
    iterator = iter(items)
    try:
        for item in iterator:
            if not _put(buffer, item, left):
                break
    finally:
        # The stages before this one hold threads too; they end with their generators.
        close = getattr(iterator, "close", None)
        if close is not None:
            close()


def _put(buffer: Queue[T | _End], item: T | _End, left: Future[None]) -> bool:
    while not left.done():
        with contextlib.suppress(Full):
            buffer.put(item, timeout=_POLL)
            return True
    return False


async def from_thread(items: Iterable[T]) -> AsyncGenerator[T, None]:
    """The items of an iterator that reads files or computes, each taken in a worker thread."""
    iterator = iter(items)
    end = _End()
    while not isinstance(item := await asyncio.to_thread(next, iterator, end), _End):
        yield item


async def in_thread(work: Callable[[], T]) -> T:
    """The result of ``work``, done in a thread. A cancellation waits for its end: no thread can be stopped.

    So whoever closes what it works on, when cancelled, closes it after it and not under its hands.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # Nobody waits for it any more.
        raise


async def ahead_async(items: AsyncGenerator[T, None], depth: int = 1) -> AsyncGenerator[T, None]:
    """As ``ahead``, with a task instead of a thread."""
    buffer: asyncio.Queue[T | _End] = asyncio.Queue(depth)
    left = asyncio.Event()
    task = asyncio.create_task(_fill_async(items, buffer, left))
    try:
        while not isinstance(item := await buffer.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        task.cancel()
        # Unlike awaiting the task, this leaves no doubt whose cancellation is raised.
        await asyncio.wait([task])


async def _fill_async(
    items: AsyncGenerator[T, None], buffer: asyncio.Queue[T | _End], left: asyncio.Event
) -> None:
    end = _End()
    try:
        async with aclosing(items):
            async for item in items:
                await buffer.put(item)
    except BaseException as exc:
        # A cancellation that the reader did not ask for is an error like others.
        if left.is_set():
            raise
        end = _End(exc)
    await buffer.put(end)


def spread(items: Iterable[T], work: Callable[[T], R], workers: int) -> Generator[R, None, None]:
    """``map(work, items)`` with so many at a time, in threads; results in the order of the items.

    After an error nothing new is begun; what is under way is waited for, and handed over before the error
    is raised, since it is done, or paid for.
    """
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(copy_context().run, work, item))
                if len(pending) >= workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except Exception:
            yield from [future.result() for future in pending if future.exception() is None]
            raise


async def spread_async(
    items: AsyncIterable[T], work: Callable[[T], Awaitable[R]], workers: int
) -> AsyncGenerator[R, None]:
    """As ``spread``, with tasks."""
    pending: deque[asyncio.Future[R]] = deque()
    try:
        async for item in items:
            pending.append(asyncio.ensure_future(work(item)))
            if len(pending) >= workers:
                yield await pending.popleft()
        while pending:
            yield await pending.popleft()
    except Exception:
        for found in await asyncio.gather(*pending, return_exceptions=True):
            if not isinstance(found, BaseException):
                yield found
        raise
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
