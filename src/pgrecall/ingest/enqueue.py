"""Handing documents over instead of taking them in: read here, since a worker may be on another host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing, closing

from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.chains import Sources
from pgrecall.ingest.job import Intake, batched
from pgrecall.ingest.stages import select
from pgrecall.load import LoadOptions, read
from pgrecall.pipeline import ahead, ahead_async, from_thread
from pgrecall.store import queue
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import Document, EnqueueReport, Failure


def enqueue(session: Session, job: Intake, sources: Sources, options: LoadOptions) -> EnqueueReport:
    """Put what is new or changed into the queue."""
    report = EnqueueReport()
    with closing(ahead(batched(read(sources, options)))) as batches:
        for batch in batches:
            report.queued += run(_hand_over(job, batch), session)
    return _finished(job, report)


async def enqueue_async(
    session: AsyncSession, job: Intake, sources: Sources, options: LoadOptions
) -> EnqueueReport:
    """As ``enqueue``, awaiting."""
    report = EnqueueReport()
    async with aclosing(ahead_async(from_thread(batched(read(sources, options))))) as batches:
        async for batch in batches:
            report.queued += await run_async(_hand_over(job, batch), session)
    return _finished(job, report)


def _hand_over(job: Intake, batch: Sequence[Document | Failure]) -> Flow[int]:
    changed = yield from select(job, batch)
    if changed:
        yield from queue.enqueue(job.generation, [prepared.document for prepared in changed])
    return len(changed)


def _finished(job: Intake, report: EnqueueReport) -> EnqueueReport:
    report.unchanged, report.failed = job.report.unchanged, job.report.failed
    return report
