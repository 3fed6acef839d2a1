"""The stages, chained: blocking with threads between them, awaiting with tasks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial

from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.cutter import Cutting
from pgrecall.ingest.embedding import branch_out, embed_granted, grant, keep_unwritten
from pgrecall.ingest.job import WRITERS, Group, Ingestion
from pgrecall.ingest.lanes import follow
from pgrecall.ingest.plan import foresee, planned
from pgrecall.ingest.reading import Batch, Sources, batches, batches_async, seen
from pgrecall.ingest.record import recorded, recorded_async
from pgrecall.ingest.stages import finish_group, select
from pgrecall.ingest.sync import begin, finish
from pgrecall.load import LoadOptions
from pgrecall.load.scope import Sync
from pgrecall.pipeline import ahead, ahead_async, in_thread, spread, spread_async
from pgrecall.settle import settle
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import IngestReport, Plan


def ingest(
    session: Session,
    job: Ingestion,
    sources: Sources,
    options: LoadOptions,
    sync: Sync | None = None,
) -> IngestReport:
    """Take the sources in. Raises EmbeddingError or DatabaseUnavailable when going on is no use."""
    with recorded(session, job):
        comparison = run(begin(job, sync), session)
        only = sync.only if sync else None
        take_in(session, job, batches(session, job, sources, options, only))
        run(finish(comparison), session)
    return job.report


def take_in(session: Session, job: Ingestion, read: Iterator[Batch]) -> None:
    """Take in what is read; raises as ``ingest`` does."""
    run(follow(job), session)
    groups = ahead(_groups(session, job, read))
    try:
        # Closed at once if something fails: an exception that is kept would keep the threads too.
        with closing(ahead(_embedded(session, job, groups))) as embedded:
            for _ in spread(
                embedded, lambda group: run(finish_group(job, group), session), WRITERS
            ):
                pass
    except BaseException:
        run(keep_unwritten(job), session)
        raise
    job.count_unsent()
    run(_settle(job), session)


def _settle(job: Ingestion) -> Flow[None]:
    written, afford = job.report.chunks, job.budget.take
    return settle(job.generation, lambda: job.embedder, written=written, afford=afford)


def _groups(session: Session, job: Ingestion, read: Iterator[Batch]) -> Iterator[Group]:
    group = Group()
    with closing(Cutting(job)) as cutting:
        for batch in ahead(read):
            cutting.add(run(select(job, batch), session))
            while cutting.fill(group):
                yield group
                group = Group()
        while cutting.fill(group, last=True):
            yield group
            group = Group()
    if group.items:
        yield group


def _embedded(
    session: Session, job: Ingestion, groups: Generator[Group, None, None]
) -> Iterator[list[Prepared]]:
    granted = (run(grant(job, group.items), session) for group in groups)
    embedded = spread(
        granted, lambda one: run(embed_granted(job, one), session), job.embedded_at_once
    )
    with closing(groups), closing(embedded):
        for done in embedded:
            run(branch_out(job, done), session)
            yield done


async def ingest_async(
    session: AsyncSession,
    job: Ingestion,
    sources: Sources,
    options: LoadOptions,
    sync: Sync | None = None,
) -> IngestReport:
    """As ``ingest``, awaiting."""
    async with recorded_async(session, job):
        comparison = await run_async(begin(job, sync), session)
        only = sync.only if sync else None
        await take_in_async(session, job, batches_async(session, job, sources, options, only))
        await run_async(finish(comparison), session)
    return job.report


async def take_in_async(
    session: AsyncSession, job: Ingestion, read: AsyncGenerator[Batch, None]
) -> None:
    """As ``take_in``, awaiting."""
    await run_async(follow(job), session)
    groups = ahead_async(_groups_async(session, job, read))
    try:
        async with aclosing(ahead_async(_embedded_async(session, job, groups))) as embedded:
            async for _ in spread_async(
                embedded, lambda group: run_async(finish_group(job, group), session), WRITERS
            ):
                pass
    except BaseException:
        await run_async(keep_unwritten(job), session)
        raise
    job.count_unsent()
    await run_async(_settle(job), session)


async def _groups_async(
    session: AsyncSession, job: Ingestion, read: AsyncGenerator[Batch, None]
) -> AsyncGenerator[Group, None]:
    group = Group()
    with closing(Cutting(job)) as cutting:
        async with aclosing(ahead_async(read)) as read_ahead:
            async for batch in read_ahead:
                items = await run_async(select(job, batch), session)
                await in_thread(partial(cutting.add, items))
                while await in_thread(partial(cutting.fill, group)):
                    yield group
                    group = Group()
        while await in_thread(partial(cutting.fill, group, last=True)):
            yield group
            group = Group()
    if group.items:
        yield group


async def _embedded_async(
    session: AsyncSession, job: Ingestion, groups: AsyncGenerator[Group, None]
) -> AsyncGenerator[list[Prepared], None]:
    granted = (await run_async(grant(job, group.items), session) async for group in groups)
    embedded = spread_async(
        granted, lambda one: run_async(embed_granted(job, one), session), job.embedded_at_once
    )
    async with aclosing(groups), aclosing(granted), aclosing(embedded):
        async for done in embedded:
            await run_async(branch_out(job, done), session)
            yield done


@dataclass(frozen=True, slots=True)
class TakeIn:
    """A step of a recorded run: take in what a flow reads, page after page, until it returns None."""

    job: Ingestion
    page: Callable[[], Flow[Batch | None]]

    def perform(self, session: Session) -> None:
        """Blocking."""
        take_in(session, self.job, self._pages(session))

    async def perform_async(self, session: AsyncSession) -> None:
        """Awaiting."""
        await take_in_async(session, self.job, self._pages_async(session))

    def _pages(self, session: Session) -> Iterator[Batch]:
        while (batch := run(seen(self.page()), session)) is not None:
            yield batch

    async def _pages_async(self, session: AsyncSession) -> AsyncGenerator[Batch, None]:
        while (batch := await run_async(seen(self.page()), session)) is not None:
            yield batch


def plan(
    session: Session,
    job: Ingestion,
    sources: Sources,
    options: LoadOptions,
    sync: Sync | None = None,
) -> Plan:
    """What ``ingest`` would do, from the same stages; the job is a dry one."""
    comparison = run(begin(job, sync), session)
    with closing(ahead(_groups(session, job, batches(session, job, sources, options)))) as groups:
        for group in groups:
            run(foresee(job, group.items), session)
    job.count_unsent()
    run(finish(comparison), session)
    return run(planned(job), session)


async def plan_async(
    session: AsyncSession,
    job: Ingestion,
    sources: Sources,
    options: LoadOptions,
    sync: Sync | None = None,
) -> Plan:
    """As ``plan``, awaiting."""
    comparison = await run_async(begin(job, sync), session)
    read = batches_async(session, job, sources, options)
    async with aclosing(ahead_async(_groups_async(session, job, read))) as groups:
        async for group in groups:
            await run_async(foresee(job, group.items), session)
    job.count_unsent()
    await run_async(finish(comparison), session)
    return await run_async(planned(job), session)
