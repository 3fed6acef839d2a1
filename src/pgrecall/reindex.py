"""Another model or another way of chunking, without downtime: a generation is built beside the active one.

The stored texts are chunked and embedded anew, a batch at a time, each in a flow that any process may run;
what is done is recorded with the documents, so that a run that was cut off is gone on with. Documents that
are written meanwhile reach both generations. Activating waits until nothing is missing, and takes one short
transaction.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pgrecall import errors
from pgrecall.chunking import ChunkConfig
from pgrecall.embed import open_embedder
from pgrecall.embed.base import Embedder
from pgrecall.flow import Flow, compute, run, run_async
from pgrecall.ingest.job import TEXT_BATCH, Group, Ingestion, Lane
from pgrecall.ingest.stages import chunk, vectorize
from pgrecall.pipeline import spread, spread_async
from pgrecall.retrieve import Target, follow
from pgrecall.settle import settle
from pgrecall.store import filling, generations, indexes
from pgrecall.store.collections import Generation, NewGeneration
from pgrecall.store.documents import Key, Prepared
from pgrecall.store.filling import Place
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import Failure

#: Documents that are read and chunked together, and batches at a time.
BATCH, WORKERS = 64, 2
#: How often a generation catches up with what is written meanwhile before it is activated.
ROUNDS = 20
#: The number of a generation that is not there yet.
NOT_BEGUN = 0


@dataclass(slots=True, kw_only=True)
class ReindexReport:
    """What a run of reindexing did."""

    generation_id: int
    embedder: str
    #: Documents that the generation lacked at the beginning, and that it got in this run.
    lacking: int
    documents: int = 0
    #: Documents that could not be chunked and embedded anew: the generation goes without them.
    failed: list[Failure] = field(default_factory=list)
    #: Chunks written: ``embedded + reused``.
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    #: Tokens that were embedded; reused chunks cost none.
    tokens: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether it can be activated."""
        return not self.failed


Progress = Callable[[ReindexReport], None]


@dataclass(slots=True, kw_only=True)
class Reindexing:
    """One run that fills one generation."""

    job: Ingestion
    report: ReindexReport
    progress: Progress | None = None
    #: Documents that were given up.
    refused: set[Key] = field(default_factory=set)

    @property
    def generation(self) -> Generation:
        """The generation that is filled."""
        return self.job.generation

    def done(self, documents: int, chunks: int) -> None:
        """Count what was written."""
        report, counted = self.report, self.job.report
        report.documents += documents
        report.chunks += chunks
        report.embedded, report.tokens = counted.embedded, counted.tokens
        report.reused = max(0, report.chunks - report.embedded)
        report.failed = list(counted.failed)
        if self.progress is not None:
            self.progress(report)


