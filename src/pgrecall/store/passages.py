"""Stretches of document texts, as a context shows them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from pgrecall.flow import Flow
from pgrecall.store.session import fetch

#: (tenant_id, document_id, start, end)
Place = tuple[str, UUID, int, int]


def fetch_texts(places: Sequence[Place]) -> Flow[dict[Place, tuple[str, tuple[int, ...]]]]:
    """The text of each place and the page starts of its document, in one round trip."""
    if not places:
        return {}
    rows = yield from fetch(
        """
        SELECT p.tenant_id, p.document_id, p.start_offset, p.end_offset,
               substr(d.text, p.start_offset + 1, p.end_offset - p.start_offset), d.pages
          FROM unnest(%s::text[], %s::uuid[], %s::integer[], %s::integer[])
               AS p (tenant_id, document_id, start_offset, end_offset)
          JOIN pgrecall.documents AS d
            ON d.tenant_id = p.tenant_id AND d.document_id = p.document_id
        """,
        [list(column) for column in zip(*places, strict=True)],
    )
    return {(row[0], row[1], row[2], row[3]): (row[4], tuple(row[5])) for row in rows}
