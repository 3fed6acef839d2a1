"""What a worker does with one job: take a document in, or settle a collection."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

from pgrecall import errors
from pgrecall.embed import reopen_embedder
from pgrecall.embed.base import Embedder
from pgrecall.embed.joined import JoinedEmbedder
from pgrecall.flow import run_async
from pgrecall.ingest import single
from pgrecall.ingest.job import Ingestion, Lane
from pgrecall.ingest.stages import chunk, embed_alone
from pgrecall.retrieve import Target
from pgrecall.settle import settle
from pgrecall.store import collections, generations, jobs, queue
from pgrecall.store.collections import Generation
from pgrecall.store.queue import Queued
from pgrecall.store.session import AsyncSession

logger = logging.getLogger("pgrecall.worker")

#: A collection that documents never stop coming to is settled this often all the same, in seconds.
LONGEST_WAIT = 300.0


class Desk:
    """The embedders and the session that the jobs of a worker share."""

    def __init__(
        self, session: AsyncSession, embedders: Iterable[Embedder] = (), *, callers: int
    ) -> None:
        self._session, self._callers = session, callers
        self._embedders = {given.name: self._joined(given) for given in embedders}
        self._given = set(self._embedders)
        self._opening = asyncio.Lock()

    async def ingest(self, job_id: int) -> None:
        """Take the document of a job in. Why it fails, if it does, is kept in the queue and raised."""
        try:
            await self._ingest(job_id)
        except errors.CollectionNotFound:
            # Dropped meanwhile, and the document with it.
            return
        except Exception as exc:
            await self._keep(job_id, exc)
            raise

    async def _ingest(self, job_id: int) -> None:
        queued = await run_async(queue.load(job_id), self._session)
        if queued is None:
            # Done by another worker that was taken for dead, or a newer version waits.
            await run_async(queue.remove(job_id), self._session)
            return
        began = time.time()
        job = await self._ingestion(queued)
        prepared = await run_async(single.changed(job, queued), self._session)
        if prepared is None:
            logger.debug("%s is unchanged", queued.document.uri)
            return
        await asyncio.to_thread(chunk, job, prepared)
        await run_async(embed_alone(job, prepared), self._session)
        written = await run_async(single.write(job, queued, prepared, since=began), self._session)
        logger.info(
            "%s: %s, %d chunks, %.2f s",
            queued.document.uri,
            "taken in" if written else "superseded",
            len(prepared.chunks),
            time.time() - began,
        )

    async def settle(self, collection_id: int, since: float) -> None:
        """Settle a collection, or put it off while documents are still coming.

        ``since`` is when there was first something to settle, in seconds since 1970.
        """
        name = await run_async(jobs.collection_name(collection_id), self._session)
        if name is None:
            return
        pressing = time.time() - since > LONGEST_WAIT
        if not pressing and await run_async(jobs.due(collection_id), self._session):
            await run_async(
                jobs.settle_soon(collection_id, since, delay=single.SETTLE_DELAY), self._session
            )
            return
        try:
            generation = await run_async(collections.active(name), self._session)
            embedder = await self._open(generation)
            written = await run_async(jobs.unsettled(generation), self._session)
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
                await self._open(other)
            except errors.PgrecallError as exc:
                logger.debug(
                    "Generation %d gets it when it is filled: %s", other.generation_id, exc
                )
        return Ingestion(
            lane=Lane(generation, await self._open(generation)),
            open=self._opened,
            tenant_id=queued.document.tenant_id,
        )

    def _opened(self, generation: Generation) -> Embedder:
        """The embedder of a generation that was met before."""
        if generation.embedder not in self._embedders:
            raise errors.EmbeddingError(
                f"This worker has no embedder {generation.embedder!r} open."
            )
        return self._embedders[generation.embedder]

    async def _open(self, generation: Generation) -> JoinedEmbedder:
        """The embedder of a collection, shared with the other jobs."""
        async with self._opening:
            if generation.embedder not in self._embedders:
                try:
                    opened = await asyncio.to_thread(
                        reopen_embedder, generation.embedder, generation.dimensions
                    )
                except errors.InvalidArgument as exc:
                    # Another worker may have it, so this is no fault of the document.
                    raise errors.EmbeddingError(
                        f"This worker has no embedder {generation.embedder!r}: give it one "
                        "(AsyncDatabase.work, embedders=[...])."
                    ) from exc
                self._embedders[generation.embedder] = self._joined(opened)
            joined = self._embedders[generation.embedder]
            # Compares the dimensions, which may ask a server.
            await asyncio.to_thread(getattr, Target(generation, joined.embedder), "embedder")
            return joined

    def _joined(self, embedder: Embedder) -> JoinedEmbedder:
        return JoinedEmbedder(embedder, callers=self._callers)

    async def _keep(self, job_id: int, exc: Exception) -> None:
        expected = isinstance(exc, errors.PgrecallError)
        reason = str(exc) if expected else f"{type(exc).__name__}: {exc}"
        logger.warning("Job %d: %s", job_id, reason, exc_info=None if expected else exc)
        try:
            await run_async(queue.keep_error(job_id, reason), self._session)
        except errors.DatabaseError as lost:
            logger.warning("The reason could not be kept: %s", lost)

    async def close(self) -> None:
        """Close the embedders that were opened here."""
        for name, joined in self._embedders.items():
            close = getattr(joined.embedder, "aclose", None)
            if close is not None and name not in self._given:
                await close()
