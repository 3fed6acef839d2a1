"""What a database can do about the queue that its workers take from."""

from __future__ import annotations

from collections.abc import Sequence

from pgrecall.flow import run, run_async
from pgrecall.store import jobs
from pgrecall.store.jobs import FailedJob, QueueStatus
from pgrecall.store.session import AsyncSession, Session


class Queueing:
    """The part of ``Database`` that is about its queue."""

    _session: Session

    def queue_status(self) -> QueueStatus:
        """How many documents wait for workers, are in hand, or have failed."""
        return run(jobs.status(), self._session)

    def failed_jobs(self, collection: str | None = None) -> list[FailedJob]:
        """What workers could not do, with the reasons, oldest first."""
        return run(jobs.failed(collection), self._session)

    def retry_jobs(self, job_ids: Sequence[int] | None = None) -> int:
        """Let failed documents be tried again; None: all of them. How many there were."""
        return run(jobs.retry(job_ids), self._session)

    def discard_jobs(self, job_ids: Sequence[int] | None = None) -> int:
        """Drop failed documents from the queue; None: all. Versions that are stored stay as they are."""
        return run(jobs.discard(job_ids), self._session)


class AsyncQueueing:
    """As ``Queueing``, awaited."""

    _session: AsyncSession

    async def queue_status(self) -> QueueStatus:
        """As ``Database.queue_status``."""
        return await run_async(jobs.status(), self._session)

    async def failed_jobs(self, collection: str | None = None) -> list[FailedJob]:
        """As ``Database.failed_jobs``."""
        return await run_async(jobs.failed(collection), self._session)

    async def retry_jobs(self, job_ids: Sequence[int] | None = None) -> int:
        """As ``Database.retry_jobs``."""
        return await run_async(jobs.retry(job_ids), self._session)

    async def discard_jobs(self, job_ids: Sequence[int] | None = None) -> int:
        """As ``Database.discard_jobs``."""
        return await run_async(jobs.discard(job_ids), self._session)
