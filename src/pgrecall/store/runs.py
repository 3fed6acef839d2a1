"""The runs: what each ingestion or reindexing did, what it cost, and whether it is still alive.

A run that is killed cannot write that down. So a run says every few seconds that it lives, and one that
has not been heard of for longer counts as killed. Nothing else tells it as well: a lock would hold a
connection for hours, and mean nothing behind a pooler; a process id means nothing on another host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch
from pgrecall.types import IngestReport, Run, RunKind, RunState

#: Seconds between two signs of life.
BEAT = 5.0
#: Seconds without one after which a run counts as killed.
LOST = 30.0
#: The runs whose throughput stands for that of the next.
RECENT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """How fast the last runs with an embedder were, while they lasted."""

    chunks_per_second: float
    #: 0 if none of them embedded anything.
    tokens_per_second: float

    def seconds(self, chunks: int, tokens: int) -> float:
        """How long so many chunks take, of which so many tokens are embedded."""
        embedding = tokens / self.tokens_per_second if self.tokens_per_second else 0.0
        return max(chunks / self.chunks_per_second, embedding)


def begin(
    generation: Generation, kind: RunKind = "ingest", *, by_worker: bool = False, ago: float = 0.0
) -> Flow[int]:
    """A new run, which began so many seconds ago; its number."""
    rows = yield from fetch(
        """
        INSERT INTO pgrecall.runs (collection, embedder, kind, by_worker, started_at, seen_at)
        VALUES (%s, %s, %s, %s, clock_timestamp() - make_interval(secs => %s), clock_timestamp())
        RETURNING run_id
        """,
        [generation.collection, generation.embedder, kind, by_worker, ago],
    )
    number: int = rows[0][0]
    return number


def beat(run_id: int, report: IngestReport) -> Flow[None]:
    """The run lives, and has come so far."""
    yield from _update(run_id, report, "running", None, 0.0)


def end(
    run_id: int, report: IngestReport, state: RunState, error: str | None, *, idle: float = 0.0
) -> Flow[None]:
    """The run is over, and has done nothing for so many seconds."""
    yield from _update(run_id, report, state, error, idle)


def record(
    generation: Generation, report: IngestReport, kind: RunKind, *, ago: float
) -> Flow[None]:
    """A run that is over already, and began so many seconds ago."""
    number = yield from begin(generation, kind, ago=ago)
    yield from end(number, report, "done", None)


def _update(
    run_id: int, report: IngestReport, state: RunState, error: str | None, idle: float
) -> Flow[None]:
    # In a transaction of the caller's own, now() would stand still.
    yield from fetch(
        """
        UPDATE pgrecall.runs
           SET seen_at = clock_timestamp() - make_interval(secs => %s), state = %s, error = %s,
               new = %s, changed = %s, renamed = %s, unchanged = %s, removed = %s, failed = %s,
               left_out = %s, chunks = %s, embedded = %s, tokens = %s, cost = %s
         WHERE run_id = %s
        """,
        [
            *(idle, state, error, report.new, report.changed, report.renamed, report.unchanged),
            report.removed,
            *(len(report.failed), report.left, report.chunks, report.embedded),
            *(report.tokens, report.cost, run_id),
        ],
    )


def forget(run_id: int) -> Flow[None]:
    """The run is not worth remembering."""
    yield from fetch("DELETE FROM pgrecall.runs WHERE run_id = %s", [run_id])


def recent(collection: str | None, limit: int) -> Flow[list[Run]]:
    """The last runs, newest first: of a collection, or of all."""
    rows = yield from fetch(
        """
        SELECT run_id, collection, embedder, kind, by_worker,
               CASE WHEN state = 'running' AND seen_at < now() - make_interval(secs => %s)
                    THEN 'killed' ELSE state END,
               started_at, seen_at, extract(epoch FROM seen_at - started_at)::double precision,
               new, changed, renamed, unchanged, removed, failed, left_out, chunks, embedded, tokens,
               cost, error
          FROM pgrecall.runs WHERE %s::text IS NULL OR collection = %s
         ORDER BY run_id DESC LIMIT %s
        """,
        [LOST, collection, collection, limit],
    )
    return [_run(*row) for row in rows]


def _run(*row: Any) -> Run:
    names = (
        *(
            "run_id",
            "collection",
            "embedder",
            "kind",
            "by_worker",
            "state",
            "started_at",
            "ended_at",
        ),
        "seconds",
        *("new", "changed", "renamed", "unchanged", "removed", "failed", "left", "chunks"),
        *("embedded", "tokens", "cost", "error"),
    )
    return Run(**dict(zip(names, row, strict=True)))


def throughput(embedder: str, collection: str | None = None) -> Flow[Throughput | None]:
    """Of the last runs with an embedder that wrote anything; None if there was none."""
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT sum(chunks) / sum(seconds), sum(tokens) / sum(seconds)
              FROM (SELECT chunks, tokens,
                           extract(epoch FROM seen_at - started_at)::double precision AS seconds
                      FROM pgrecall.runs
                     WHERE embedder = %s AND chunks > 0 AND (%s::text IS NULL OR collection = %s)
                     ORDER BY run_id DESC LIMIT %s) AS recent
            HAVING sum(seconds) > 0
            """
        ),
        [embedder, collection, collection, RECENT],
    )
    if not rows:
        return None
    chunks, tokens = map(float, rows[0])
    return Throughput(chunks_per_second=chunks, tokens_per_second=tokens)


def spent(collection: str) -> Flow[tuple[int, float | None]]:
    """Tokens embedded for a collection in all its runs, and US dollars as far as prices are known.

    None if no price of what was embedded is known.
    """
    rows = yield from fetch(
        """
        SELECT coalesce(sum(tokens), 0)::bigint,
               CASE WHEN coalesce(sum(tokens), 0) = 0 THEN 0
                    ELSE sum(cost) FILTER (WHERE tokens > 0) END::double precision
          FROM pgrecall.runs WHERE collection = %s
        """,
        [collection],
    )
    return rows[0][0], rows[0][1]
