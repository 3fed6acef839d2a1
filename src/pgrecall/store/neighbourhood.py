"""What surrounds a chunk, and what it means: its neighbours, its section, its embedding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from psycopg import sql

from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch, fetch_binary
from pgrecall.store.vectors import decode_all
from pgrecall.types import Around, FloatArray, Hit

_HITS = """
      FROM unnest(%s::text[], %s::uuid[], %s::integer[]) WITH ORDINALITY
           AS p (tenant_id, document_id, ordinal, number)
      JOIN pgrecall.chunks AS hit
        ON hit.generation_id = %s AND hit.tenant_id = p.tenant_id
       AND hit.document_id = p.document_id AND hit.ordinal = p.ordinal"""

_EMBEDDINGS = f"SELECT p.number, hit.{{column}} {_HITS}"

_SAME = """c.generation_id = hit.generation_id AND c.tenant_id = hit.tenant_id
       AND c.document_id = hit.document_id"""

_NEIGHBOURS = f"""
    SELECT p.number, min(c.start_offset), max(c.end_offset) {_HITS}
      JOIN pgrecall.chunks AS c
        ON {_SAME} AND c.ordinal BETWEEN hit.ordinal - %s AND hit.ordinal + %s
     GROUP BY p.number
"""

# The edges are the nearest chunks under other headings. An aggregate over none is null, which greatest
# and least pass over.
_SECTION = f"""
    SELECT p.number, min(c.start_offset), max(c.end_offset) {_HITS}
     CROSS JOIN LATERAL (
           SELECT max(c.ordinal) FILTER (WHERE c.ordinal < hit.ordinal) AS above,
                  min(c.ordinal) FILTER (WHERE c.ordinal > hit.ordinal) AS below
             FROM pgrecall.chunks AS c
            WHERE {_SAME} AND c.ordinal BETWEEN hit.ordinal - %s AND hit.ordinal + %s
              AND c.headings <> hit.headings) AS edge
      JOIN pgrecall.chunks AS c
        ON {_SAME} AND c.ordinal BETWEEN greatest(hit.ordinal - %s, edge.above + 1)
                                     AND least(hit.ordinal + %s, edge.below - 1)
     GROUP BY p.number
"""  # noqa: S608 (constants only)


def embeddings(generation: Generation, hits: Sequence[Hit]) -> Flow[FloatArray]:
    """The embedding of each hit, shape (len(hits), dimensions); zeros for a chunk that is gone."""
    rows = yield from fetch_binary(
        sql.SQL(_EMBEDDINGS).format(column=sql.Identifier(generation.storage.column)),
        _keys(generation, hits),
    )
    found = np.zeros((len(hits), generation.dimensions), dtype=np.float32)
    if rows:
        found[[row[0] - 1 for row in rows]] = decode_all(
            [row[1] for row in rows], generation.storage.element
        )
    return found


def extents(
    generation: Generation, hits: Sequence[Hit], around: Around, chunks: int
) -> Flow[list[tuple[int, int]]]:
    """Start and end, for each hit, of up to ``chunks`` chunks before it, itself, and as many after it.

    With "section" no further than its headings reach. The hit's own place for a chunk that is gone.
    """
    if around == "section":
        rows = yield from fetch(_SECTION, [*_keys(generation, hits), *[chunks] * 4])
    else:
        rows = yield from fetch(_NEIGHBOURS, [*_keys(generation, hits), *[chunks] * 2])
    found = {row[0]: (row[1], row[2]) for row in rows}
    return [found.get(number, (hit.start, hit.end)) for number, hit in enumerate(hits, start=1)]


def _keys(generation: Generation, hits: Sequence[Hit]) -> list[object]:
    return [
        [hit.tenant_id for hit in hits],
        [hit.document_id for hit in hits],
        [hit.ordinal for hit in hits],
        generation.generation_id,
    ]
