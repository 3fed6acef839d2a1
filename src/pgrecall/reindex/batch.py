"""What a worker does for a generation: it adds a batch of documents, and finishes it when there are no more."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Sequence
from functools import partial

from pgrecall.embed.base import Embedder
from pgrecall.errors import EmbeddingError
from pgrecall.flow import Flow, compute
from pgrecall.ingest.budget import Budget, unpaid
from pgrecall.ingest.chunks import chunk
from pgrecall.ingest.embedding import Granted, embed_granted_alone
from pgrecall.ingest.vectors import Known
from pgrecall.reindex.fill import chunked, complete, write
from pgrecall.reindex.handing import hand_over_rest
from pgrecall.reindex.work import Reindexing
from pgrecall.settle import settle
from pgrecall.store import batches, filling, indexes, reindexings, settling
from pgrecall.store.batches import Again, Batch
from pgrecall.store.collections import Generation
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import transaction


def add(work: Reindexing, batch: Batch) -> Flow[None]:
    """Give the generation the documents of the batch, as far as it still lacks them.

    What is refused is tried again by itself, as a job of its own; if everything is, or if the batch is one
    document, the reason is raised. Raises GenerationChanged if the generation was retired.
    """
    try:
        again = yield from _add(work, batch)
    except (Exception, CancelledError):
        yield from _account(work, batch)
        raise
    yield from _account(work, batch)
    yield from batches.done(batch, again)


def _add(work: Reindexing, batch: Batch) -> Flow[Again]:
    if len(batch.keys) == 1:
        yield from _add_alone(work, batch)
        return {}
    return (yield from _add_several(work, batch))


def _account(work: Reindexing, batch: Batch) -> Flow[None]:
    """What was given back, or taken once more to find out which document is refused."""
    if batch.limited:
        yield from reindexings.account(batch.generation, work.job.budget.spending.tokens)


def _add_alone(work: Reindexing, batch: Batch) -> Flow[None]:
    for item in (yield from filling.stored(batch.generation, batch.keys, lacked=True)):
        yield from compute(partial(chunk, work.job, item))
        granted = yield from _granted(work, batch, [item])
        if granted.group:
            yield from embed_granted_alone(work.job, granted)
            taken = yield from filling.fill(batch.generation, [item])
            work.job.settled([item])
            work.done([item] if taken else [])


def _add_several(work: Reindexing, batch: Batch) -> Flow[Again]:
    """Those that are refused, with their uris and the reasons."""
    met: list[Prepared] = []
    for group in (yield from chunked(work, batch.keys)):
        granted = yield from _granted(work, batch, group)
        met += granted.group
        work.done((yield from write(work, (yield from complete(work, granted)))))
    reasons = {failure.uri: failure.reason for failure in work.job.report.failed}
    again: Again = {
        item.key: (item.document.uri, reasons[item.document.uri])
        for item in met
        if item.key in work.refused
    }
    if len(again) == len(met) > 1:
        # Most likely the embedder is out of order: then it is, for all of them together.
        raise EmbeddingError(reasons[met[0].document.uri])
    work.job.report.failed.clear()
    return again


def _granted(work: Reindexing, batch: Batch, group: Sequence[Prepared]) -> Flow[Granted]:
    """The documents that the limit has tokens for, which are taken; the others are counted as left.

    They are embedded with what is known here: what another job brings from now on was taken for, and is
    given back.
    """
    job = work.job
    known = yield from job.vectors(job.lane).known(group, long=batch.limited)
    if batch.limited:
        group = yield from _taken(work, batch, group, known)
        # The limit is in the database: the job's own budget says how far it is from what was taken there.
        before = job.budget.spending.tokens
        job.afford(group, known)
        job.budget.give_back(job.budget.spending.tokens - before)
    return Granted(job.lane, group, known)


def _taken(
    work: Reindexing, batch: Batch, group: Sequence[Prepared], known: Known
) -> Flow[Sequence[Prepared]]:
    """The documents for which tokens were taken."""
    if (yield from reindexings.take(batch.generation, sum(unpaid(group, known).values()))):
        return group
    report = work.job.report
    chosen: list[Prepared] = []
    met: set[bytes] = set()
    for item in group:
        new = {key: tokens for key, tokens in unpaid([item], known).items() if key not in met}
        tokens = sum(new.values())
        if len(group) > 1 and (yield from reindexings.take(batch.generation, tokens)):
            chosen.append(item)
            met.update(new)
        else:
            report.left += 1
            report.left_tokens += tokens
    return chosen


def finish(generation: Generation, embedder: Embedder) -> Flow[None]:
    """Indexes, statistics and measured recall; then what was written meanwhile is handed over, too.

    Not if the limit was reached: it would be for nothing.
    """
    yield from indexes.index_all_metadata(generation)
    limit, exceeded = yield from reindexings.remaining(generation)
    budget = Budget(max_tokens=limit)
    written = yield from settling.unsettled(generation)
    yield from settle(generation, lambda: embedder, written=written, afford=budget.take)
    if limit is not None:
        yield from reindexings.take(generation, budget.spending.tokens)
    if not exceeded:
        yield from transaction(hand_over_rest(generation))
