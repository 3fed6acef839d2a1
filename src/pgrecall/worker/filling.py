"""What a worker does for a generation that is being built: it adds documents, and finishes it."""

from __future__ import annotations

import logging
import sys
import time

from pgrecall import errors
from pgrecall.flow import run_async
from pgrecall.ingest.job import Lane
from pgrecall.reindex import batch as steps
from pgrecall.reindex.fill import Limits, job_of
from pgrecall.reindex.work import Reindexing
from pgrecall.store import batches, generations, reindexings, settling
from pgrecall.store.batches import Batch
from pgrecall.store.session import AsyncSession
from pgrecall.types import Failure
from pgrecall.worker.accounts import Accounts
from pgrecall.worker.embedders import Embedders
from pgrecall.worker.failing import Final, keep, reason, salvage

logger = logging.getLogger("pgrecall.worker")

#: Attempts that ended without a reason, after which one document of the batch is suspected.
DEATHS = 2
#: Nothing is left to do for a generation that is retired or was dropped.
GONE = (errors.GenerationChanged, errors.GenerationNotFound, errors.CollectionNotFound)


class Filling:
    """Where generations are filled, many batches at a time."""

    def __init__(self, session: AsyncSession, embedders: Embedders, accounts: Accounts) -> None:
        self._session, self._embedders, self._accounts = session, embedders, accounts

    async def add(self, job_id: int, attempts: int, final: Final) -> None:
        """Add the batch of a job to its generation. Why it fails, if it does, is kept with it and raised."""
        try:
            batch = await run_async(batches.load(job_id), self._session)
            if batch is None:
                # Done by another worker that was taken for dead.
                logger.info("Job %d is dropped: its batch was done, or taken back", job_id)
                return
            if attempts >= DEATHS and batch.error is None and len(batch.keys) > 1:
                logger.warning("Job %d is divided: the workers that had it in hand died", job_id)
                await run_async(batches.divide(batch), self._session)
                return
            await self._add(batch, final)
        except GONE as exc:
            logger.info("Job %d is dropped: %s", job_id, exc)
        except Exception as exc:
            kept = batches.keep_error(job_id, reason(exc))
            if await keep(self._session, f"Job {job_id}", exc, kept):
                raise

    async def _add(self, batch: Batch, final: Final) -> None:
        began = time.monotonic()
        generation = batch.generation
        # The embedder itself, since a batch is full without others; so it is given token ids, and pictures.
        embedder = (await self._embedders.open(generation)).embedder
        # Counted, since the limit is that of all workers together (``reindex.batch``).
        budget = Limits(max_tokens=sys.maxsize if batch.limited else None).budget(
            generation.embedder
        )
        job = job_of(Lane(generation, embedder), budget)
        try:
            await run_async(steps.add(Reindexing(job=job), batch), self._session)
        except BaseException as exc:
            await salvage(self._session, job, exc)
            # Those that are tried again have not failed yet, nor were they left.
            job.report.left = job.report.left_tokens = 0
            failed = batch.keys if isinstance(exc, Exception) and final(exc) else ()
            job.report.failed = [Failure(uri=str(key), reason=reason(exc)) for _, key in failed]
            raise
        finally:
            await self._accounts.add(job, "reindex", since=began)
        logger.info(
            "%s: %d documents added to generation %d, %d chunks, %.2f s",
            generation.collection,
            job.report.new,
            generation.generation_id,
            job.report.chunks,
            time.monotonic() - began,
        )

    async def finish(self, number: int) -> None:
        """Finish a generation, or put it off while batches of it are due. Why it fails is kept and raised."""
        try:
            await self._finish(number)
        except GONE as exc:
            logger.info("Generation %d is not finished: %s", number, exc)
        except Exception as exc:
            kept = reindexings.keep_error(number, reason(exc))
            if await keep(self._session, f"The end of generation {number}", exc, kept):
                # Trying this one again does for both.
                await run_async(settling.forget(number), self._session)
                raise

    async def _finish(self, number: int) -> None:
        generation = await run_async(generations.found(number), self._session)
        if generation is None:
            return
        if await run_async(batches.due(generation), self._session):
            await run_async(settling.finish_soon(generation), self._session)
            return
        embedder = (await self._embedders.open(generation)).embedder
        await run_async(steps.finish(generation, embedder), self._session)
        logger.info("%s: generation %d is finished", generation.collection, number)
