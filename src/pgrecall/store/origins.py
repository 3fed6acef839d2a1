"""Documents by where they were found: what a run that stays in step compares, and removes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pgrecall.flow import Flow
from pgrecall.store import queue
from pgrecall.store.collections import Generation
from pgrecall.store.prepared import Former
from pgrecall.store.session import fetch, transaction

#: Documents that are looked at in one round trip.
PAGE = 5_000


@dataclass(frozen=True, slots=True)
class Held:
    """A document that is stored, or a failure that is on record."""

    document_id: UUID
    source: str
    uri: str
    tenant_id: str
    #: False while only failures are on record.
    stored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The documents of a collection that were found from ``low`` to before ``high``."""

    generation: Generation
    low: str
    high: str
    #: None: of all tenants.
    tenant_id: str | None


def now() -> Flow[datetime]:
    """The time of the database, in whose clock documents are stamped."""
    rows = yield from fetch("SELECT now()")
    moment: datetime = rows[0][0]
    return moment


def page(span: Span, after: Held | None) -> Flow[list[Held]]:
    """The next PAGE documents, ordered by source; [] behind the last."""
    source, document_id = (after.source, after.document_id) if after else (span.low, UUID(int=0))
    rows = yield from fetch(
        """
        SELECT document_id, source, uri, tenant_id, content_hash IS NOT NULL FROM pgrecall.documents
         WHERE collection_id = %s AND (source, document_id) > (%s, %s) AND source < %s
               AND (%s::text IS NULL OR tenant_id = %s)
         ORDER BY source, document_id LIMIT %s
        """,
        [
            span.generation.collection_id,
            source,
            document_id,
            span.high,
            span.tenant_id,
            span.tenant_id,
            PAGE,
        ],
    )
    return [Held(*row) for row in rows]


def named(span: Span, uris: Sequence[str]) -> Flow[list[Held]]:
    """The documents of these uris that were found where the span begins."""
    rows = yield from fetch(
        """
        SELECT document_id, source, uri, tenant_id, content_hash IS NOT NULL FROM pgrecall.documents
         WHERE collection_id = %s AND uri = ANY(%s) AND source = %s
               AND (%s::text IS NULL OR tenant_id = %s)
        """,
        [span.generation.collection_id, list(uris), span.low, span.tenant_id, span.tenant_id],
    )
    return [Held(*row) for row in rows]


def formers(tenant_id: str, document_ids: Sequence[UUID]) -> Flow[dict[bytes, Former]]:
    """Stored documents by the SHA-256 of their text."""
    rows = yield from fetch(
        """
        SELECT sha256(convert_to(text, 'UTF8')), document_id, title FROM pgrecall.documents
         WHERE tenant_id = %s AND document_id = ANY(%s) AND content_hash IS NOT NULL
        """,
        [tenant_id, list(document_ids)],
    )
    return {bytes(digest): Former(document_id, title) for digest, document_id, title in rows}


def remove(generation: Generation, gone: Sequence[Held], *, before: datetime) -> Flow[list[UUID]]:
    """Remove documents that nobody wrote since, and what waits of them in the queue since before then.

    Those that were removed and had a version.
    """
    return (yield from transaction(_remove(generation, gone, before)))


def _remove(generation: Generation, gone: Sequence[Held], before: datetime) -> Flow[list[UUID]]:
    names = [(held.tenant_id, held.uri) for held in gone]
    yield from queue.supersede(generation, names, before=before)
    rows = yield from fetch(
        """
        DELETE FROM pgrecall.documents
         WHERE tenant_id = ANY(%s) AND document_id = ANY(%s) AND updated_at <= %s
        RETURNING document_id, content_hash IS NOT NULL
        """,
        [
            list({held.tenant_id for held in gone}),
            [held.document_id for held in gone],
            before,
        ],
    )
    return [document_id for document_id, stored in rows if stored]
