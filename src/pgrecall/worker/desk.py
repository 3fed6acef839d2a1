"""What a worker does with one document: it takes it in, and settles the collection when that is quiet."""

from __future__ import annotations

import asyncio
import logging
import time

from pgrecall import errors
from pgrecall.flow import run_async
from pgrecall.ingest import Budget, single
from pgrecall.ingest.chunks import chunk
from pgrecall.ingest.embedding import embed_alone
from pgrecall.ingest.job import Ingestion, Lane
from pgrecall.settle import settle
from pgrecall.store import collections, generations, queue, settling
from pgrecall.store.queue import Queued
from pgrecall.store.session import AsyncSession
from pgrecall.worker.accounts import Accounts
from pgrecall.worker.embedders import Embedders
from pgrecall.worker.failing import Final, keep, reason, salvage

logger = logging.getLogger("pgrecall.worker")

#: A collection that documents never stop coming to is settled this often all the same, in seconds.
LONGEST_WAIT = 300.0


class Desk:
    """Where documents are taken in, many at a time."""

    def __init__(self, session: AsyncSession, embedders: Embedders, accounts: Accounts) -> None:
        self._session, self._embedders, self._accounts = session, embedders, accounts

    async def ingest(self, job_id: int, final: Final) -> None:
        """Take the document of a job in. Why it fails, if it does, is kept in the queue and raised."""
        what = f"Job {job_id}"
        try:
            queued = await run_async(queue.load(job_id), self._session)
            if queued is None:
                await run_async(queue.remove(job_id), self._session)
                logger.info(
                    "Job %d is dropped: its document was done or superseded, or its collection has gone",
                    job_id,
                )
                return
            what = f"{what}, {queued.document.uri}"
            await self._ingest(queued, final)
        except errors.CollectionNotFound as exc:
            # Dropped meanwhile, and the document with it.
            logger.info("Job %d is dropped: %s", job_id, exc)
        except Exception as exc:
            kept = queue.keep_error(job_id, reason(exc))
            if await keep(self._session, what, exc, kept):
                raise

    async def _ingest(self, queued: Queued, final: Final) -> None:
        began = time.monotonic()
        job = await self._ingestion(queued)
        try:
            await self._take_in(job, queued)
        except BaseException as exc:
            await salvage(self._session, job, exc)
            if isinstance(exc, Exception) and final(exc):
                job.fail(queued.document.uri, reason(exc))
            raise
        finally:
            await self._accounts.add(job, "ingest", since=began)

    async def _take_in(self, job: Ingestion, queued: Queued) -> None:
        began = time.time()
        prepared = await run_async(single.changed(job, queued), self._session)
        if prepared is None:
            job.skipped()
            logger.debug("%s is unchanged", queued.document.uri)
            return
        await asyncio.to_thread(chunk, job, prepared)
        await run_async(embed_alone(job, prepared), self._session)
        written = await run_async(single.write(job, queued, prepared, since=began), self._session)
        uri, took = queued.document.uri, time.time() - began
        if written:
            job.written([prepared])
            logger.info("%s: taken in, %d chunks, %.2f s", uri, len(prepared.chunks), took)
        else:
            logger.info(
                "%s: dropped, since it was superseded, or deleted, or its collection was", uri
            )

    async def settle(self, collection_id: int, since: float) -> None:
        """Settle a collection, or put it off while documents are still coming.

        ``since`` is when there was first something to settle, in seconds since 1970.
        """
        name = await run_async(settling.collection_name(collection_id), self._session)
        if name is None:
            return
        pressing = time.time() - since > LONGEST_WAIT
        if not pressing and await run_async(settling.due(collection_id), self._session):
            await run_async(settling.settle_soon(collection_id, since), self._session)
            return
        try:
            generation = await run_async(collections.active(name), self._session)
            embedder = await self._embedders.open(generation)
            written = await run_async(settling.unsettled(generation), self._session)
            await run_async(
                settle(generation, lambda: embedder.embedder, written=written), self._session
            )
        except errors.CollectionNotFound:
            return
        logger.info("%s: settled after %d changes", name, written)

    async def _ingestion(self, queued: Queued) -> Ingestion:
        generation = await run_async(collections.active(queued.collection), self._session)
        for other in await run_async(generations.building(generation.collection_id), self._session):
            try:
                await self._embedders.open(other)
            except errors.PgrecallError as exc:
                logger.debug(
                    "Generation %d gets it when it is filled: %s", other.generation_id, exc
                )
        return Ingestion(
            lane=Lane(generation, await self._embedders.open(generation)),
            open=self._embedders.opened,
            tenant_id=queued.document.tenant_id,
            budget=Budget.of(generation.embedder, None, None),
        )
