"""Filling a generation with the stored documents that it lacks, in the foreground: read, embed and write."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial

from pgrecall import errors
from pgrecall.flow import Flow, compute, run, run_async
from pgrecall.ingest.budget import Budget
from pgrecall.ingest.chunks import chunk
from pgrecall.ingest.embedding import Granted, embed_granted, grant, keep_unwritten
from pgrecall.ingest.job import TEXT_BATCH, WRITERS, Group, Ingestion, Lane
from pgrecall.pipeline import ahead, ahead_async, spread, spread_async
from pgrecall.reindex.choice import NOT_BEGUN, Wanted, choose
from pgrecall.reindex.work import Reindexing
from pgrecall.settle import settle
from pgrecall.store import batches, filling, indexes, lifecycle
from pgrecall.store.collections import Generation
from pgrecall.store.filling import Place
from pgrecall.store.identity import Key
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import AsyncSession, Session
from pgrecall.target import Target

#: Documents that are read and chunked together.
BATCH = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may embed at most; None: as much as it takes."""

    max_tokens: int | None = None
    #: US dollars, by the provider's list price.
    max_cost: float | None = None

    def budget(self, embedder: str) -> Budget:
        """Raises InvalidArgument for limits that cannot be kept."""
        return Budget.of(embedder, self.max_tokens, self.max_cost)


def begin(target: Target, wanted: Wanted, limits: Limits) -> Flow[Reindexing]:
    """Begin a generation, or go on with the one that was begun; raises as ``choose`` does.

    What waits for workers is taken back: it is done here.
    """
    choice = yield from choose(target, wanted)
    budget = limits.budget(choice.new.embedder)
    generation = choice.generation
    if generation.generation_id == NOT_BEGUN:
        generation = yield from lifecycle.begin(choice.active, choice.new)
    yield from batches.withdraw(generation)
    return (yield from of(target, generation, budget))


def of(target: Target, generation: Generation, budget: Budget | None = None) -> Flow[Reindexing]:
    """A run that fills this generation."""
    lacking, _ = yield from filling.count_lacking(generation)
    lane = Lane(generation, target.embedder_of(generation))
    budget = budget or Limits().budget(generation.embedder)
    return Reindexing(job=job_of(lane, budget), lacking=lacking)


def job_of(lane: Lane, budget: Budget) -> Ingestion:
    """What chunks, embeds and counts; a failure says nothing about the version that is searched."""
    return Ingestion(lane=lane, budget=budget, into_ledger=False)


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
    for item in (yield from filling.stored(work.generation, wanted, lacked=True)):
        yield from compute(partial(chunk, work.job, item))
        if not groups[-1].takes(item):
            groups.append(Group())
        groups[-1].add(item)
    return [group.items for group in groups if group.items]


def embed(work: Reindexing, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """The documents of the group that the embedder takes. Raises EmbeddingError when it is down."""
    return (yield from complete(work, (yield from _grant(work, group))))


def _grant(work: Reindexing, group: Sequence[Prepared]) -> Flow[Granted]:
    granted = yield from grant(work.job, group)
    work.refuse(group, granted.group)
    return granted


def complete(work: Reindexing, granted: Granted) -> Flow[list[Prepared]]:
    """As ``embed``, of what was granted."""
    ready = yield from embed_granted(work.job, granted)
    work.refuse(granted.group, ready)
    return ready


def write(work: Reindexing, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Add the group to the generation; what it took.

    If the database refuses it, its documents are tried one by one, to report the one at fault.
    """
    written = yield from _write(work, group)
    work.job.settled(group)
    return written


def _write(work: Reindexing, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    try:
        taken = set((yield from filling.fill(work.generation, group)))
        return [item for item in group if item.key in taken]
    except errors.DatabaseUnavailable:
        raise
    except (errors.DatabaseError, errors.InvalidArgument) as exc:
        if len(group) == 1:
            yield from work.job.vectors(work.job.lane).keep(group[0])
            work.job.fail(group[0].document.uri, str(exc))
            work.refused.add(group[0].key)
            return []
    written = []
    for item in group:
        written += yield from _write(work, [item])
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
    job = work.job
    yield from settle(
        job.generation, lambda: job.embedder, written=job.report.chunks, afford=job.budget.take
    )
    yield from catch_up(work)


def fill_all(session: Session, work: Reindexing) -> None:
    """As ``catch_up``, reading, embedding and writing at the same time."""
    groups = ahead(_groups(session, work))
    try:
        with closing(ahead(_embedded(session, work, groups))) as embedded:
            for written in spread(
                embedded, lambda group: run(write(work, group), session), WRITERS
            ):
                work.done(written)
    except BaseException:
        run(keep_unwritten(work.job), session)
        raise


def _groups(session: Session, work: Reindexing) -> Iterator[list[Prepared]]:
    after: Place | None = None
    while batch := run(next_batch(work.generation, after), session):
        yield from run(chunked(work, [place.key for place in batch]), session)
        after = batch[-1]


def _embedded(
    session: Session, work: Reindexing, groups: Generator[list[Prepared], None, None]
) -> Iterator[list[Prepared]]:
    granted = (run(_grant(work, group), session) for group in groups)
    with closing(groups):
        yield from spread(
            granted, lambda one: run(complete(work, one), session), work.job.embedded_at_once
        )


async def fill_all_async(session: AsyncSession, work: Reindexing) -> None:
    """As ``fill_all``, awaiting."""
    groups = ahead_async(_groups_async(session, work))
    try:
        async with aclosing(ahead_async(_embedded_async(session, work, groups))) as embedded:
            async for written in spread_async(
                embedded, lambda group: run_async(write(work, group), session), WRITERS
            ):
                work.done(written)
    except BaseException:
        await run_async(keep_unwritten(work.job), session)
        raise


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
    granted = (await run_async(_grant(work, group), session) async for group in groups)
    embedded = spread_async(
        granted, lambda one: run_async(complete(work, one), session), work.job.embedded_at_once
    )
    async with aclosing(groups), aclosing(granted), aclosing(embedded):
        async for ready in embedded:
            yield ready
