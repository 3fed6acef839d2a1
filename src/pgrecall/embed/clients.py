"""A vendor's clients of one server: one for threads, and one for each event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """A client for threads."""

    def close(self) -> None:
        """Close its connections."""


class AsyncClosable(Protocol):
    """A client for an event loop."""

    def close(self) -> Awaitable[None]:
        """Close its connections."""


Sync = TypeVar("Sync", bound=Closable)
Async = TypeVar("Async", bound=AsyncClosable)


class Clients(Generic[Sync, Async]):
    """Opened at first use (each costs 40 ms, for its certificates); opened again after a close."""

    def __init__(self, open_sync: Callable[[], Sync], open_async: Callable[[], Async]) -> None:
        self._open_sync, self._open_async = open_sync, open_async
        self._sync: Sync | None = None
        self._opening = Lock()
        self._of_loops: dict[asyncio.AbstractEventLoop, Async] = {}

    @property
    def sync(self) -> Sync:
        """The client that all threads share, also those that come first at the same time."""
        with self._opening:
            if self._sync is None:
                self._sync = self._open_sync()
            return self._sync

    def of_running_loop(self) -> Async:
        """The client of the running loop: connections cannot move from one loop to another."""
        for closed in [loop for loop in self._of_loops if loop.is_closed()]:
            del self._of_loops[closed]
        loop = asyncio.get_running_loop()
        if loop not in self._of_loops:
            self._of_loops[loop] = self._open_async()
        return self._of_loops[loop]

    def close(self) -> None:
        """Close the connections of the client for threads."""
        with self._opening:
            client, self._sync = self._sync, None
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those for threads."""
        self.close()
        client = self._of_loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def __del__(self) -> None:
        # The vendor's own clean-up may come after that of the socket, which would then complain.
        self.close()
