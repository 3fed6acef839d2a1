"""Run a few requests at a time, in threads or in tasks; the answers come back in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

from pgrecall.errors import EmbeddingError
from pgrecall.pipeline import reader_left

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Abandoned(EmbeddingError):
    """Nobody waits for the vectors any more; ``answered`` has those that came before."""


def check_reader() -> None:
    """Raise Abandoned if nobody waits for what this thread asks for: it is not to be paid for."""
    left = reader_left()
    if left is not None and left.done():
        raise Abandoned("The run was broken off.")


def in_threads(
    work: Callable[[Item, Future[None]], Answer], items: Sequence[Item], concurrency: int
) -> list[Answer]:
    """``[work(item, stopped) for item in items]``, up to ``concurrency`` at a time.

    The first failure is raised. The items that wait are dropped then, and the future (done when it is
    time to stop) tells those under way not to try again. When the reader has left, they are waited for:
    what they bring is paid for.
    """
    stopped: Future[None] = Future()
    if len(items) < 2:
        return [work(item, stopped) for item in items]
    with ThreadPoolExecutor(min(concurrency, len(items)), "pgrecall-embed") as pool:
        futures = [pool.submit(copy_context().run, work, item, stopped) for item in items]
        try:
            return _results(futures)
        finally:
            stopped.set_result(None)
            pool.shutdown(wait=False, cancel_futures=True)


def _results(futures: Sequence[Future[Answer]]) -> list[Answer]:
    done, _ = wait(futures, return_when=FIRST_EXCEPTION)
    if any(isinstance(future.exception(), Abandoned) for future in done):
        wait(futures)
    for future in done:
        future.result()  # raises what failed, wherever it stands in the order
    return [future.result() for future in futures]


async def in_tasks(
    work: Callable[[Item], Awaitable[Answer]], items: Sequence[Item], concurrency: int
) -> list[Answer]:
    """``[await work(item) for item in items]``, up to ``concurrency`` at a time.

    The first failure is raised, and the other tasks are cancelled.
    """
    gate = asyncio.Semaphore(concurrency)

    async def gated(item: Item) -> Answer:
        async with gate:
            return await work(item)

    tasks = [asyncio.create_task(gated(item)) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
