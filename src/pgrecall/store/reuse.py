"""Vectors that are paid for: found again by the text that was embedded, kept until they are written.

A vector's identity is the embedder's name, its dimensions, its precision, and the hash of the embedded text.
Most are found in the chunks of any collection. Those whose document is not written yet wait in
``paid_vectors``: the parts of a long document, and what is left of a document that failed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pgrecall.flow import Flow
from pgrecall.store.session import copy_rows, fetch, fetch_binary
from pgrecall.store.vectors import SINGLE, columns, recoded

#: Days after which nobody comes back for a vector that waits.
KEPT_DAYS = 30


@dataclass(frozen=True, slots=True)
class Model:
    """Whose vectors: equal texts have equal vectors within one."""

    embedder: str
    dimensions: int
    #: In which precision they are stored (``store.vectors``).
    element: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What was found, by the hash of the embedded text."""

    #: In pgvector's wire format.
    vectors: dict[bytes, bytes] = field(default_factory=dict)
    #: Those of them that wait in ``paid_vectors``.
    kept: set[bytes] = field(default_factory=set)


def stored(model: Model, hashes: Collection[bytes]) -> Flow[Stored]:
    """The vectors of these texts that are in the database, in whatever collection."""
    if not hashes:
        return Stored()
    rows = yield from fetch_binary(
        """
        SELECT content_hash, embedding, generation_id FROM pgrecall.stored_vectors(%s, %s, %b, %s)
        """,
        [model.embedder, model.dimensions, list(hashes), model.element == SINGLE],
    )
    found = Stored()
    for key, vector, generation in rows:
        wire = recoded(bytes(vector), model.element)
        if wire is None:
            continue
        found.vectors[bytes(key)] = wire
        if generation is None:
            found.kept.add(bytes(key))
    return found


def keep(model: Model, vectors: Mapping[bytes, bytes]) -> Flow[None]:
    """Store vectors (wire format) whose document is not written yet.

    A text may be kept twice, by two runs at once: COPY knows no conflicts, and it does no harm.
    """
    if vectors:
        yield from copy_rows(
            "COPY pgrecall.paid_vectors (embedder, dimensions, content_hash, embedding,"
            " embedding_full) FROM STDIN (FORMAT BINARY)",
            ("text", "int4", "bytea", "bytea", "bytea"),
            (
                (model.embedder, model.dimensions, key, *columns(value, model.element))
                for key, value in vectors.items()
            ),
        )


def forget(model: Model, hashes: Sequence[bytes]) -> Flow[None]:
    """These vectors stand in chunks by now."""
    if not hashes:
        return
    yield from fetch(
        """
        DELETE FROM pgrecall.paid_vectors
         WHERE content_hash = ANY(%b) AND embedder = %s AND dimensions = %s
           AND (embedding_full IS NOT NULL) = %s
        """,
        [hashes, model.embedder, model.dimensions, model.element == SINGLE],
    )


def sweep() -> Flow[int]:
    """Remove what nobody came back for; how many that were."""
    rows = yield from fetch(
        """
        WITH gone AS (DELETE FROM pgrecall.paid_vectors
                       WHERE created_at < now() - make_interval(days => %s) RETURNING 1)
        SELECT count(*) FROM gone
        """,
        [KEPT_DAYS],
    )
    count: int = rows[0][0]
    return count


def slices(count: int, size: int) -> Iterator[slice]:
    """``range(count)`` in pieces of at most ``size``."""
    return (slice(start, start + size) for start in range(0, count, size))
