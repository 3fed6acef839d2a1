"""What is on record of the tables that a collection follows: how far they were read, and what changed since.

Changes are noted by triggers in the transactions of those who make them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from pgrecall.flow import Flow
from pgrecall.store import tables
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch, transaction
from pgrecall.store.tables import resolved

#: Seconds that making triggers waits for writers of the table.
PATIENCE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is on record of a source."""

    source_id: int
    definition: Mapping[str, Any]
    watermark: datetime | None
    #: The table that has our triggers.
    triggers: str | None
    runs: int


def begin(generation: Generation, name: str, definition: Mapping[str, Any]) -> Flow[Known]:
    """The source, as it is or new; counts the run."""
    rows = yield from fetch(
        """
        INSERT INTO pgrecall.sources AS s (collection_id, name, definition, runs)
        VALUES (%s, %s, %s, 1)
        ON CONFLICT (collection_id, name) DO UPDATE SET runs = s.runs + 1
        RETURNING source_id, definition, watermark, triggers, runs
        """,
        [generation.collection_id, name, Jsonb(dict(definition))],
    )
    source_id, stored, watermark, triggers, runs = rows[0]
    return Known(
        source_id=source_id,
        definition=stored,
        watermark=watermark,
        triggers=triggers,
        runs=runs,
    )


def runs(source_id: int) -> Flow[int]:
    """How many runs have begun."""
    rows = yield from fetch("SELECT runs FROM pgrecall.sources WHERE source_id = %s", [source_id])
    return rows[0][0] if rows else 0


def finish(known: Known, definition: Mapping[str, Any], watermark: datetime) -> Flow[None]:
    """Set the watermark; back to where this run began, if another began meanwhile.

    Of two runs at a time, one may have written what it had read before the other did.
    """
    yield from fetch(
        """
        UPDATE pgrecall.sources
           SET definition = %s, watermark = CASE WHEN runs = %s THEN %s::timestamptz ELSE %s END
         WHERE source_id = %s
        """,
        [Jsonb(dict(definition)), known.runs, watermark, known.watermark, known.source_id],
    )


def changes(source_id: int) -> Flow[list[tuple[int, str | None]]]:
    """The oldest changes that triggers have noted: number and key; a key of None stands for all."""
    rows: list[Any] = yield from fetch(
        """
        SELECT change_id, key FROM pgrecall.changes WHERE source_id = %s
         ORDER BY change_id LIMIT %s
        """,
        [source_id, 4 * tables.PAGE],
    )
    return rows


def forget_changes(numbers: Sequence[int]) -> Flow[None]:
    """They are dealt with."""
    yield from fetch("DELETE FROM pgrecall.changes WHERE change_id = ANY(%s)", [list(numbers)])


def have_triggers(known: Known, table: str, id: str) -> Flow[bool]:
    """Whether the table notes the changes of that column: it may have been made anew, or be another one."""
    if known.triggers is None:
        return False
    name = yield from resolved(table)
    rows = yield from fetch(
        """
        SELECT count(*) FROM pg_trigger
         WHERE tgrelid = to_regclass(%s) AND tgname = ANY(%s) AND tgargs = %s AND tgenabled <> 'D'
        """,
        [
            sql.Identifier(*name).as_string(),
            _names(known.source_id),
            f"{known.source_id}\0{id}\0".encode(),
        ],
    )
    return bool(rows[0][0] == len(_names(known.source_id)))


def make_triggers(known: Known, table: str, id: str) -> Flow[None]:
    """Let the table note its changes from now on. Raises DatabaseError if this role does not own it."""
    name = yield from resolved(table)
    yield from transaction(_make_triggers(known, name, id))


def _make_triggers(known: Known, name: tuple[str, str], id: str) -> Flow[None]:
    yield from fetch(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{PATIENCE}s")))
    yield from _drop(known.source_id)
    table = sql.Identifier(*name)
    for trigger, event, each in zip(
        _names(known.source_id),
        ("INSERT OR UPDATE OR DELETE", "TRUNCATE"),
        ("ROW", "STATEMENT"),
        strict=True,
    ):
        yield from fetch(
            sql.SQL(
                "CREATE TRIGGER {} AFTER {} ON {} FOR EACH {} EXECUTE FUNCTION pgrecall.note_change({}, {})"
            ).format(
                sql.Identifier(trigger),
                sql.SQL(event),
                table,
                sql.SQL(each),
                sql.Literal(str(known.source_id)),
                sql.Literal(id),
            )
        )
    yield from fetch(
        "UPDATE pgrecall.sources SET triggers = %s WHERE source_id = %s",
        [table.as_string(), known.source_id],
    )


def drop_triggers(known: Known) -> Flow[None]:
    """The table notes its changes no more."""
    if known.triggers is not None:
        yield from transaction(_forget(known))


def _forget(known: Known) -> Flow[None]:
    yield from _drop(known.source_id)
    yield from fetch("DELETE FROM pgrecall.changes WHERE source_id = %s", [known.source_id])
    yield from fetch(
        "UPDATE pgrecall.sources SET triggers = NULL WHERE source_id = %s", [known.source_id]
    )


def _drop(source_id: int) -> Flow[None]:
    """Wherever they are: the table may have another name by now. Those of partitions go with their table's."""
    rows = yield from fetch(
        """
        SELECT t.tgname::text, n.nspname::text, c.relname::text FROM pg_trigger AS t
          JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE t.tgname = ANY(%s) AND t.tgparentid = 0
           AND t.tgfoid = 'pgrecall.note_change()'::regprocedure
        """,
        [_names(source_id)],
    )
    for trigger, *table in rows:
        yield from fetch(
            sql.SQL("DROP TRIGGER {} ON {}").format(sql.Identifier(trigger), sql.Identifier(*table))
        )


def _names(source_id: int) -> list[str]:
    """Of the triggers for rows, and for TRUNCATE."""
    return [f"pgrecall_{source_id}", f"pgrecall_{source_id}_all"]
