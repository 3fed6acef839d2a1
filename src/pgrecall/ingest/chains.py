"""The stages, chained: blocking with threads between them, awaiting with tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass

from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.job import WRITERS, Group, Ingestion, batched
from pgrecall.ingest.stages import chunk, embed, select, write
from pgrecall.ingest.sync import begin, finish
from pgrecall.load import LoadOptions, read
from pgrecall.load.discover import StrPath, is_url
from pgrecall.load.scope import Sync
from pgrecall.pipeline import ahead, ahead_async, from_thread, spread, spread_async
from pgrecall.settle import settle
from pgrecall.store.documents import Prepared
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import Document, Failure, IngestReport

Sources = Iterable[StrPath | Document]
Batch = list[Document | Failure]


def ingest(
    session: Session,
    job: Ingestion,
    sources: Sources,
    options: LoadOptions,
    sync: Sync | None = None,
) -> IngestReport:
    """Take the sources in. Raises EmbeddingError or DatabaseUnavailable when going on is no use."""
    comparison = run(begin(job, sync), session)
    urls: list[str] = []
    documents = read(_without_urls(sources, urls), options, sync.only if sync else None)
    take_in(session, job, _then_pages(session, job, batched(documents), urls, options))
    run(finish(comparison), session)
    return job.report


def _without_urls(sources: Sources, urls: list[str]) -> Iterator[StrPath | Document]:
    """The sources, except for URLs, which are put into the list as they are met."""
    for source in sources:
        if isinstance(source, str) and is_url(source):
            urls.append(source)
        else:
            yield source


def _then_pages(
    session: Session,
    job: Ingestion,
    batches: Iterator[Batch],
    urls: list[str],
    options: LoadOptions,
) -> Iterator[Batch]:
    """The batches, and then what the URLs hold that were met among their sources."""
    yield from batches
    if not urls:
        return
    from pgrecall.ingest.web import Crawl
    from pgrecall.load.web.client import Web

    with Web(allow_private=options.allow_private) as web:
        crawl = Crawl(job, options, web)
        crawl.add_given(urls)
        while (batch := run(crawl.page(), session)) is not None:
            yield batch


async def _then_pages_async(
    session: AsyncSession,
    job: Ingestion,
    batches: AsyncGenerator[Batch, None],
    urls: list[str],
    options: LoadOptions,
) -> AsyncGenerator[Batch, None]:
    """As ``_then_pages``, awaiting."""
    async with aclosing(batches):
        async for batch in batches:
            yield batch
    if not urls:
        return
    from pgrecall.ingest.web import Crawl
    from pgrecall.load.web.client import AsyncWeb

    async with AsyncWeb(allow_private=options.allow_private) as web:
        crawl = Crawl(job, options, web)
        crawl.add_given(urls)
        while (fetched := await run_async(crawl.page(), session)) is not None:
            yield fetched


def take_in(session: Session, job: Ingestion, batches: Iterator[Batch]) -> IngestReport:
    """Take in what was read. Raises EmbeddingError or DatabaseUnavailable when going on is no use."""
    began = time.perf_counter()
    groups = ahead(_groups(session, job, batches))
    # Closed at once if something fails: an exception that is kept would keep the threads too.
    with closing(ahead(_embedded(session, job, groups))) as embedded:
        for group in spread(embedded, lambda group: run(write(job, group), session), WRITERS):
            job.written(group)
    job.count_unsent()
    run(settle(job.generation, lambda: job.embedder, written=job.report.chunks), session)
    job.report.seconds += time.perf_counter() - began
    return job.report


def _groups(session: Session, job: Ingestion, batches: Iterator[Batch]) -> Iterator[Group]:
    group = Group()
    for batch in ahead(batches):
        for item in run(select(job, batch), session):
            chunk(job, item)
            if not group.takes(item):
                yield group
                group = Group()
            group.add(item)
    if group.items:
        yield group


def _embedded(
    session: Session, job: Ingestion, groups: Generator[Group, None, None]
) -> Iterator[list[Prepared]]:
    with closing(groups):
        for group in groups:
            yield run(embed(job, group.items), session)


@dataclass(frozen=True, slots=True)
class TakeIn:
    """Take in what a flow reads, page after page, until it returns None; the result is the report."""

    job: Ingestion
    page: Callable[[], Flow[Batch | None]]

    def perform(self, session: Session) -> IngestReport:
        """Blocking."""
        return take_in(session, self.job, self._pages(session))

    async def perform_async(self, session: AsyncSession) -> IngestReport:
        """Awaiting."""
        return await take_in_async(session, self.job, self._pages_async(session))

    def _pages(self, session: Session) -> Iterator[Batch]:
        while (batch := run(self.page(), session)) is not None:
            yield batch

    async def _pages_async(self, session: AsyncSession) -> AsyncGenerator[Batch, None]:
        while (batch := await run_async(self.page(), session)) is not None:
            yield batch


async def ingest_async(
    session: AsyncSession,
    job: Ingestion,
    sources: Sources,
    options: LoadOptions,
    sync: Sync | None = None,
) -> IngestReport:
    """As ``ingest``, awaiting."""
    comparison = await run_async(begin(job, sync), session)
    urls: list[str] = []
    documents = read(_without_urls(sources, urls), options, sync.only if sync else None)
    read_first = from_thread(batched(documents))
    await take_in_async(session, job, _then_pages_async(session, job, read_first, urls, options))
    await run_async(finish(comparison), session)
    return job.report


async def take_in_async(
    session: AsyncSession, job: Ingestion, batches: AsyncGenerator[Batch, None]
) -> IngestReport:
    """As ``take_in``, awaiting."""
    began = time.perf_counter()
    groups = ahead_async(_groups_async(session, job, batches))
    async with aclosing(ahead_async(_embedded_async(session, job, groups))) as embedded:
        async for group in spread_async(
            embedded, lambda group: run_async(write(job, group), session), WRITERS
        ):
            job.written(group)
    job.count_unsent()
    await run_async(
        settle(job.generation, lambda: job.embedder, written=job.report.chunks), session
    )
    job.report.seconds += time.perf_counter() - began
    return job.report


async def _groups_async(
    session: AsyncSession, job: Ingestion, batches: AsyncGenerator[Batch, None]
) -> AsyncGenerator[Group, None]:
    group = Group()
    async with aclosing(ahead_async(batches)) as read_ahead:
        async for batch in read_ahead:
            for item in await run_async(select(job, batch), session):
                await asyncio.to_thread(chunk, job, item)
                if not group.takes(item):
                    yield group
                    group = Group()
                group.add(item)
    if group.items:
        yield group


async def _embedded_async(
    session: AsyncSession, job: Ingestion, groups: AsyncGenerator[Group, None]
) -> AsyncGenerator[list[Prepared], None]:
    async with aclosing(groups):
        async for group in groups:
            yield await run_async(embed(job, group.items), session)