def new_generation(
    embedder: Embedder, chunking: ChunkConfig, *, metric: str = "cosine"
) -> NewGeneration:
    """Raises InvalidArgument if the chunks would not fit the model."""
    if chunking.max_tokens > embedder.max_tokens:
        raise errors.InvalidArgument(
            f"{embedder.name} takes at most {embedder.max_tokens:,} tokens: "
            f"make max_tokens={chunking.max_tokens:,} smaller."
        )
    return NewGeneration(
        embedder=embedder.name,
        dimensions=embedder.dimensions,
        chunking=chunking.to_dict(),
        metric=metric,
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reindexing is to fill."""

    active: Generation
    #: Its number is NOT_BEGUN if it is not there yet.
    generation: Generation
    new: NewGeneration
    embedder: Embedder


def choose(
    target: Target, embedder: str | Embedder | None, chunking: ChunkConfig | None
) -> Flow[Choice]:
    """The generation that these arguments mean. What is not given stays as it is.

    Raises InvalidArgument if there is nothing to do, or another generation is being built.
    """
    active = yield from follow(target)
    begun = yield from generations.unfinished(active.collection_id)
    base = begun or active
    if embedder is not None and not isinstance(embedder, str):
        target.know(open_embedder(embedder))
        embedder = embedder.name
    chosen = target.open(embedder or base.embedder)
    new = new_generation(
        chosen, chunking or ChunkConfig.from_dict(base.chunking), metric=active.metric
    )
    generations.check(begun, new)
    if begun is not None:
        return Choice(active, begun, new, chosen)
    if _spec(new) != _spec(active):
        planned = replace(
            active,
            generation_id=NOT_BEGUN,
            embedder=new.embedder,
            dimensions=new.dimensions,
            chunking=new.chunking,
        )
        return Choice(active, planned, new, chosen)
    lacking, _ = yield from filling.count_lacking(active)
    if not lacking:
        raise errors.InvalidArgument(
            f'"{active.collection}" is embedded with {active.embedder} and chunked like that already: '
            "name another embedder or other chunks."
        )
    return Choice(active, active, new, chosen)


def _spec(generation: Generation | NewGeneration) -> tuple[str, int, dict[str, Any]]:
    return generation.embedder, generation.dimensions, dict(generation.chunking)


def begin(
    target: Target, embedder: str | Embedder | None, chunking: ChunkConfig | None
) -> Flow[Reindexing]:
    """Begin a generation, or go on with the one that was begun; raises as ``choose`` does."""
    choice = yield from choose(target, embedder, chunking)
    generation = choice.generation
    if generation.generation_id == NOT_BEGUN:
        generation = yield from generations.begin(choice.active, choice.new)
    return (yield from of(target, generation))


def of(target: Target, generation: Generation) -> Flow[Reindexing]:
    """A run that fills this generation."""
    lacking, _ = yield from filling.count_lacking(generation)
    lane = Lane(generation, target.embedder_of(generation))
    return Reindexing(
        job=Ingestion(lane=lane, into_ledger=False),
        report=ReindexReport(
            generation_id=generation.generation_id, embedder=generation.embedder, lacking=lacking
        ),
    )


def next_batch(generation: Generation, after: Place | None) -> Flow[list[Place]]:
    """The next documents that it lacks: few enough to be held in memory together."""
    places = yield from filling.lacking(generation, after, BATCH)
    size, taken = 0, 0
    for place in places:
        size += place.size
        if taken and size > TEXT_BATCH:
            break
        taken += 1
    return places[:taken]


def fill(work: Reindexing, keys: Sequence[Key]) -> Flow[None]:
    """Chunk and embed these documents for the generation, and write what it still lacks of them.

    Raises EmbeddingError when one batch after another fails, GenerationChanged if it was retired or
    dropped.
    """
    wanted = [key for key in keys if key not in work.refused]
    group = Group()
    for item in (yield from filling.stored(work.generation, wanted)):
        yield from compute(partial(chunk, work.job, item))
        if not group.takes(item):
            yield from _fill(work, group.items)
            group = Group()
        group.add(item)
    if group.items:
        yield from _fill(work, group.items)


def _fill(work: Reindexing, group: Sequence[Prepared]) -> Flow[None]:
    ready = yield from vectorize(work.job, group)
    work.refused |= {item.key for item in group} - {item.key for item in ready}
    taken = set((yield from _write(work, ready)))
    work.done(len(taken), sum(len(item.chunks) for item in ready if item.key in taken))


def _write(work: Reindexing, group: Sequence[Prepared]) -> Flow[list[Key]]:
    """Write the group; if the database refuses it, one by one, to report the document at fault."""
    try:
        return (yield from filling.fill(work.generation, group))
    except errors.DatabaseUnavailable:
        raise
    except (errors.DatabaseError, errors.InvalidArgument) as exc:
        if len(group) == 1:
            work.job.fail(group[0].document.uri, str(exc))
            work.refused.add(group[0].key)
            return []
    taken = []
    for item in group:
        taken += yield from _write(work, [item])
    return taken


def catch_up(work: Reindexing) -> Flow[None]:
    """Fill in what the generation lacks, one batch after the other."""
    after: Place | None = None
    while batch := (yield from next_batch(work.generation, after)):
        yield from fill(work, [place.key for place in batch])
        after = batch[-1]


def finish(work: Reindexing) -> Flow[None]:
    """After the bulk of it: indexes, statistics, measured recall; then what was written meanwhile."""
    yield from indexes.index_all_metadata(work.generation)
    yield from settle(work.generation, lambda: work.job.embedder, written=work.report.chunks)
    yield from catch_up(work)


def fill_all(session: Session, work: Reindexing) -> None:
    """Fill in what the generation lacks, several batches at a time."""
    for _ in spread(
        _batches(session, work.generation), lambda keys: run(fill(work, keys), session), WORKERS
    ):
        pass


def _batches(session: Session, generation: Generation) -> Iterator[list[Key]]:
    after: Place | None = None
    while batch := run(next_batch(generation, after), session):
        yield [place.key for place in batch]
        after = batch[-1]


async def fill_all_async(session: AsyncSession, work: Reindexing) -> None:
    """As ``fill_all``, awaiting."""
    batches = _batches_async(session, work.generation)
    async for _ in spread_async(
        batches, lambda keys: run_async(fill(work, keys), session), WORKERS
    ):
        pass


async def _batches_async(
    session: AsyncSession, generation: Generation
) -> AsyncGenerator[list[Key], None]:
    after: Place | None = None
    while batch := await run_async(next_batch(generation, after), session):
        yield [place.key for place in batch]
        after = batch[-1]


def activate(target: Target, number: int | None, *, force: bool) -> Flow[Generation]:
    """Search another generation from now on: the one that is being built, unless another is named.

    What it lacks is filled in first. With ``force`` it is activated at once, without what it lacks.
    Raises GenerationIncomplete, GenerationNotFound.
    """
    active = yield from follow(target)
    if number is not None:
        chosen = yield from generations.numbered(active.collection, number)
    else:
        unfinished = yield from generations.unfinished(active.collection_id)
        if unfinished is None:
            raise errors.GenerationNotFound(
                f'No generation of "{active.collection}" is being built: '
                "reindex with another embedder or other chunks first."
            )
        chosen = unfinished
    return (yield from _switch(target, chosen, force=force))


def rollback(target: Target, *, force: bool) -> Flow[Generation]:
    """Search the generation again that was searched before; twice is back and forth."""
    chosen = yield from generations.previous(target.generation.collection)
    return (yield from _switch(target, chosen, force=force))


def _switch(target: Target, chosen: Generation, *, force: bool) -> Flow[Generation]:
    yield from generations.revive(chosen)
    try:
        lacking, failed = yield from _complete(target, chosen, force=force)
    except Exception:
        yield from generations.retire_again(chosen)
        raise
    if lacking and not force:
        yield from generations.retire_again(chosen)
        example = f" ({failed[0].uri}: {failed[0].reason.rstrip('.')})" if failed else ""
        raise errors.GenerationIncomplete(
            f"Generation {chosen.generation_id} lacks documents, {lacking} of them{example}: "
            "try again, or activate it without them (force)."
        )
    return (yield from follow(target))


def _complete(
    target: Target, chosen: Generation, *, force: bool
) -> Flow[tuple[int, Sequence[Failure]]]:
    """Activate it as soon as it lacks nothing; how many documents it does lack, and why."""
    lacking, _ = yield from filling.count_lacking(chosen)
    work: Reindexing | None = None
    for _ in range(ROUNDS):
        if lacking and not force:
            work = work or (yield from of(target, chosen))
            yield from catch_up(work)
        yield from indexes.index_all_metadata(chosen)
        yield from indexes.settle(chosen, written=work.report.chunks if work else 0)
        lacking = yield from generations.activate(chosen, force=force)
        # Those that cannot be embedded are not waited for.
        if force or lacking <= (len(work.refused) if work else 0):
            break
    return lacking, work.report.failed if work else ()


def drop(target: Target, number: int | None) -> Flow[list[int]]:
    """Remove the generation of that number, or all that are retired; their numbers."""
    name = target.generation.collection
    if number is None:
        chosen: Sequence[Generation] = yield from generations.retired(name)
    else:
        chosen = [(yield from generations.numbered(name, number))]
    for generation in chosen:
        yield from generations.drop(generation)
    return [generation.generation_id for generation in chosen]
