"""One request at a time: pinned to a checked address, bounded in size and time, a few for each host."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pgrecall.errors import MissingExtra, UnreadableSource
from pgrecall.load.web.addresses import permitted

try:
    import httpx2 as httpx
except ImportError as exc:
    raise MissingExtra("Reading pages from the web", "web") from exc

AGENT = "pgrecall"
#: Longest page, in bytes after decompression; the sitemap protocol has the same limit.
MAX_BYTES = 50 * 2**20
#: Seconds for one step on the wire, and for a page as a whole.
STEP, WHOLE = 15.0, 120.0
#: Requests to one host at a time, and seconds between their beginnings.
PER_HOST, DELAY = 2, 0.1
#: Longest pause that a site's robots.txt may ask for.
LONGEST_DELAY = 30.0

TIMES = httpx.Timeout(STEP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server said."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Get:
    """Fetch one URL, following nothing. Raises UnreadableSource."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    limit: int = MAX_BYTES

    def perform(self, web: Web) -> Answer:
        """Blocking."""
        with web.turns[_host(self.url)], _explained(self.url):
            time.sleep(web.pause(self.url))
            ends = time.monotonic() + WHOLE
            with web.client.stream("GET", self.url, headers=dict(self.headers)) as response:
                body = _Body(self, ends)
                for block in response.iter_bytes():
                    body.add(block)
                return body.answer(response)

    async def perform_async(self, web: AsyncWeb) -> Answer:
        """Awaiting."""
        async with web.turns[_host(self.url)]:
            await asyncio.sleep(web.pause(self.url))
            with _explained(self.url):
                async with (
                    asyncio.timeout(WHOLE),
                    web.client.stream("GET", self.url, headers=dict(self.headers)) as response,
                ):
                    body = _Body(self, time.monotonic() + WHOLE)
                    async for block in response.aiter_bytes():
                        body.add(block)
                    return body.answer(response)


class _Body:
    """What has arrived, within the limits."""

    def __init__(self, get: Get, ends: float) -> None:
        self._get, self._ends = get, ends
        self._data = bytearray()

    def add(self, block: bytes) -> None:
        self._data += block
        if len(self._data) > self._get.limit:
            raise UnreadableSource(f"The page is longer than {self._get.limit:,} bytes.")
        if time.monotonic() > self._ends:
            raise UnreadableSource(f"The page took longer than {WHOLE:.0f} seconds.")

    def answer(self, response: httpx.Response) -> Answer:
        return Answer(
            url=self._get.url,
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=bytes(self._data),
        )


@contextmanager
def _explained(url: str) -> Iterator[None]:
    try:
        yield
    except (httpx.TimeoutException, TimeoutError) as exc:
        raise UnreadableSource("The server took too long to answer.") from exc
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as exc:
        raise UnreadableSource(f"The page cannot be fetched: {exc or type(exc).__name__}.") from exc


class Manners:
    """When the next request to a host may begin."""

    def __init__(self) -> None:
        self.delays: dict[str, float] = {}
        self._next: dict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    def pause(self, url: str) -> float:
        """Seconds until the request may begin; its place is taken."""
        host, now = _host(url), time.monotonic()
        with self._lock:
            begins = max(now, self._next[host])
            self._next[host] = begins + self.delays.get(host, DELAY)
        return begins - now

    def ask_patience(self, url: str, seconds: float) -> None:
        """The site wants so many seconds between requests."""
        self.delays[_host(url)] = min(max(seconds, DELAY), LONGEST_DELAY)


class Web(Manners):
    """The blocking client; a context manager."""

    def __init__(self, *, allow_private: bool) -> None:
        super().__init__()
        self.turns: dict[str, Any] = defaultdict(lambda: threading.Semaphore(PER_HOST))
        pinned = Pinned(allow_private=allow_private)
        self.client = httpx.Client(transport=pinned, **_OPTIONS)

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()


class AsyncWeb(Manners):
    """As ``Web``, awaited."""

    def __init__(self, *, allow_private: bool) -> None:
        super().__init__()
        self.turns: dict[str, Any] = defaultdict(lambda: asyncio.Semaphore(PER_HOST))
        pinned = AsyncPinned(allow_private=allow_private)
        self.client = httpx.AsyncClient(transport=pinned, **_OPTIONS)

    async def __aenter__(self) -> AsyncWeb:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.client.aclose()


_OPTIONS: dict[str, Any] = {
    "timeout": TIMES,
    "follow_redirects": False,
    # A proxy would resolve names by itself, and a .netrc send passwords.
    "trust_env": False,
    "headers": {"User-Agent": AGENT, "Accept-Encoding": "gzip"},
}


class Pinned(httpx.BaseTransport):
    """Resolves, checks, and connects to what was checked.

    There is a pool for each host: two hosts at one address must not share a connection, whose certificate was
    checked for one of them.
    """

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._context = ssl.create_default_context()
        self._pools: dict[str, httpx.HTTPTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it to the first address that answers."""
        host, port = _place(request)
        found = [
            str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        ]
        addresses = permitted(host, found, allow_private=self._allow_private)
        with self._lock:
            pool = self._pools.setdefault(host, httpx.HTTPTransport(**_pool(self._context)))
        for address in addresses[:-1]:
            try:
                return pool.handle_request(_to(request, address))
            except httpx.ConnectError:
                continue
        return pool.handle_request(_to(request, addresses[-1]))

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.close()


class AsyncPinned(httpx.AsyncBaseTransport):
    """As ``Pinned``, awaited."""

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._context = ssl.create_default_context()
        self._pools: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it to the first address that answers."""
        host, port = _place(request)
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        found = [str(info[4][0]) for info in infos]
        addresses = permitted(host, found, allow_private=self._allow_private)
        pool = self._pools.setdefault(host, httpx.AsyncHTTPTransport(**_pool(self._context)))
        for address in addresses[:-1]:
            try:
                return await pool.handle_async_request(_to(request, address))
            except httpx.ConnectError:
                continue
        return await pool.handle_async_request(_to(request, addresses[-1]))

    async def aclose(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()


def _pool(context: ssl.SSLContext) -> dict[str, Any]:
    return {"verify": context, "trust_env": False, "http2": False}


def _place(request: httpx.Request) -> tuple[str, int]:
    url = request.url
    return url.host, url.port or (443 if url.scheme == "https" else 80)


def _to(request: httpx.Request, address: str) -> httpx.Request:
    """The request, to an address; the host stays in its header and in the TLS handshake."""
    host = request.url.host
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )


def _host(url: str) -> str:
    return httpx.URL(url).host
