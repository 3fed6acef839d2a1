"""Fetching as a flow: robots.txt first, redirects one by one, each of them checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urldefrag, urljoin, urlsplit

from pgrecall.errors import MissingExtra, UnreadableSource
from pgrecall.flow import Flow
from pgrecall.load.options import LoadOptions
from pgrecall.load.reading import load
from pgrecall.load.source import Source
from pgrecall.load.web.client import AGENT, Answer, Get, Manners
from pgrecall.types import Document, Failure

try:
    from protego import Protego
except ImportError as exc:
    raise MissingExtra("Reading pages from the web", "web") from exc

MAX_REDIRECTS = 5
#: Bytes of a robots.txt that are read (RFC 9309 asks for at least 500 KiB).
MAX_ROBOTS = 500 * 1024
REDIRECTS = (301, 302, 303, 307, 308)
#: The server says that there is no such page.
GONE = (404, 410)

#: The suffix that stands for a content type, where the URL has none of its own.
SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/pdf": ".pdf",
    "application/json": ".json",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "text/plain": ".txt",
    "text/rtf": ".rtf",
    "application/rtf": ".rtf",
    "message/rfc822": ".eml",
    "application/epub+zip": ".epub",
    "application/vnd.oasis.opendocument.text": ".odt",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
}


class Robots:
    """What the robots.txt of each site allows; fetched once for each run."""

    def __init__(self) -> None:
        #: By origin; None: nothing is allowed.
        self._rules: dict[str, Protego | None] = {}

    def unknown(self, urls: Iterable[str]) -> list[str]:
        """One of the URLs for each site whose robots.txt has not been read."""
        sites = {_origin(url): url for url in urls}
        return [url for origin, url in sites.items() if origin not in self._rules]

    def learn(self, url: str, web: Manners) -> Flow[None]:
        """Read the robots.txt of a site, if that has not been done. Raises UnreadableSource."""
        origin = _origin(url)
        if origin not in self._rules:
            rules = yield from _rules(f"{origin}/robots.txt")
            self._rules[origin] = rules
            delay = rules.crawl_delay(AGENT) if rules else None
            if delay:
                web.ask_patience(url, float(delay))

    def allow(self, url: str, web: Manners) -> Flow[None]:
        """Raises UnreadableSource if the page is not for robots."""
        yield from self.learn(url, web)
        origin = _origin(url)
        rules = self._rules[origin]
        if rules is None:
            raise UnreadableSource(
                f"{origin}/robots.txt cannot be read, so that nothing of the site may be; try again later."
            )
        if not rules.can_fetch(url, AGENT):
            raise UnreadableSource(f"{origin}/robots.txt asks robots not to read this page.")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _rules(url: str) -> Flow[Protego | None]:
    """The rules; none of them where there is no such file; None if the site is out of order (RFC 9309)."""
    try:
        answer = yield from _followed(url, {}, MAX_ROBOTS)
    except UnreadableSource as exc:
        if "private network" in str(exc):
            raise
        return None
    if answer.status >= 500 or answer.status == 429:
        return None
    return Protego.parse(answer.body.decode("utf-8", "replace") if answer.status == 200 else "")


def fetch(url: str, headers: Mapping[str, str], robots: Robots, web: Manners) -> Flow[Answer]:
    """A page, or the server's word that it has not changed (304) or is gone. Raises UnreadableSource."""
    for _ in range(MAX_REDIRECTS + 1):
        yield from robots.allow(url, web)
        answer: Answer = yield Get(url, headers)
        if answer.status not in REDIRECTS:
            break
        url = _target(answer)
    else:
        raise UnreadableSource(f"The page redirects more than {MAX_REDIRECTS} times.")
    if answer.status in (200, 304, *GONE):
        return answer
    raise UnreadableSource(f"The server answered {answer.status}.")


def _followed(url: str, headers: Mapping[str, str], limit: int) -> Flow[Answer]:
    for _ in range(MAX_REDIRECTS + 1):
        answer: Answer = yield Get(url, headers, limit)
        if answer.status not in REDIRECTS:
            return answer
        url = _target(answer)
    raise UnreadableSource(f"The page redirects more than {MAX_REDIRECTS} times.")


def _target(answer: Answer) -> str:
    target = urldefrag(urljoin(answer.url, answer.headers.get("location", ""))).url
    if not target.lower().startswith(("http://", "https://")):
        raise UnreadableSource(f"The page redirects to {target[:200]!r}, which is no web address.")
    return target


def documents(url: str, answer: Answer, options: LoadOptions) -> Iterator[Document | Failure]:
    """What is in a page: its format is that of its content type, else of its name or its bytes."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    name = urlsplit(answer.url).path.rpartition("/")[2]
    suffix = SUFFIXES.get(kind)
    if suffix and not (kind == "text/plain" and "." in name):
        name = f"{name.partition('.')[0] or urlsplit(url).hostname}{suffix}"
    yield from load(Source(uri=url, path=None, data=answer.body, name=name or "page"), options)
