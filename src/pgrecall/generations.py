"""What a collection can do with its generations: build another one, compare, activate, go back, drop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Unpack

from pgrecall.chunking import ChunkConfig
from pgrecall.embed.base import Embedder
from pgrecall.evaluate import JudgedQuestion
from pgrecall.flow import run, run_async
from pgrecall.reindex import compare, fill, plan, switch
from pgrecall.reindex.compare import Comparison
from pgrecall.reindex.plan import ReindexPlan
from pgrecall.reindex.work import Progress, ReindexReport
from pgrecall.retrieve import SearchOptions, Target
from pgrecall.store import generations
from pgrecall.store.generations import GenerationStatus
from pgrecall.store.session import AsyncSession, Session
from pgrecall.store.storage import Storage, StorageType, chosen

Questions = Sequence[str | JudgedQuestion]


class Generations:
    """The part of ``Collection`` that is about its generations."""

    _target: Target
    _session: Session

    def generations(self) -> list[GenerationStatus]:
        """All generations, oldest first: which is searched, which is being built, which are retired."""
        return run(generations.statuses(self._target.generation.collection), self._session)

    def plan_reindex(
        self,
        *,
        embedder: str | Embedder | None = None,
        chunking: ChunkConfig | None = None,
        storage: Storage | StorageType | None = None,
    ) -> ReindexPlan:
        """What ``reindex`` with these arguments would do and cost; nothing is embedded or written."""
        return run(plan.plan(self._target, embedder, chunking, chosen(storage)), self._session)

    def reindex(
        self,
        *,
        embedder: str | Embedder | None = None,
        chunking: ChunkConfig | None = None,
        storage: Storage | StorageType | None = None,
        progress: Progress | None = None,
    ) -> ReindexReport:
        """Build a generation with another embedder, other chunks or another storage, beside the active one.

        Searches go on, and documents that are written meanwhile reach both. A run that was cut off is
        gone on with by calling it again. Nothing changes for searches until ``activate``. ``progress``
        is called with the report so far.

        Raises InvalidArgument if there is nothing to change or another generation is being built,
        EmbeddingError if the embedder fails time and again.
        """
        began = time.perf_counter()
        work = run(fill.begin(self._target, embedder, chunking, chosen(storage)), self._session)
        work.progress = progress
        fill.fill_all(self._session, work)
        run(fill.finish(work), self._session)
        work.report.seconds = time.perf_counter() - began
        return work.report

    def compare(
        self,
        questions: Questions | None = None,
        *,
        generation: int | None = None,
        **options: Unpack[SearchOptions],
    ) -> Comparison:
        """Ask the active generation and the one that is being built the same questions.

        Without questions, pieces of the stored texts are asked. Judgements (``JudgedQuestion``) give
        metrics. Raises GenerationNotFound, MissingExtra.
        """
        flow = compare.compare(self._target, questions, generation, options)
        return run(flow, self._session)

    def activate(self, generation: int | None = None, *, force: bool = False) -> None:
        """Search another generation from now on, in every process: the one that is being built.

        What it still lacks is filled in first; with ``force`` it goes without that. The one that was
        active is retired and kept. Raises GenerationNotFound, GenerationIncomplete.
        """
        run(switch.activate(self._target, generation, force=force), self._session)

    def rollback(self, *, force: bool = False) -> None:
        """Search the generation again that was searched before; documents that changed since are filled in.

        With ``force`` at once, without these. Raises GenerationNotFound, GenerationIncomplete.
        """
        run(switch.rollback(self._target, force=force), self._session)

    def drop_generation(self, generation: int | None = None) -> list[int]:
        """Remove that generation, or all that are retired; their numbers.

        Takes a moment, whatever the size. Raises InvalidArgument for the active one.
        """
        return run(switch.drop(self._target, generation), self._session)


class AsyncGenerations:
    """As ``Generations``, awaited."""

    _target: Target
    _session: AsyncSession

    async def generations(self) -> list[GenerationStatus]:
        """As ``Collection.generations``."""
        flow = generations.statuses(self._target.generation.collection)
        return await run_async(flow, self._session)

    async def plan_reindex(
        self,
        *,
        embedder: str | Embedder | None = None,
        chunking: ChunkConfig | None = None,
        storage: Storage | StorageType | None = None,
    ) -> ReindexPlan:
        """As ``Collection.plan_reindex``."""
        flow = plan.plan(self._target, embedder, chunking, chosen(storage))
        return await run_async(flow, self._session)

    async def reindex(
        self,
        *,
        embedder: str | Embedder | None = None,
        chunking: ChunkConfig | None = None,
        storage: Storage | StorageType | None = None,
        progress: Progress | None = None,
    ) -> ReindexReport:
        """As ``Collection.reindex``."""
        began = time.perf_counter()
        work = await run_async(
            fill.begin(self._target, embedder, chunking, chosen(storage)), self._session
        )
        work.progress = progress
        await fill.fill_all_async(self._session, work)
        await run_async(fill.finish(work), self._session)
        work.report.seconds = time.perf_counter() - began
        return work.report

    async def compare(
        self,
        questions: Questions | None = None,
        *,
        generation: int | None = None,
        **options: Unpack[SearchOptions],
    ) -> Comparison:
        """As ``Collection.compare``."""
        flow = compare.compare(self._target, questions, generation, options)
        return await run_async(flow, self._session)

    async def activate(self, generation: int | None = None, *, force: bool = False) -> None:
        """As ``Collection.activate``."""
        flow = switch.activate(self._target, generation, force=force)
        await run_async(flow, self._session)

    async def rollback(self, *, force: bool = False) -> None:
        """As ``Collection.rollback``."""
        await run_async(switch.rollback(self._target, force=force), self._session)

    async def drop_generation(self, generation: int | None = None) -> list[int]:
        """As ``Collection.drop_generation``."""
        return await run_async(switch.drop(self._target, generation), self._session)
