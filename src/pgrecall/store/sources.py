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


def make_triggers(known: Known, table: str, id: str) -> Flow[None]:
    """Let the table note its changes from now on. Raises DatabaseError if this role does not own it."""
    name = yield from resolved(table)
    yield from transaction(_make_triggers(known, name, id))


def _make_triggers(known: Known, name: tuple[str, str], id: str) -> Flow[None]:
    yield from fetch(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(f"{PATIENCE}s")))
    yield from _drop(known.source_id, name)
    table = sql.Identifier(*name)
    for suffix, event, each in (
        ("", "INSERT OR UPDATE OR DELETE", "ROW"),
        ("_all", "TRUNCATE", "STATEMENT"),
    ):
        yield from fetch(
            sql.SQL(
                "CREATE TRIGGER {} AFTER {} ON {} FOR EACH {} EXECUTE FUNCTION pgrecall.note_change({}, {})"
            ).format(
                _trigger(known.source_id, suffix),
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
    if known.triggers is None:
        return
    rows = yield from fetch("SELECT to_regclass(%s) IS NOT NULL", [known.triggers])
    name = (yield from resolved(known.triggers)) if rows[0][0] else None
    yield from transaction(_forget(known, name))


def _forget(known: Known, name: tuple[str, str] | None) -> Flow[None]:
    if name is not None:
        yield from _drop(known.source_id, name)
    yield from fetch("DELETE FROM pgrecall.changes WHERE source_id = %s", [known.source_id])
    yield from fetch(
        "UPDATE pgrecall.sources SET triggers = NULL WHERE source_id = %s", [known.source_id]
    )


def _drop(source_id: int, name: tuple[str, str]) -> Flow[None]:
    for suffix in ("", "_all"):
        yield from fetch(
            sql.SQL("DROP TRIGGER IF EXISTS {} ON {}").format(
                _trigger(source_id, suffix), sql.Identifier(*name)
            )
        )


def _trigger(source_id: int, suffix: str) -> sql.Identifier:
    return sql.Identifier(f"pgrecall_{source_id}{suffix}")
