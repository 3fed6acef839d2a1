"""Handing documents over instead of taking them in: read here, since a worker may be on another host."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing, closing

from pgrecall import errors
from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.job import Intake
from pgrecall.ingest.reading import Sources, batches, batches_async
from pgrecall.ingest.stages import select
from pgrecall.load import LoadOptions
from pgrecall.pipeline import ahead, ahead_async
from pgrecall.store import queue
from pgrecall.store.session import AsyncSession, Session, transaction
from pgrecall.types import Document, EnqueueReport, Failure


def enqueue(session: Session, job: Intake, sources: Sources, options: LoadOptions) -> EnqueueReport:
    """Put what is new or changed into the queue."""
    report = EnqueueReport()
    with closing(ahead(batches(session, job, sources, options))) as read:
        for batch in read:
            report.queued += run(_hand_over(job, batch), session)
    return _finished(job, report)


async def enqueue_async(
    session: AsyncSession, job: Intake, sources: Sources, options: LoadOptions
) -> EnqueueReport:
    """As ``enqueue``, awaiting."""
    report = EnqueueReport()
    async with aclosing(ahead_async(batches_async(session, job, sources, options))) as read:
        async for batch in read:
            report.queued += await run_async(_hand_over(job, batch), session)
    return _finished(job, report)


def _hand_over(job: Intake, batch: Sequence[Document | Failure]) -> Flow[int]:
    changed = yield from select(job, batch)
    return (yield from _enqueue(job, [prepared.document for prepared in changed]))


def _enqueue(job: Intake, documents: Sequence[Document]) -> Flow[int]:
    """How many went into the queue. If it is refused, each is tried by itself, to report the one at fault."""
    if not documents:
        return 0
    try:
        yield from transaction(queue.enqueue(job.generation, documents))
    except errors.DatabaseUnavailable:
        raise
    except (errors.DatabaseError, errors.InvalidArgument) as exc:
        if len(documents) == 1:
            job.fail(documents[0].uri, str(exc))
            return 0
        done = 0
        for document in documents:
            done += yield from _enqueue(job, [document])
        return done
    return len(documents)


def _finished(job: Intake, report: EnqueueReport) -> EnqueueReport:
    job.count_unsent()
    report.unchanged, report.failed = job.report.unchanged, job.report.failed
    report.notes = job.report.notes
    return report
