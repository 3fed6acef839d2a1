"""What an ingestion would do: the same stages on a dry run, and what that costs by the list price."""

from __future__ import annotations

from collections.abc import Sequence

from pgrecall.embed.models import known_model
from pgrecall.flow import Flow
from pgrecall.ingest.embedding import admitted
from pgrecall.ingest.job import Ingestion
from pgrecall.store import runs
from pgrecall.store.prepared import Prepared
from pgrecall.types import Plan


def foresee(job: Ingestion, group: Sequence[Prepared]) -> Flow[None]:
    """Count what ``embed`` and ``write`` would do with a group of documents."""
    group = yield from admitted(job, group)
    known = yield from job.known(job.lane, group)
    known.elsewhere.append(job.planned)
    chosen = job.afford(group, known)
    new = {
        key: piece.tokens
        for item in chosen
        for key, piece in zip(item.hashes, item.chunks, strict=True)
        if key not in known
    }
    job.taken.asked(new)
    job.release(chosen, known)
    # By the time of the next group they would be there.
    job.planned.update(new)
    job.paid(len(new), sum(new.values()))
    job.counted(chosen)


def planned(job: Ingestion) -> Flow[Plan]:
    """The plan, when all groups were foreseen."""
    report, name = job.report, job.generation.embedder
    model = known_model(name)
    throughput = yield from runs.throughput(name)
    return Plan(
        collection=job.generation.collection,
        embedder=name,
        new=report.new,
        changed=report.changed,
        renamed=report.renamed,
        unchanged=report.unchanged,
        removed=report.removed,
        failed=tuple(report.failed),
        notes=tuple(report.notes),
        chunks=report.chunks,
        embedded=report.embedded,
        reused=report.reused,
        tokens=report.tokens,
        left=report.left,
        left_tokens=report.left_tokens,
        cost=job.budget.cost(report.tokens),
        price=job.budget.price,
        price_as_of=model.as_of if model else None,
        price_source=(model.price_source or model.source) if model else None,
        seconds=throughput.seconds(report.chunks, report.tokens) if throughput else None,
    )
