"""How much of the truth a generation's index finds, measured.

The questions are pieces of the stored texts, of eight words (of a sentence's length where no spaces are
written): on source code and prose they were as hard as real questions, which the texts themselves are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from pgrecall.errors import InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch
from pgrecall.types import FloatArray

#: Questions of a measurement that nobody asked for.
QUESTIONS = 40
#: Words of a question, and characters where there are no words.
WORDS, CHARACTERS = 8, 60

#: A recall as near to the promise as this counts as reaching it: less than the error of a measurement.
ERROR = 0.005
#: A recall that fell by more than this is worth a warning.
DRIFT = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallReport:
    """Recall@10 of the index at each step of ef_search, against exact search."""

    curve: Mapping[int, float]
    #: As it was measured before; None if it was not.
    previous: Mapping[int, float] | None
    #: What searches of the collection promise, unless they say otherwise.
    target: float
    #: The step that searches take: the smallest that keeps the promise, or, if none does, the one beyond
    #: which hardly anything is gained.
    ef_search: int

    @property
    def kept(self) -> bool:
        """Whether the index keeps the promise."""
        return self.curve[self.ef_search] >= self.target - ERROR

    @property
    def drifted(self) -> bool:
        """Whether the step that searches took until now finds clearly less than it did."""
        if self.previous is None:
            return False
        step = _step(self.previous, self.target)
        return self.curve[step] < self.previous[step] - DRIFT


def due(generation: Generation) -> Flow[bool]:
    """Whether there is an index that was not measured yet, or was at two thirds of its size or less."""
    rows = yield from fetch(
        """
        SELECT recall_chunks IS NULL OR chunk_count NOT BETWEEN recall_chunks / 2 AND recall_chunks * 3 / 2
          FROM pgrecall.generations WHERE generation_id = %s AND chunk_count > 2000
           AND to_regclass(%s) IS NOT NULL
        """,
        [generation.generation_id, f"pgrecall.{generation.table}_embedding"],
    )
    return bool(rows and rows[0][0])


def questions(generation: Generation, count: int = QUESTIONS) -> Flow[list[str]]:
    """Pieces of texts from all over the generation."""
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT content FROM {partition} TABLESAMPLE system (least(100, (
                       SELECT 100.0 * 20 * %s / greatest(chunk_count, 1) FROM pgrecall.generations
                        WHERE generation_id = %s)))
             ORDER BY content_hash LIMIT %s
            """
        ).format(partition=generation.partition),
        [count, generation.generation_id, count],
    )
    return [piece for (content,) in rows if (piece := _piece(content))]


def _piece(text: str) -> str:
    words = text.split()
    if len(words) < WORDS:
        return text.strip()[:CHARACTERS]
    start = (len(words) - WORDS) // 2
    return " ".join(words[start : start + WORDS])[: 4 * CHARACTERS]


def measure(generation: Generation, embeddings: Sequence[FloatArray]) -> Flow[RecallReport]:
    """Measure the recall with the embeddings of questions and keep it for the searches that follow.

    Raises InvalidArgument where there is nothing to measure, because all searches are exact.
    """
    before = yield from fetch(
        "SELECT pgrecall.steps(), recall_curve FROM pgrecall.generations WHERE generation_id = %s",
        [generation.generation_id],
    )
    steps, previous = before[0]
    measured = yield from fetch(
        "SELECT pgrecall.measure_recall(%s, embeddings => %s::text[]::halfvec[])",
        [generation.collection, [_literal(embedding) for embedding in embeddings]],
    )
    curve = measured[0][0]
    if curve is None:
        raise InvalidArgument(
            f'The collection "{generation.collection}" has no vector index yet, or so few chunks that '
            "every search is exact: its recall is 1."
        )
    target = float(generation.defaults.get("recall", 0.98))
    found = dict(zip(steps, curve, strict=True))
    return RecallReport(
        curve=found,
        previous=None if previous is None else dict(zip(steps, previous, strict=True)),
        target=target,
        ef_search=_step(found, target),
    )


def _literal(embedding: FloatArray) -> str:
    return "[" + ",".join(map(str, embedding.tolist())) + "]"


def _step(curve: Mapping[int, float], target: float) -> int:
    """As pgrecall.breadth chooses."""
    best = max(curve.values())
    enough = target - ERROR if best >= target - ERROR else best - 0.01
    return next(step for step, reached in curve.items() if reached >= enough)
