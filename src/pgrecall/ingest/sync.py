"""Staying in step with files: what has gone is removed, what was renamed keeps its vectors.

Before a run, the stored documents whose files are missing are noted by their text; a new document with the
same text is the old one under another name. After a run, what it has not met under its sources has gone,
unless something there could not be read. Nothing is removed by a run that breaks off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from pgrecall.flow import Flow, compute
from pgrecall.ingest.job import Ingestion
from pgrecall.load.discover import EMPTY_FOLDER, EMPTY_GLOB, is_url
from pgrecall.load.scope import Scope, Sync, unknowable, with_files
from pgrecall.store import origins
from pgrecall.store.origins import Held, Span

EMPTY = (
    "Nothing is found there any more, so that it may only be out of reach; what is stored of it was kept. "
    "If it is empty indeed: allow_empty=True, --allow-empty."
)
UNSURE = (
    "{} stored documents may have gone; they were kept, since not all of the source could be read."
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run, what it is to stay in step with, and when it began, by the database's clock."""

    job: Ingestion
    sync: Sync
    began: datetime


def begin(job: Ingestion, sync: Sync | None) -> Flow[Comparison | None]:
    """Note what is missing, so that renamed files are recognised."""
    if sync is None:
        return None
    began = yield from origins.now()
    for scope in sync.spans():
        if is_url(scope.given):
            continue
        span = _span(job, sync, scope)
        held = yield from origins.page(span, None)
        while held:
            missing = yield from compute(partial(_missing, scope, held))
            if missing:
                job.gone.update((yield from origins.formers(sync.tenant_id, missing)))
            held = yield from origins.page(span, held[-1])
    return Comparison(job, sync, began)


def _missing(scope: Scope, page: list[Held]) -> list[UUID]:
    # Rows keep their names; only a document that is a whole file takes its name from the file.
    return [
        held.document_id
        for held in page
        if held.stored
        and held.source == held.uri
        and scope.covers(held.source)
        and not os.path.lexists(held.source)
    ]


def finish(comparison: Comparison | None) -> Flow[None]:
    """Remove what has gone; a dry run counts it. A run that its budget cut short removes nothing."""
    if comparison is None or comparison.job.report.left:
        return
    job, sync = comparison.job, comparison.sync
    nothing = {uri for uri, reason in job.unread.items() if reason in (EMPTY_FOLDER, EMPTY_GLOB)}
    unread = with_files(job.unread.keys() - nothing)
    if sync.allow_empty:
        job.report.failed[:] = [f for f in job.report.failed if f.uri not in nothing]
    for scope in sync.spans():
        empty = scope.given in nothing and not sync.allow_empty
        unsure = any_held = 0
        span = _span(job, sync, scope)
        held = yield from origins.page(span, None)
        while held:
            absent = [
                one for one in held if scope.covers(one.source) and not job.has_met(one.document_id)
            ]
            any_held += any(one.stored for one in absent)
            gone = [] if empty else [one for one in absent if not _kept(comparison, one, unread)]
            unsure += sum(one.stored for one in absent) - sum(one.stored for one in gone)
            yield from _remove(comparison, gone)
            held = yield from origins.page(span, held[-1])
        if empty and any_held:
            job.note(scope.given, EMPTY)
        elif unsure:
            job.note(scope.given, UNSURE.format(f"{unsure:,}"))


def _kept(comparison: Comparison, held: Held, unread: frozenset[str]) -> bool:
    if not held.stored:
        return held.uri in unread
    if held.document_id in comparison.job.moving - comparison.job.moved:
        return True  # under its new name it could not be taken in
    return unknowable(held.source, held.uri, unread)


def _remove(comparison: Comparison, gone: list[Held]) -> Flow[None]:
    job = comparison.job
    for part in _batches(gone):
        if job.dry:
            removed = [one.document_id for one in part if one.stored]
        else:
            removed = yield from origins.remove(job.generation, part, before=comparison.began)
        job.removed(sum(document_id not in job.moved for document_id in removed))


def _batches(gone: list[Held], size: int = 500) -> Iterator[list[Held]]:
    """Removing a document removes its chunks: some at a time, so that no lock is held for long."""
    for start in range(0, len(gone), size):
        yield gone[start : start + size]


def _span(job: Ingestion, sync: Sync, scope: Scope) -> Span:
    return Span(generation=job.generation, low=scope.low, high=scope.high, tenant_id=sync.tenant_id)
