"""Another model or another way of chunking, without downtime: a generation is built beside the active one.

The stored texts are chunked and embedded anew, a batch at a time, each in a flow that any process may run;
what is done is recorded with the documents, so that a run that was cut off is gone on with. Documents that
are written meanwhile reach both generations. Activating waits until nothing is missing, and takes one short
transaction.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pgrecall import errors
from pgrecall.chunking import ChunkConfig
from pgrecall.embed import open_embedder
from pgrecall.embed.base import Embedder
from pgrecall.flow import Flow, compute, run, run_async
from pgrecall.ingest.job import TEXT_BATCH, WRITERS, Group, Ingestion, Lane
from pgrecall.ingest.stages import chunk, vectorize
from pgrecall.pipeline import ahead, ahead_async, spread, spread_async
from pgrecall.retrieve import Target, follow
from pgrecall.settle import settle
from pgrecall.store import filling, generations, indexes
from pgrecall.store.collections import Generation, NewGeneration
from pgrecall.store.filling import Place
from pgrecall.store.identity import Key
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import AsyncSession, Session
from pgrecall.store.storage import Storage, kept
from pgrecall.types import Failure

#: Documents that are read and chunked together.
BATCH = 64
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

    def done(self, written: Sequence[Prepared]) -> None:
        """Count what was written. One thread calls it."""
        report, counted = self.report, self.job.report
        report.documents += len(written)
        report.chunks += sum(len(item.chunks) for item in written)
        report.embedded, report.tokens = counted.embedded, counted.tokens
        report.reused = max(0, report.chunks - report.embedded)
        report.failed = list(counted.failed)
        if self.progress is not None:
            self.progress(report)


def new_generation(
    embedder: Embedder, chunking: ChunkConfig | None, storage: Storage | None
) -> NewGeneration:
    """Without ``chunking``, chunks that the model takes. Raises InvalidArgument for what does not fit."""
    chunking = chunking or ChunkConfig.within(embedder.max_tokens)
    if chunking.max_tokens > embedder.max_tokens:
        raise errors.InvalidArgument(
            f"{embedder.name} takes at most {embedder.max_tokens:,} tokens: "
            f"make max_tokens={chunking.max_tokens:,} smaller."
        )
    return NewGeneration(
        embedder=embedder.name,
        dimensions=embedder.dimensions,
        chunking=chunking.to_dict(),
        # A plan may not know the length of vectors yet; nothing is made of it.
        storage=(storage or Storage()).of(embedder.dimensions or 1, embedder.name),
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
    target: Target,
    embedder: str | Embedder | None,
    chunking: ChunkConfig | None,
    storage: Storage | None = None,
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
    chosen = target.open(embedder) if embedder else target.embedder_of(base)
    new = new_generation(
        chosen,
        chunking or ChunkConfig.from_dict(base.chunking),
        storage or kept(base.storage, chosen.dimensions, chosen.name),
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
            storage=new.storage,
        )
        return Choice(active, planned, new, chosen)
    lacking, _ = yield from filling.count_lacking(active)
    if not lacking:
        raise errors.InvalidArgument(
            f'"{active.collection}" is embedded with {active.embedder} chunked and stored like that '
            "already: name another embedder, other chunks or another storage."
        )
    return Choice(active, active, new, chosen)


def _spec(generation: Generation | NewGeneration) -> tuple[Any, ...]:
    return (
        generation.embedder,
        generation.dimensions,
        dict(generation.chunking),
        generation.storage,
    )


def begin(
    target: Target,
    embedder: str | Embedder | None,
    chunking: ChunkConfig | None,
    storage: Storage | None = None,
) -> Flow[Reindexing]:
    """Begin a generation, or go on with the one that was begun; raises as ``choose`` does."""
    choice = yield from choose(target, embedder, chunking, storage)
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


def chunked(work: Reindexing, keys: Sequence[Key]) -> Flow[list[list[Prepared]]]:
    """These documents in chunks, grouped as they are to be embedded and written."""
    wanted = [key for key in keys if key not in work.refused]
    groups = [Group()]
    for item in (yield from filling.stored(work.generation, wanted)):
        yield from compute(partial(chunk, work.job, item))
        if not groups[-1].takes(item):
            groups.append(Group())
        groups[-1].add(item)
    return [group.items for group in groups if group.items]


def embed(work: Reindexing, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """The documents of the group that the embedder takes. Raises EmbeddingError when it is down."""
    ready = yield from vectorize(work.job, group)
    work.refused |= {item.key for item in group} - {item.key for item in ready}
    return ready


def write(work: Reindexing, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Add the group to the generation; what it took.

    If the database refuses it, its documents are tried one by one, to report the one at fault.
    """
    try:
        taken = set((yield from filling.fill(work.generation, group)))
        return [item for item in group if item.key in taken]
    except errors.DatabaseUnavailable:
        raise
    except (errors.DatabaseError, errors.InvalidArgument) as exc:
        if len(group) == 1:
            work.job.fail(group[0].document.uri, str(exc))
            work.refused.add(group[0].key)
            return []
    written = []
    for item in group:
        written += yield from write(work, [item])
    return written


def fill(work: Reindexing, keys: Sequence[Key]) -> Flow[None]:
    """Chunk and embed these documents for the generation, and write what it still lacks of them.

    Raises EmbeddingError when one group after another fails, GenerationChanged if the generation was
    retired or dropped.
    """
    for group in (yield from chunked(work, keys)):
        work.done((yield from write(work, (yield from embed(work, group)))))


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
    """As ``catch_up``, reading, embedding and writing at the same time."""
    groups = ahead(_groups(session, work))
    with closing(ahead(_embedded(session, work, groups))) as embedded:
        for written in spread(embedded, lambda group: run(write(work, group), session), WRITERS):
            work.done(written)


def _groups(session: Session, work: Reindexing) -> Iterator[list[Prepared]]:
    after: Place | None = None
    while batch := run(next_batch(work.generation, after), session):
        yield from run(chunked(work, [place.key for place in batch]), session)
        after = batch[-1]


def _embedded(
    session: Session, work: Reindexing, groups: Generator[list[Prepared], None, None]
) -> Iterator[list[Prepared]]:
    with closing(groups):
        for group in groups:
            yield run(embed(work, group), session)


async def fill_all_async(session: AsyncSession, work: Reindexing) -> None:
    """As ``fill_all``, awaiting."""
    groups = ahead_async(_groups_async(session, work))
    async with aclosing(ahead_async(_embedded_async(session, work, groups))) as embedded:
        async for written in spread_async(
            embedded, lambda group: run_async(write(work, group), session), WRITERS
        ):
            work.done(written)


async def _groups_async(
    session: AsyncSession, work: Reindexing
) -> AsyncGenerator[list[Prepared], None]:
    after: Place | None = None
    while batch := await run_async(next_batch(work.generation, after), session):
        keys = [place.key for place in batch]
        for group in await run_async(chunked(work, keys), session):
            yield group
        after = batch[-1]


async def _embedded_async(
    session: AsyncSession, work: Reindexing, groups: AsyncGenerator[list[Prepared], None]
) -> AsyncGenerator[list[Prepared], None]:
    async with aclosing(groups):
        async for group in groups:
            yield await run_async(embed(work, group), session)
