"""A vendor's clients: how many are opened, and closed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from pgrecall.embed.clients import Clients

THREADS = 8


class Client:
    """Counts how often it was closed."""

    def __init__(self) -> None:
        # As long as reading certificates takes, so that the others come meanwhile.
        time.sleep(0.02)
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class AsyncClient:
    async def close(self) -> None:
        """Nothing is open."""


def test_threads_that_come_first_at_the_same_time_share_one() -> None:
    opened: list[Client] = []

    def opening() -> Client:
        opened.append(Client())
        return opened[-1]

    clients = Clients(opening, AsyncClient)
    together = Barrier(THREADS)

    def first() -> Client:
        together.wait()
        return clients.sync

    with ThreadPoolExecutor(THREADS) as pool:
        got = {id(one.result()) for one in [pool.submit(first) for _ in range(THREADS)]}
    assert got == {id(opened[0])}
    assert len(opened) == 1
    clients.close()
    clients.close()
    assert opened[0].closed == 1
    assert clients.sync is opened[1]


def test_what_nobody_holds_is_closed() -> None:
    client = Clients(Client, AsyncClient).sync
    assert client.closed == 1
