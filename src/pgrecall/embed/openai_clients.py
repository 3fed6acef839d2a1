"""The SDK's clients of one server: one for threads, and one for each event loop."""

from __future__ import annotations

import asyncio
from functools import cached_property

import openai

from pgrecall.embed.openai_options import Endpoint


class Clients:
    """Opened at first use (each costs 40 ms, for its certificates); opened again after a close."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._of_loops: dict[asyncio.AbstractEventLoop, openai.AsyncOpenAI] = {}

    @cached_property
    def sync(self) -> openai.OpenAI:
        """The client that all threads share."""
        return openai.OpenAI(**self._endpoint.client_settings())

    def of_running_loop(self) -> openai.AsyncOpenAI:
        """The client of the running loop: connections cannot move from one loop to another."""
        for closed in [loop for loop in self._of_loops if loop.is_closed()]:
            del self._of_loops[closed]
        loop = asyncio.get_running_loop()
        if loop not in self._of_loops:
            self._of_loops[loop] = openai.AsyncOpenAI(**self._endpoint.client_settings())
        return self._of_loops[loop]

    def close(self) -> None:
        """Close the connections of the client for threads."""
        client = self.__dict__.pop("sync", None)
        if client is not None:
            client.close()

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those for threads."""
        self.close()
        client = self._of_loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def __del__(self) -> None:
        # The SDK's own clean-up may come after that of the socket, which would then complain.
        self.close()
