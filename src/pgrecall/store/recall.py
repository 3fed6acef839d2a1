"""How much of the truth a generation's index finds, measured.

The questions are pieces of the stored texts, of two to sixteen words. The shorter, the harder: to keep a
recall of 0.98 among 100,000 passages of source code, pieces of two words took an ``ef_search`` of 566, of eight
363, of sixteen 166, and whole texts 40. Real questions lay between (CoSQA 237; SQuAD among other subjects 390).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from psycopg import sql

from pgrecall.errors import InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch
from pgrecall.store.vectors import storable
from pgrecall.types import FloatArray

#: Questions of a measurement that nobody asked for: one for so many chunks, within these bounds. One question
#: differs from the next by about 0.15, so 40 leave an error of 0.025 and 400 one of 0.008. A measurement takes
#: up to a fifth of the time that the graph took.
CHUNKS_PER_QUESTION = 400
FEWEST, MOST = 40, 400
#: Words of a question; and how many characters stand for a word where no spaces are written.
WORDS, CHARACTERS = (2, 4, 8, 16), 3
#: Characters for a space, from where on a text is taken to be written without them; and of a question at most.
_SPACELESS, _LONGEST = 20, 240

#: A recall as near to the promise as this counts as reaching it: less than the error of a measurement.
ERROR = 0.005
#: A recall that fell by more than this is worth a warning, if it fell by more than chance explains as well.
DRIFT = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallReport:
    """Recall@10 of the index at each step of ef_search, against exact search."""

    curve: Mapping[int, float]
    #: As it was measured before; None if it was not.
    previous: Mapping[int, float] | None
    #: What searches of the collection promise, unless they say otherwise.
    target: float
    #: The breadth that searches take: the smallest that keeps the promise, or, if none does, the one beyond
    #: which hardly anything is gained.
    ef_search: int
    #: The breadth that they took until now.
    previous_ef_search: int
    #: How many questions it was measured with, and how many of them users had asked.
    questions: int = 0
    logged: int = 0
    #: How many of them were made of stored vectors, where no question could be embedded.
    stand_ins: int = 0

    @property
    def kept(self) -> bool:
        """Whether the index keeps the promise."""
        return max(self.curve.values()) >= self.target - ERROR

    @property
    def drifted(self) -> bool:
        """Whether the breadth that searches took until now finds clearly less than it did."""
        if self.previous is None:
            return False
        taken = self.previous_ef_search
        before, now = _at(self.previous, taken), _at(self.curve, taken)
        # Two standard errors of so many questions that find all or nothing, as on islands of a graph.
        mean = (before + now) / 2
        chance = 2 * math.sqrt(mean * (1 - mean) / max(self.questions, 1))
        return now < before - max(DRIFT, chance)


def _at(curve: Mapping[int, float], ef_search: int) -> float:
    """The recall of a breadth, between the steps as pgrecall.breadth takes it."""
    return float(
        np.interp(math.log(ef_search), [math.log(step) for step in curve], [*curve.values()])
    )


def due(generation: Generation) -> Flow[int]:
    """With how many questions to measure an index that was not measured yet, or at two thirds of its size
    or less; 0 if that is not due.
    """
    rows = yield from fetch(
        """
        SELECT least(greatest(chunk_count / %s, %s), %s) FROM pgrecall.generations
         WHERE generation_id = %s AND chunk_count > 2000 AND to_regclass(%s) IS NOT NULL
           AND (recall_chunks IS NULL
                OR chunk_count NOT BETWEEN recall_chunks / 2 AND recall_chunks * 3 / 2)
        """,
        [
            CHUNKS_PER_QUESTION,
            FEWEST,
            MOST,
            generation.generation_id,
            f"pgrecall.{generation.table}_embedding",
        ],
    )
    return int(rows[0][0]) if rows else 0


def questions(generation: Generation, count: int) -> Flow[list[str]]:
    """Pieces of texts from all over the generation, mostly the same ones each time, so that curves compare.

    They are not taken by their hashes, in the order of which rows come to stand in table and graph.
    """
    rows = yield from fetch(
        sql.SQL(
            """
            SELECT content FROM {partition} TABLESAMPLE system (least(100, (
                       SELECT 100.0 * 20 * %s / greatest(chunk_count, 1) FROM pgrecall.generations
                        WHERE generation_id = %s))) REPEATABLE (0)
             ORDER BY md5(content_hash) LIMIT %s
            """
        ).format(partition=generation.partition),
        [count, generation.generation_id, count],
    )
    return [piece for (content,) in rows if (piece := _piece(content))]


def _piece(text: str) -> str:
    """A piece from the middle of a text, at most half of it; the same each time."""
    length = WORDS[crc32(text.encode()) % len(WORDS)]
    words = text.split()
    if len(text) > _SPACELESS * len(words):
        whole = text.strip()
        return whole[_middle(len(whole), CHARACTERS * length)].strip()
    return " ".join(words[_middle(len(words), length)])[:_LONGEST]


def _middle(count: int, length: int) -> slice:
    """So many of them from the middle, at most half."""
    length = min(length, (count + 1) // 2)
    start = (count - length) // 2
    return slice(start, start + length)


def checked(embeddings: FloatArray, generation: Generation) -> list[FloatArray]:
    """Embeddings of questions, shape (n, dimensions), one by one. Raises InvalidArgument for others."""
    rows = np.asarray(embeddings, dtype=np.float32)
    if rows.ndim != 2 or rows.shape[1] != generation.dimensions or len(rows) < 2:
        raise InvalidArgument(
            f"Embeddings of questions have the shape (n, {generation.dimensions}), n from 2, not {rows.shape}."
        )
    if not all(storable(row, generation.storage.element) for row in rows):
        raise InvalidArgument("An embedding of a question is zero, or holds NaN or infinity.")
    return list(rows)


def measure(
    generation: Generation, embeddings: Sequence[FloatArray] | None, *, stand_ins: int = 0
) -> Flow[RecallReport]:
    """Measure the recall with the embeddings of questions and keep it for the searches that follow.

    Without embeddings, so many are made of stored vectors (``functions/recall_v1.sql``). Raises
    InvalidArgument where there is nothing to measure, because all searches are exact.
    """
    before = yield from fetch(
        "SELECT pgrecall.steps(), recall_curve FROM pgrecall.generations WHERE generation_id = %s",
        [generation.generation_id],
    )
    steps, previous = before[0]
    measured = yield from fetch(
        """
        SELECT pgrecall.measure_recall(%s, questions => %s, embeddings => %s, generation => %s)
        """,
        [
            generation.collection,
            stand_ins,
            None if embeddings is None else _literal(embeddings),
            generation.generation_id,
        ],
    )
    curve = measured[0][0]
    if curve is None:
        raise InvalidArgument(
            f'The collection "{generation.collection}" has no vector index yet, or so few chunks that '
            "every search is exact: its recall is 1."
        )
    target = float(generation.defaults.get("recall", 0.98))
    breadths = yield from fetch(
        "SELECT pgrecall.breadth(%s::real[], %s, 10), pgrecall.breadth(%s::real[], %s, 10)",
        [curve, target, previous, target],
    )
    return RecallReport(
        curve=dict(zip(steps, curve, strict=True)),
        previous=None if previous is None else dict(zip(steps, previous, strict=True)),
        target=target,
        ef_search=breadths[0][0],
        previous_ef_search=breadths[0][1],
        questions=stand_ins if embeddings is None else len(embeddings),
        stand_ins=stand_ins if embeddings is None else 0,
    )


def _literal(embeddings: Sequence[FloatArray]) -> str:
    """An array of vectors. The function knows their type, whose name the search_path need not find."""
    vectors = ("[" + ",".join(map(str, embedding.tolist())) + "]" for embedding in embeddings)
    return "{" + ",".join(f'"{vector}"' for vector in vectors) + "}"
