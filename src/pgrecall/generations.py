"""What a collection can do with its generations: build another one, compare, activate, go back, drop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from pgrecall.chunking import ChunkConfig
from pgrecall.embed.base import Embedder
from pgrecall.evaluate import JudgedQuestion
from pgrecall.flow import run, run_async
from pgrecall.ingest.record import recorded, recorded_async
from pgrecall.keywords import check_keywords
from pgrecall.reindex import compare, fill, handing, plan, switch
from pgrecall.reindex.choice import Wanted
from pgrecall.reindex.compare import Comparison
from pgrecall.reindex.fill import Limits
from pgrecall.reindex.handing import ReindexHandOver
from pgrecall.reindex.plan import ReindexPlan
from pgrecall.reindex.work import Progress, ReindexReport
from pgrecall.retrieve import SearchOptions
from pgrecall.store import status
from pgrecall.store.session import AsyncSession, Session
from pgrecall.store.status import GenerationStatus
from pgrecall.store.storage import Storage, StorageType, chosen
from pgrecall.target import Target

Questions = Sequence[str | JudgedQuestion]


class Changes(TypedDict, total=False):
    """What a new generation has that the active one has not; what is not named stays as it is."""

    embedder: str | Embedder | None
    chunking: ChunkConfig | None
    storage: Storage | StorageType | None


class Limited(TypedDict, total=False):
    """What ``reindex`` may embed at most."""

    #: Tokens. What needs none goes on.
    max_tokens: int | None
    #: US dollars, by the provider's list price.
    max_cost: float | None


class ReindexOptions(Changes, Limited, total=False):
    """What ``reindex`` and ``enqueue_reindex`` take."""


def _limits(limited: Limited) -> Limits:
    return Limits(limited.get("max_tokens"), limited.get("max_cost"))


def _wanted(changes: Changes, declared: type = ReindexOptions) -> Wanted:
    check_keywords(changes, declared)
    return Wanted(changes.get("embedder"), changes.get("chunking"), chosen(changes.get("storage")))


class Generations:
    """The part of ``Collection`` that is about its generations."""

    _target: Target
    _session: Session

    def generations(self) -> list[GenerationStatus]:
        """All generations, oldest first: which is searched, which is being built, which are retired."""
        return run(status.statuses(self._target.generation.collection), self._session)

    def plan_reindex(self, **changes: Unpack[Changes]) -> ReindexPlan:
        """What ``reindex`` with these arguments would do and cost; nothing is embedded or written."""
        return run(plan.plan(self._target, _wanted(changes, Changes)), self._session)

    def reindex(
        self,
        *,
        progress: Progress | None = None,
        **options: Unpack[ReindexOptions],
    ) -> ReindexReport:
        """Build a generation with another embedder, other chunks or another storage, beside the active one.

        Searches go on, and documents that are written meanwhile reach both. A run that was cut off is
        gone on with by calling it again. Nothing changes for searches until ``activate``. ``progress``
        is called with the report so far. Documents that would pass ``max_tokens`` or ``max_cost`` are
        counted in ``left``.

        Raises InvalidArgument if there is nothing to change or another generation is being built,
        EmbeddingError if the embedder fails time and again.
        """
        work = run(fill.begin(self._target, _wanted(options), _limits(options)), self._session)
        work.progress = progress
        with recorded(self._session, work.job, "reindex"):
            fill.fill_all(self._session, work)
            run(fill.finish(work), self._session)
        return work.report

    def enqueue_reindex(self, **options: Unpack[ReindexOptions]) -> ReindexHandOver:
        """As ``reindex``, by workers: what the generation lacks is handed over to them, in batches.

        Documents that are written meanwhile are added too; ``generations`` shows how far they have come.
        What was handed over before and is not in hand, is handed over anew, with the limits of this call;
        ``reindex`` takes it back.

        Raises InvalidArgument as ``reindex`` does, and for an embedder of your own, which workers cannot open.
        """
        flow = handing.hand_over(self._target, _wanted(options), _limits(options))
        return run(flow, self._session)

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
        flow = status.statuses(self._target.generation.collection)
        return await run_async(flow, self._session)

    async def plan_reindex(self, **changes: Unpack[Changes]) -> ReindexPlan:
        """As ``Collection.plan_reindex``."""
        return await run_async(plan.plan(self._target, _wanted(changes, Changes)), self._session)

    async def reindex(
        self,
        *,
        progress: Progress | None = None,
        **options: Unpack[ReindexOptions],
    ) -> ReindexReport:
        """As ``Collection.reindex``."""
        work = await run_async(
            fill.begin(self._target, _wanted(options), _limits(options)), self._session
        )
        work.progress = progress
        async with recorded_async(self._session, work.job, "reindex"):
            await fill.fill_all_async(self._session, work)
            await run_async(fill.finish(work), self._session)
        return work.report

    async def enqueue_reindex(self, **options: Unpack[ReindexOptions]) -> ReindexHandOver:
        """As ``Collection.enqueue_reindex``."""
        flow = handing.hand_over(self._target, _wanted(options), _limits(options))
        return await run_async(flow, self._session)

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
