"""Staying in step with a table of the user's own: new, changed and deleted rows.

Without triggers, a run reads the rows whose ``updated_at`` is not older than the last run, with an overlap, and
then looks whether the stored rows are still there. With triggers, the table notes the keys of changed rows in
the transactions that change them, and a run reads those rows. Hashes make reading a row once more cheap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from pgrecall.errors import InvalidArgument, UnreadableSource
from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.chains import TakeIn
from pgrecall.ingest.reading import Batch, known_language
from pgrecall.ingest.record import recorded, recorded_async
from pgrecall.ingest.stages import refused
from pgrecall.ingest.tablerun import TableRun
from pgrecall.load import clean_document
from pgrecall.load.rows import TEXT_FIELDS, field_of, metadata_of, plain
from pgrecall.store import origins, sources, tables
from pgrecall.store.origins import Held
from pgrecall.store.session import AsyncSession, Session
from pgrecall.store.sources import Known
from pgrecall.store.tables import Reading, TableRow
from pgrecall.types import Document, Failure, IngestReport

#: Types of columns that can say when a row was changed.
TIMES = ("timestamp with time zone", "timestamp without time zone", "date")
EMPTY = (
    "The table has no rows with text; what is stored of it was kept. If it is empty indeed: "
    "allow_empty=True, --allow-empty."
)


def sync_table(session: Session, task: TableRun) -> IngestReport:
    """Bring the collection in step. Raises InvalidArgument for columns that are not there."""
    with recorded(session, task.job):
        run(_sync(task), session)
    return task.report


async def sync_table_async(session: AsyncSession, task: TableRun) -> IngestReport:
    """As ``sync_table``, awaiting."""
    async with recorded_async(session, task.job):
        await run_async(_sync(task), session)
    return task.report


def _sync(task: TableRun) -> Flow[None]:
    if task.source.triggers and task.elsewhere is not None:
        raise InvalidArgument(
            "Triggers note changes in the collection's own database; a table elsewhere is polled."
        )
    yield from known_language(task.options)
    query = yield from _query(task)
    row = yield from task.there(tables.first_row(query))
    known = yield from sources.begin(task.job.generation, task.source.called, task.definition)
    fresh = yield from _triggers(task, known, row)
    if row is None:
        yield from _emptied(task, known)
        return
    reading = yield from _reading(task, query, row)
    # Without a watermark, no run has read the table to its end.
    settled = known.watermark is not None and known.definition == task.definition
    if task.source.triggers and settled and not fresh and not task.full:
        yield from _drain(task, known, reading)
    else:
        yield from _pass(task, known, reading, full=task.full or fresh)


def _query(task: TableRun) -> Flow[sql.Composable]:
    if task.source.query is not None:
        return tables.own_query(task.source.query)
    return (yield from task.there(tables.table_query(task.source.table or "")))


def _triggers(task: TableRun, known: Known, row: Mapping[str, Any] | None) -> Flow[bool]:
    """Make or drop the triggers as wanted; whether they are new."""
    source = task.source
    if not source.triggers:
        yield from sources.drop_triggers(known)
        return False
    table, id = source.table or "", source.id or "id"
    if row is not None:
        id = _column(row, source.id, ("id",), "id")
    elif known.triggers is not None:
        return False
    if (yield from sources.have_triggers(known, table, id)):
        return False
    yield from sources.make_triggers(known, table, id)
    return True


def _reading(task: TableRun, query: sql.Composable, row: Mapping[str, Any]) -> Flow[Reading]:
    source = task.source
    id = _column(row, source.id, ("id",), "id")
    text = _column(row, source.text, TEXT_FIELDS, "text")
    if source.tenant:
        _column(row, source.tenant, (), "tenant")
    updated = field_of_row(row, source.updated_at, ("updated_at",))
    kinds = yield from task.there(tables.types(query, [id, *([updated] if updated else [])]))
    if updated and kinds[-1] not in TIMES:
        raise InvalidArgument(
            f"{updated} is a {kinds[-1]}, and only a timestamp or a date says when a row was changed; "
            "name another column, or none of that name."
        )
    return Reading(
        query=query,
        id=id,
        id_type=kinds[0],
        text=text,
        tenant=source.tenant,
        updated=updated,
        updated_type=kinds[-1],
    )


def _column(row: Mapping[str, Any], wanted: str | None, usual: Sequence[str], option: str) -> str:
    found = field_of_row(row, wanted, usual)
    if found is None:
        names = ", ".join(row)
        raise InvalidArgument(
            f"The rows have no column {' or '.join(usual)}; say which of theirs it is ({option}=, "
            f"--{option}-field): {names}."
        )
    return found


def field_of_row(row: Mapping[str, Any], wanted: str | None, usual: Sequence[str]) -> str | None:
    """As ``field_of``; raises InvalidArgument."""
    try:
        return field_of(row, wanted, usual)
    except UnreadableSource as exc:
        raise InvalidArgument(str(exc).capitalize()) from exc


def _pass(task: TableRun, known: Known, reading: Reading, *, full: bool) -> Flow[bool]:
    """Read all rows (``full``), or those that changed since the last run; then look which are gone.

    False if some could not be embedded or written, or the budget left some: the next run reads from where
    this one began. In the latter case nothing is removed.
    """
    seen = yield from task.there(tables.committed_before())
    began = yield from origins.now()
    again = known.definition == task.definition and reading.updated is not None and not full
    since = known.watermark - task.source.overlap if again and known.watermark else None
    changes = (yield from sources.changes(known.source_id)) if task.source.triggers else []
    job, pages = task.job.again(), _Pages(task, reading, since)
    yield TakeIn(job, pages)
    if task.report.left:
        return False
    if pages.after is None and not (yield from task.there(tables.any_row(reading))):
        yield from _emptied(task, known)
        return False
    if task.deletes or since is None:
        yield from _sweep(task, reading, began)
    if refused(job):
        return False
    yield from sources.forget_changes([number for number, _ in changes])
    yield from sources.finish(known, task.definition, seen)
    return True


@dataclass(slots=True)
class _Pages:
    """Page after page of a table."""

    task: TableRun
    reading: Reading
    since: datetime | None
    after: str | None = None

    def __call__(self) -> Flow[Batch | None]:
        rows = yield from self.task.there(tables.page(self.reading, self.after, self.since))
        if not rows:
            return None
        self.after = rows[-1][0]
        return [_document(self.task, self.reading, row) for row in rows]


def _sweep(task: TableRun, reading: Reading, began: datetime) -> Flow[None]:
    """Remove stored rows that the table has no more."""
    span = task.span()
    held = yield from origins.page(span, None)
    while held:
        for start in range(0, len(held), tables.PAGE):
            part = [one for one in held[start : start + tables.PAGE] if one.source == task.origin]
            yield from _remove_absent(task, reading, part, began)
        held = yield from origins.page(span, held[-1])


def _remove_absent(
    task: TableRun, reading: Reading, part: Sequence[Held], began: datetime
) -> Flow[None]:
    there = yield from task.there(tables.present(reading, [task.key(one) for one in part]))
    known = {(key, tenant or task.options.tenant_id) for key, tenant in there}
    gone = [one for one in part if (task.key(one), one.tenant_id) not in known]
    if gone:
        yield from _remove(task, gone, began)


def _remove(task: TableRun, gone: Sequence[Held], began: datetime) -> Flow[None]:
    removed = yield from origins.remove(task.job.generation, gone, before=began)
    task.job.removed(len(removed))


def _drain(task: TableRun, known: Known, reading: Reading) -> Flow[None]:
    """Read the rows that triggers noted, until there are none."""
    while changes := (yield from sources.changes(known.source_id)):
        keys = sorted({key for _, key in changes if key is not None})
        if any(key is None for _, key in changes):
            # What updated_at says of rows that came after a TRUNCATE may be of long ago.
            settled = yield from _pass(task, known, reading, full=True)
        else:
            settled = yield from _refresh(task, known, reading, keys)
        if not settled:
            return  # the changes stay for the next run
        yield from sources.forget_changes([number for number, _ in changes])


def _refresh(task: TableRun, known: Known, reading: Reading, keys: Sequence[str]) -> Flow[bool]:
    """Bring these rows in step; False if some could not be embedded or written, or the budget left some.

    Two runs at a time may each write what they had read before the other: the one that was not alone reads
    its rows again until nothing is left to do.
    """
    while True:
        began = yield from origins.now()
        before = _done(task.report)
        job = task.job.again()
        yield TakeIn(job, _Keyed(task, reading, list(keys)))
        if task.report.left:
            return False
        held = yield from origins.named(task.span(), [task.uri(key) for key in keys])
        yield from _remove_absent(task, reading, held, began)
        if refused(job):
            return False
        if _done(task.report) == before or (yield from sources.runs(known.source_id)) == known.runs:
            return True


def _done(report: IngestReport) -> int:
    return report.new + report.changed + report.removed


@dataclass(slots=True)
class _Keyed:
    """The rows of some identifiers, page after page."""

    task: TableRun
    reading: Reading
    keys: list[str]

    def __call__(self) -> Flow[Batch | None]:
        if not self.keys:
            return None
        part, self.keys = self.keys[: tables.PAGE], self.keys[tables.PAGE :]
        rows = yield from self.task.there(tables.rows_of(self.reading, part))
        return [_document(self.task, self.reading, row) for row in rows]


def _emptied(task: TableRun, known: Known) -> Flow[None]:
    """No row is left: by mistake, unless the triggers noted that each went, or the caller says so."""
    changes = yield from sources.changes(known.source_id)
    began = yield from origins.now()
    held = yield from origins.page(task.span(), None)
    if held and not (task.allow_empty or (known.triggers and changes)):
        task.report.notes.append((task.source.called, EMPTY))
        return
    while held:
        yield from _remove(task, held, began)
        held = yield from origins.page(task.span(), held[-1])
    yield from sources.forget_changes([number for number, _ in changes])


def _document(task: TableRun, reading: Reading, row: TableRow) -> Document | Failure:
    key, tenant, fields = row
    uri, options = task.uri(key), task.options
    if key != key.strip() or not key:
        reason = "The identifier is empty, or begins or ends with white space; name another column."
        return Failure(uri=uri, reason=reason, source=task.origin)
    title_key = field_of(fields, task.source.title, ("title",))
    used = {reading.id, reading.text, reading.tenant, reading.updated, title_key}
    wanted = tuple(task.source.metadata) if task.source.metadata is not None else None
    metadata, notes = metadata_of(fields, used, wanted)
    text = plain(fields[reading.text]).replace("\r\n", "\n").replace("\r", "\n")
    document = Document(
        uri=uri,
        text=text,
        title=plain(fields[title_key]) or None if title_key else None,
        metadata={**metadata, **options.metadata},
        tenant_id=tenant or options.tenant_id,
        language=options.language,
        notes=tuple(notes),
        source=task.origin,
    )
    try:
        return clean_document(document)
    except InvalidArgument as exc:
        return Failure(uri=uri, reason=str(exc), source=task.origin)
