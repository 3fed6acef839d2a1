"""The stages, chained: blocking with threads between them, awaiting with tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import aclosing, closing

from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.job import WRITERS, Group, Ingestion, batched
from pgrecall.ingest.lanes import follow
from pgrecall.ingest.plan import foresee, planned
from pgrecall.ingest.record import recorded, recorded_async
from pgrecall.ingest.stages import chunk, embed, select, write
from pgrecall.load import LoadOptions, read
from pgrecall.load.discover import StrPath
from pgrecall.pipeline import ahead, ahead_async, from_thread, spread, spread_async
from pgrecall.settle import settle
from pgrecall.store.documents import Prepared
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import Document, IngestReport, Plan

Sources = Iterable[StrPath | Document]


def ingest(
    session: Session, job: Ingestion, sources: Sources, options: LoadOptions
) -> IngestReport:
    """Take the sources in. Raises EmbeddingError or DatabaseUnavailable when going on is no use."""
    began = time.perf_counter()
    with recorded(session, job):
        run(follow(job), session)
        groups = ahead(_groups(session, job, sources, options))
        # Closed at once if something fails: an exception that is kept would keep the threads too.
        with closing(ahead(_embedded(session, job, groups))) as embedded:
            for group in spread(embedded, lambda group: run(write(job, group), session), WRITERS):
                job.written(group)
        run(_settle(job), session)
        job.report.seconds = time.perf_counter() - began
    return job.report


def _settle(job: Ingestion) -> Flow[None]:
    written, afford = job.report.chunks, job.budget.take
    return settle(job.generation, lambda: job.embedder, written=written, afford=afford)


def _groups(
    session: Session, job: Ingestion, sources: Sources, options: LoadOptions
) -> Iterator[Group]:
    group = Group()
    for batch in ahead(batched(read(sources, options))):
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


async def ingest_async(
    session: AsyncSession, job: Ingestion, sources: Sources, options: LoadOptions
) -> IngestReport:
    """As ``ingest``, awaiting."""
    began = time.perf_counter()
    async with recorded_async(session, job):
        await run_async(follow(job), session)
        groups = ahead_async(_groups_async(session, job, sources, options))
        async with aclosing(ahead_async(_embedded_async(session, job, groups))) as embedded:
            async for group in spread_async(
                embedded, lambda group: run_async(write(job, group), session), WRITERS
            ):
                job.written(group)
        await run_async(_settle(job), session)
        job.report.seconds = time.perf_counter() - began
    return job.report


async def _groups_async(
    session: AsyncSession, job: Ingestion, sources: Sources, options: LoadOptions
) -> AsyncGenerator[Group, None]:
    group = Group()
    async with aclosing(ahead_async(from_thread(batched(read(sources, options))))) as batches:
        async for batch in batches:
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


def plan(session: Session, job: Ingestion, sources: Sources, options: LoadOptions) -> Plan:
    """What ``ingest`` would do, from the same stages; the job is a dry one."""
    with closing(ahead(_groups(session, job, sources, options))) as groups:
        for group in groups:
            run(foresee(job, group.items), session)
    return run(planned(job), session)


async def plan_async(
    session: AsyncSession, job: Ingestion, sources: Sources, options: LoadOptions
) -> Plan:
    """As ``plan``, awaiting."""
    async with aclosing(ahead_async(_groups_async(session, job, sources, options))) as groups:
        async for group in groups:
            await run_async(foresee(job, group.items), session)
    return await run_async(planned(job), session)
