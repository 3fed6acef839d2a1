"""Workers: processes that take work out of the queue, any number of them on any number of hosts.

procrastinate gives out the jobs. Most are one version of one document each, and never two of the same document
at once: a job chunks, embeds (together with the other jobs of the worker) and swaps the document in. Others
are some stored documents each, which a generation that is being built lacks. No connection is held while an
embedder is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from pgrecall.embed.base import Embedder
from pgrecall.store.session import AsyncSession
from pgrecall.worker.accounts import Accounts
from pgrecall.worker.embedders import Embedders
from pgrecall.worker.options import WorkerOptions
from pgrecall.worker.run import Worker

__all__ = ["WorkerOptions", "work"]


async def work(
    url: str,
    session: AsyncSession,
    options: WorkerOptions | None = None,
    *,
    embedders: Iterable[Embedder] = (),
    stop: asyncio.Event | None = None,
) -> None:
    """Work until ``stop`` is set, the task is cancelled, or (``drain``) the queue is empty.

    Documents in hand are finished first, or given back when ``grace`` is over.
    """
    chosen = options or WorkerOptions()
    opened = Embedders(embedders, callers=chosen.concurrency)
    accounts = Accounts(session)
    worker = Worker(url, session, chosen, opened, accounts)
    working = asyncio.create_task(worker.run())
    stopped = asyncio.create_task((stop or asyncio.Event()).wait())
    try:
        await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
        worker.stop()
        await asyncio.wait([working])
        await accounts.close()
        await opened.close()
    working.result()
