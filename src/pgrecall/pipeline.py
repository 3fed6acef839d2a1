"""Stages that overlap: an iterator that runs ahead of its reader, in a thread or in a task."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")

#: How often a stage that waits looks whether its reader has gone, in seconds.
_POLL = 0.1


class _End:
    """Marks the end of a buffer, with the error that ended it if there was one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Iterable[T], depth: int = 1) -> Iterator[T]:
    """The items, produced in a thread, at most ``depth`` of them ahead of the reader.

    An error is raised where the items are read. When the reader stops early, so does the thread.
    """
    buffer: Queue[T | _End] = Queue(depth)
    left = Event()
    thread = Thread(target=_fill, args=(items, buffer, left), daemon=True)
    thread.start()
    try:
        while not isinstance(item := _get(buffer), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        thread.join()


def _get(buffer: Queue[T | _End]) -> T | _End:
    """Wait in short steps: a thread that waits without end does not notice Ctrl-C everywhere."""
    while True:
        with contextlib.suppress(Empty):
            return buffer.get(timeout=60 * _POLL)


def _fill(items: Iterable[T], buffer: Queue[T | _End], left: Event) -> None:
    end = _End()
    iterator = iter(items)
    try:
        for item in iterator:
            if not _put(buffer, item, left):
                break
    except BaseException as exc:
        end = _End(exc)
    finally:
        # The stages before this one hold threads too; they end with their generators.
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
        _put(buffer, end, left)


def _put(buffer: Queue[T | _End], item: T | _End, left: Event) -> bool:
    while not left.is_set():
        with contextlib.suppress(Full):
            buffer.put(item, timeout=_POLL)
            return True
    return False


async def from_thread(items: Iterable[T]) -> AsyncIterator[T]:
    """The items of an iterator that reads files or computes, each taken in a worker thread."""
    iterator = iter(items)
    end = _End()
    while not isinstance(item := await asyncio.to_thread(next, iterator, end), _End):
        yield item


async def ahead_async(items: AsyncIterator[T], depth: int = 1) -> AsyncIterator[T]:
    """As ``ahead``, with a task instead of a thread."""
    buffer: asyncio.Queue[T | _End] = asyncio.Queue(depth)
    task = asyncio.create_task(_fill_async(items, buffer))
    try:
        while not isinstance(item := await buffer.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _fill_async(items: AsyncIterator[T], buffer: asyncio.Queue[T | _End]) -> None:
    try:
        async for item in items:
            await buffer.put(item)
    except asyncio.CancelledError:
        raise
    except BaseException as exc:
        await buffer.put(_End(exc))
    else:
        await buffer.put(_End())
