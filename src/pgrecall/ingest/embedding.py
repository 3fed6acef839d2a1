"""Vectors for groups of documents: what is granted, asked for, refused, and made for other generations too."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pgrecall import errors, telemetry
from pgrecall.embed.gather import Abandoned
from pgrecall.flow import Flow, compute
from pgrecall.ingest import lanes
from pgrecall.ingest.chunks import chunk, cut
from pgrecall.ingest.job import PATIENCE, Ingestion, Lane
from pgrecall.ingest.vectors import Known
from pgrecall.store import ledger
from pgrecall.store.prepared import Prepared
from pgrecall.types import Failure

logger = logging.getLogger(__name__)

Refusal = errors.EmbeddingError | errors.InvalidArgument


def admitted(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Those of the group that could be cut; the others are reported."""
    for item in group:
        if item.refused is not None:
            yield from give_up(job, [item], item.refused)
    return [item for item in group if item.refused is None]


def embed(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """Give every chunk of the group its vector.

    Returns the documents that are complete. Those that the embedder refuses are reported, and keep
    their old versions; those that the budget has nothing left for are left as they are. Raises
    EmbeddingError when group after group fails.
    """
    with telemetry.stage("embed", len(group)):
        done = yield from vectorize(job, group)
        yield from branch_out(job, done)
    return done


def vectorize(job: Ingestion, group: Sequence[Prepared]) -> Flow[list[Prepared]]:
    """As ``embed``, for the generation of the run alone."""
    return (yield from _completed(job, (yield from grant(job, group))))


@dataclass(frozen=True, slots=True)
class Granted:
    """Documents that the budget has tokens for."""

    #: Of all of them: another thread may switch the run to another one meanwhile.
    lane: Lane
    group: Sequence[Prepared]
    known: Known


def grant(job: Ingestion, group: Sequence[Prepared]) -> Flow[Granted]:
    """Look up what is paid for, and take the tokens for the rest.

    For one group after the other, so that the budget goes to the documents that a plan would choose.
    """
    lane = job.lane
    yield from _cut_anew(lane, group)
    group = yield from admitted(job, group)
    known = yield from job.known(lane, group)
    return Granted(lane, job.afford(group, known), known)


def embed_granted(job: Ingestion, granted: Granted) -> Flow[list[Prepared]]:
    """As ``vectorize``, of what was granted; for several groups at a time."""
    with telemetry.stage("embed", len(granted.group)):
        done = yield from _completed(job, granted)
    job.unwritten.update((item.key, item) for item in done)
    return done


def keep_unwritten(job: Ingestion) -> Flow[None]:
    """Keep the vectors of what was embedded and not written, for the next run: this one breaks off."""
    try:
        for item in list(job.unwritten.values()):
            yield from keep(job, item)
    except errors.DatabaseError as exc:
        logger.debug("Vectors could not be kept: %s", exc)


def keep(job: Ingestion, item: Prepared) -> Flow[None]:
    """Have the vectors of a document that is not written wait for the next attempt, in every generation."""
    runs = {job.generation.generation_id: job, **job.branches}
    for one in (item, *item.others):
        made_by = runs.get(one.generation.generation_id)
        if made_by is not None:
            yield from made_by.vectors(made_by.lane).keep(one)


def _completed(job: Ingestion, granted: Granted) -> Flow[list[Prepared]]:
    lane, group = granted.lane, granted.group
    failure = yield from _embed(job, lane, group, granted.known)
    done = list(group) if failure is None else (yield from _one_by_one(job, lane, group, failure))
    # A text that is refused says nothing about the embedder.
    job.embedded(None if done or isinstance(failure, errors.InvalidArgument) else failure)
    return done


def embed_alone(job: Ingestion, item: Prepared) -> Flow[None]:
    """As ``embed``, of one document: what refuses it is raised, and nothing is reported."""
    yield from vectorize_alone(job, item)
    yield from branch_out(job, [item])


def vectorize_alone(job: Ingestion, item: Prepared) -> Flow[None]:
    """As ``embed_alone``, for the generation of the run alone."""
    lane = job.lane
    yield from _cut_anew(lane, [item])
    known = yield from job.known(lane, [item])
    yield from embed_granted_alone(job, Granted(lane, [item], known))


def embed_granted_alone(job: Ingestion, granted: Granted) -> Flow[None]:
    """As ``vectorize_alone``, of what was granted."""
    refusal = yield from _embed(job, granted.lane, granted.group, granted.known)
    if refusal is not None:
        raise refusal
    job.unwritten.update((item.key, item) for item in granted.group)


def _cut_anew(lane: Lane, group: Sequence[Prepared]) -> Flow[None]:
    """Cut those again that were cut for another generation."""
    for item in group:
        if item.generation.generation_id != lane.generation.generation_id:
            yield from compute(partial(cut, lane, item))


def branch_out(job: Ingestion, group: Sequence[Prepared]) -> Flow[None]:
    """Prepare the group for the generations that are being built, too."""
    for item in group:
        item.others = []
    for branch in (yield from lanes.branches(job)):
        copies = lanes.copies(branch, group)
        try:
            for item in copies:
                yield from compute(partial(chunk, branch, item))
            done = yield from vectorize(branch, copies)
        except Abandoned:
            raise
        except lanes.UNUSABLE as exc:
            lanes.leave_out(branch, exc)
            continue
        prepared = {item.key: item for item in done}
        for item in group:
            if item.key in prepared:
                item.others.append(prepared[item.key])


def _one_by_one(
    job: Ingestion, lane: Lane, group: Sequence[Prepared], failure: Refusal
) -> Flow[list[Prepared]]:
    """Find out which documents the embedder refuses.

    One that fails for the first few is down, and is not asked for the rest. What was answered for the
    others is known by now.
    """
    done: list[Prepared] = []
    fails = 0
    for item in group:
        refusal: Refusal | None = failure
        if len(group) > 1 and fails < PATIENCE:
            known = yield from job.known(lane, [item])
            if not job.afford([item], known):
                continue
            refusal = yield from _embed(job, lane, [item], known)
        if refusal is None:
            done.append(item)
            continue
        yield from give_up(job, [item], str(refusal))
        if isinstance(refusal, errors.EmbeddingError) and not done:
            fails += 1
    return done


def _embed(
    job: Ingestion, lane: Lane, group: Sequence[Prepared], known: Known
) -> Flow[Refusal | None]:
    """Vectors for documents that the budget has granted, or why there are none."""
    try:
        yield from job.vectors(lane).complete(group, known)
    except (errors.CredentialsMissing, Abandoned):
        raise
    except (errors.EmbeddingError, errors.InvalidArgument) as exc:
        return exc
    finally:
        job.release(group, known)
    return None


def give_up(job: Ingestion, group: Sequence[Prepared], reason: str) -> Flow[None]:
    """Report documents as failed, and keep that in the ledger."""
    for item in group:
        job.fail(item.document.uri, reason)
        if job.dry or not job.into_ledger:
            continue
        failure = Failure(uri=item.document.uri, reason=reason, source=item.document.source)
        yield from ledger.record_failure(job.generation, failure, item.document.tenant_id)
