"""Taking in pages and sitemaps: what changed since the last run is sent, the rest is asked about only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256

from pgrecall.errors import UnreadableSource
from pgrecall.flow import Flow, OnEach, compute
from pgrecall.ingest.job import Intake
from pgrecall.ingest.reading import Batch
from pgrecall.load import LoadOptions
from pgrecall.load.discover import page_url
from pgrecall.load.markup import markup_of
from pgrecall.load.web import pages, sitemap
from pgrecall.load.web.client import Answer, AsyncWeb, Web
from pgrecall.store import identity
from pgrecall.store.pages import Page, known, remember
from pgrecall.types import Document, Failure

#: Pages that are fetched at a time; of one host fewer.
TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Place:
    """A URL that is to be fetched."""

    url: str
    #: The URL that was given: the page itself, or the sitemap that lists it.
    origin: str
    #: How many sitemaps are above it; None: it is a page, whatever it looks like.
    depth: int | None


@dataclass(slots=True)
class Crawl:
    """The URLs of one run."""

    job: Intake
    options: LoadOptions
    web: Web | AsyncWeb
    _queue: deque[Place] = field(default_factory=deque)
    _seen: set[str] = field(default_factory=set)
    _sitemaps: int = 0
    _robots: pages.Robots = field(default_factory=pages.Robots)

    def add_given(self, urls: Iterable[str]) -> None:
        """Fetch what the caller named: pages, or sitemaps."""
        named = [page_url(url) for url in urls]
        self.add([Place(url, url, 0) for url in named])

    def add(self, places: Sequence[Place]) -> None:
        """Fetch these as well, each once."""
        for place in places:
            if place.url not in self._seen and len(self._seen) < sitemap.MAX_PAGES:
                self._seen.add(place.url)
                self._queue.append(place)

    def page(self) -> Flow[Batch | None]:
        """The documents of the next few URLs; None when all are fetched."""
        if not self._queue:
            return None
        part = [self._queue.popleft() for _ in range(min(TOGETHER, len(self._queue)))]
        stored = yield from known(
            self.job.generation,
            self.options.tenant_id,
            [place.url for place in part],
            self._fingerprint,
        )
        # First, so that the pages of a site do not all ask for its robots.txt.
        sites = self._robots.unknown(place.url for place in part)
        if sites:
            yield OnEach(self.web, [self._learn(url) for url in sites])
        answers: list[Answer | UnreadableSource] = yield OnEach(
            self.web,
            [
                self._fetch(place.url, stored[place.url].conditions if place.url in stored else {})
                for place in part
            ],
        )
        batch: Batch = []
        for place, answer in zip(part, answers, strict=True):
            if isinstance(answer, Answer) and answer.status == 304 and place.url in stored:
                self.job.unsent.append(stored[place.url].document_id)
            else:
                batch += yield from self._taken(place, answer)
        return batch

    def _learn(self, url: str) -> Flow[None]:
        with suppress(UnreadableSource):  # each page of the site will say so
            yield from self._robots.learn(url, self.web)

    def _fetch(self, url: str, conditions: dict[str, str]) -> Flow[Answer | UnreadableSource]:
        try:
            return (yield from pages.fetch(url, conditions, self._robots, self.web))
        except UnreadableSource as exc:
            return exc

    def _taken(self, place: Place, answer: Answer | UnreadableSource) -> Flow[Batch]:
        if isinstance(answer, UnreadableSource):
            return [_failure(place, str(answer))]
        if answer.status in pages.GONE:
            # A page that is listed has gone; one that was named, or a sitemap, may be a slip of somebody's.
            reason = f"The server has no such page ({answer.status})."
            return [replace(_failure(place, reason), gone=place.depth is None)]
        if place.depth is not None and sitemap.is_sitemap(answer.body):
            return (yield from self._listed(place, answer))
        if place.depth is not None and sitemap.was_expected(place.url, place.depth, answer):
            # A page that says that the site is down lists nothing; that is no reason to remove anything.
            return [_failure(place, "The answer is a page, where a sitemap should be.")]
        loaded = yield from compute(lambda: list(pages.documents(place.url, answer, self.options)))
        batch: Batch = [replace(item, source=place.origin) for item in loaded]
        if len(batch) == 1 and isinstance(batch[0], Document):
            yield from self._remember(batch[0], answer)
        return batch

    def _listed(self, place: Place, answer: Answer) -> Flow[Batch]:
        self._sitemaps += 1
        depth = place.depth or 0
        if self._sitemaps > sitemap.MAX_SITEMAPS or depth > sitemap.MAX_DEPTH:
            return [_failure(place, "The sitemap refers to too many others, or too deeply.")]
        try:
            listed, maps = yield from compute(partial(sitemap.locations, answer.body, answer.url))
        except UnreadableSource as exc:
            return [_failure(place, str(exc))]
        self.add([Place(url, place.origin, None) for url in listed])
        self.add([Place(url, place.origin, depth + 1) for url in maps])
        if not (listed or maps):
            return [_failure(place, "The sitemap lists no pages of its own site.")]
        return []

    def _remember(self, document: Document, answer: Answer) -> Flow[None]:
        etag, modified = answer.headers.get("etag"), answer.headers.get("last-modified")
        if self.job.dry or not (etag or modified):
            return
        page = Page(
            document_id=identity.document_id(self.job.generation.collection, document),
            content_hash=identity.document_hash(document, markup_of(document)),
            etag=etag,
            last_modified=modified,
        )
        tenant_id = self.options.tenant_id
        yield from remember(self.job.generation, tenant_id, document.uri, page, self._fingerprint)

    @property
    def _fingerprint(self) -> str:
        """What, besides the page, the documents are made with."""
        chosen = replace(self.options, metadata=dict(self.options.metadata))
        return sha256(repr(chosen).encode("utf-8", "replace")).hexdigest()[:16]


def _failure(place: Place, reason: str) -> Failure:
    if place.depth and place.url != place.origin:
        # What this sitemap lists is unknown, and with it what has gone of the whole.
        return Failure(uri=place.origin, reason=f"{place.url}: {reason}")
    return Failure(uri=place.url, reason=reason, source=place.origin)
