"""What a run reads: files and documents in batches, then the pages of the URLs among its sources."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing

from pgrecall import telemetry
from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.job import TEXT_BATCH, Ingestion, Intake
from pgrecall.load import LoadOptions, read
from pgrecall.load.discover import StrPath, is_url
from pgrecall.load.only import Only
from pgrecall.longtext import length_of
from pgrecall.pipeline import from_thread
from pgrecall.store.collections import check_language
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import Document, Failure

#: Documents whose hashes are compared in one round trip.
LEDGER_BATCH = 64

Sources = Iterable[StrPath | Document]
Batch = list[Document | Failure]


def batches(
    session: Session,
    job: Intake,
    sources: Sources,
    options: LoadOptions,
    only: Only | None = None,
) -> Iterator[Batch]:
    """What the sources hold, as it is read; with ``only``, of files only what is in these paths.

    Raises InvalidArgument for a language of all documents that Postgres does not know.
    """
    run(known_language(options), session)
    urls: list[str] = []
    yield from _batched(_given(job, _without_urls(sources, urls), options, only))
    if not urls:
        return
    from pgrecall.ingest.web import Crawl
    from pgrecall.load.web.client import Web

    with Web(allow_private=options.allow_private) as web:
        crawl = Crawl(job, options, web)
        crawl.add_given(urls)
        while (batch := run(seen(crawl.page()), session)) is not None:
            yield batch


async def batches_async(
    session: AsyncSession,
    job: Intake,
    sources: Sources,
    options: LoadOptions,
    only: Only | None = None,
) -> AsyncGenerator[Batch, None]:
    """As ``batches``, awaiting."""
    await run_async(known_language(options), session)
    urls: list[str] = []
    documents = _given(job, _without_urls(sources, urls), options, only)
    async with aclosing(from_thread(_batched(documents))) as given:
        async for batch in given:
            yield batch
    if not urls:
        return
    from pgrecall.ingest.web import Crawl
    from pgrecall.load.web.client import AsyncWeb

    async with AsyncWeb(allow_private=options.allow_private) as web:
        crawl = Crawl(job, options, web)
        crawl.add_given(urls)
        while (fetched := await run_async(seen(crawl.page()), session)) is not None:
            yield fetched


def known_language(options: LoadOptions) -> Flow[None]:
    """Before anything is read and paid for: every document would be refused."""
    if options.said_language is not None:
        yield from check_language(options.said_language)


def _given(
    job: Intake, sources: Sources, options: LoadOptions, only: Only | None
) -> Iterator[Document | Failure]:
    in_parts = isinstance(job, Ingestion)
    return read(sources, options, only, in_parts=in_parts, note=job.note)


def seen(page: Flow[Batch | None]) -> Flow[Batch | None]:
    """A flow that reads one batch, as telemetry sees it."""
    with telemetry.stage("read") as span:
        batch = yield from page
        span.set({"pgrecall.documents": len(batch or ())})
    return batch


def _batched(items: Iterable[Document | Failure]) -> Iterator[Batch]:
    iterator = iter(items)
    while batch := _next_batch(iterator):
        yield batch


def _next_batch(items: Iterator[Document | Failure]) -> Batch:
    """Documents for one look at the ledger: at most LEDGER_BATCH, at most TEXT_BATCH characters and bytes."""
    batch: Batch = []
    size = 0
    with telemetry.stage("read") as span:
        for item in items:
            batch.append(item)
            size += length_of(item) + len(item.media or b"") if isinstance(item, Document) else 0
            if len(batch) >= LEDGER_BATCH or size >= TEXT_BATCH:
                break
        span.set({"pgrecall.documents": len(batch)})
    return batch


def _without_urls(sources: Sources, urls: list[str]) -> Iterator[StrPath | Document]:
    """The sources, except for URLs, which are put into the list as they are met."""
    for source in sources:
        if isinstance(source, str) and is_url(source):
            urls.append(source)
        else:
            yield source
