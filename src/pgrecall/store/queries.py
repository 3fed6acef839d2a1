"""The questions that a collection was asked, kept where it says so, to measure its recall with."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from pgrecall.errors import DatabaseError
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch

logger = logging.getLogger(__name__)

#: Questions are written together: so many, or what came in so many seconds.
BATCH, SECONDS = 100, 10.0


class QueryLog:
    """What was asked and is not written yet. Safe to share between threads."""

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._written = -SECONDS
        self._lock = threading.Lock()

    def add(self, questions: Sequence[str]) -> list[str]:
        """Note questions; those that are to be written now, if it is time.

        The first one is written at once, so that a process of one search is not lost on the log.
        """
        with self._lock:
            self._waiting += questions
            now = time.monotonic()
            if len(self._waiting) < BATCH and now - self._written < SECONDS:
                return []
            self._written = now
            due, self._waiting = self._waiting, []
            return due


def log(generation: Generation, log: QueryLog, questions: Sequence[str]) -> Flow[None]:
    """Note questions after they were answered. A log that cannot be written fails no search."""
    if not generation.defaults.get("log_queries") or not questions:
        return
    due = log.add([_storable(question) for question in questions])
    if not due:
        return
    try:
        yield from fetch(
            "SELECT pgrecall.log_queries(%s, %s::text[])", [generation.collection_id, due]
        )
    except DatabaseError as exc:
        logger.warning("Questions to %s were not logged: %s", generation.collection, exc)


def logged(generation: Generation, count: int) -> Flow[list[str]]:
    """At most ``count`` of the logged questions, the latest first."""
    rows = yield from fetch(
        """
        SELECT question FROM pgrecall.queries WHERE collection_id = %s
         ORDER BY asked_at DESC, slot LIMIT %s
        """,
        [generation.collection_id, count],
    )
    return [row[0] for row in rows]


def clear(generation: Generation) -> Flow[int]:
    """Forget all logged questions; the number that there were."""
    rows = yield from fetch(
        """
        WITH gone AS (DELETE FROM pgrecall.queries WHERE collection_id = %s RETURNING 1)
        SELECT count(*) FROM gone
        """,
        [generation.collection_id],
    )
    return int(rows[0][0])


def _storable(question: str) -> str:
    return question.replace("\x00", " ").encode("utf-8", "replace").decode()
