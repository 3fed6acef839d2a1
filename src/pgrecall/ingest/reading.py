"""What a run reads: files and documents in batches, then the pages of the URLs among its sources."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing

from pgrecall.flow import run, run_async
from pgrecall.ingest.job import Intake, batched
from pgrecall.load import LoadOptions, read
from pgrecall.load.discover import StrPath, is_url
from pgrecall.load.only import Only
from pgrecall.pipeline import from_thread
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import Document, Failure

Sources = Iterable[StrPath | Document]
Batch = list[Document | Failure]


def batches(
    session: Session,
    job: Intake,
    sources: Sources,
    options: LoadOptions,
    only: Only | None = None,
) -> Iterator[Batch]:
    """What the sources hold, as it is read; with ``only``, of files only what is in these paths."""
    urls: list[str] = []
    yield from batched(read(_without_urls(sources, urls), options, only))
    if not urls:
        return
    from pgrecall.ingest.web import Crawl
    from pgrecall.load.web.client import Web

    with Web(allow_private=options.allow_private) as web:
        crawl = Crawl(job, options, web)
        crawl.add_given(urls)
        while (batch := run(crawl.page(), session)) is not None:
            yield batch


async def batches_async(
    session: AsyncSession,
    job: Intake,
    sources: Sources,
    options: LoadOptions,
    only: Only | None = None,
) -> AsyncGenerator[Batch, None]:
    """As ``batches``, awaiting."""
    urls: list[str] = []
    documents = read(_without_urls(sources, urls), options, only)
    async with aclosing(from_thread(batched(documents))) as given:
        async for batch in given:
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


def _without_urls(sources: Sources, urls: list[str]) -> Iterator[StrPath | Document]:
    """The sources, except for URLs, which are put into the list as they are met."""
    for source in sources:
        if isinstance(source, str) and is_url(source):
            urls.append(source)
        else:
            yield source
