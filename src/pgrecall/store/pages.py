"""What servers said about pages: whether one needs to be sent again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.generations import building
from pgrecall.store.session import fetch


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page whose document is stored as it was sent."""

    document_id: UUID
    content_hash: bytes
    etag: str | None
    last_modified: str | None

    @property
    def conditions(self) -> dict[str, str]:
        """The headers that ask for the page only if it changed (RFC 9110, 13.1)."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in headers.items() if value}


def known(
    generation: Generation, tenant_id: str, urls: Sequence[str], options: str
) -> Flow[dict[str, Page]]:
    """Pages whose stored document was made of what the server said last, with the same options.

    None while another generation is being built, and none that the active one lacks: those are to be sent.
    """
    if (yield from building(generation.collection_id)):
        return {}
    rows = yield from fetch(
        """
        SELECT url, content_hash, etag, last_modified FROM pgrecall.pages
         WHERE collection_id = %s AND tenant_id = %s AND url = ANY(%s) AND options = %s
        """,
        [generation.collection_id, tenant_id, list(urls), options],
    )
    if not rows:
        return {}
    documents = yield from _documents(generation, tenant_id, [row[0] for row in rows])
    return {
        url: Page(
            document_id=documents[url][0],
            content_hash=digest,
            etag=etag,
            last_modified=last_modified,
        )
        for url, digest, etag, last_modified in rows
        if url in documents and documents[url][1] == digest
    }


def _documents(
    generation: Generation, tenant_id: str, uris: Sequence[str]
) -> Flow[dict[str, tuple[UUID, bytes]]]:
    """Identity and hash of those that the active generation holds as they are stored, by uri."""
    rows = yield from fetch(
        """
        SELECT uri, document_id, content_hash FROM pgrecall.documents
         WHERE collection_id = %s AND tenant_id = %s AND uri = ANY(%s) AND error IS NULL
               AND generations @> ARRAY[%s::integer]
        """,
        [generation.collection_id, tenant_id, uris, generation.generation_id],
    )
    return {uri: (document_id, digest) for uri, document_id, digest in rows}


def remember(
    generation: Generation, tenant_id: str, url: str, page: Page, options: str
) -> Flow[None]:
    """Keep what the server said."""
    yield from fetch(
        """
        INSERT INTO pgrecall.pages
               (collection_id, tenant_id, url, etag, last_modified, content_hash, options)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (collection_id, tenant_id, url) DO UPDATE
           SET etag = excluded.etag, last_modified = excluded.last_modified,
               content_hash = excluded.content_hash, options = excluded.options
        """,
        [
            generation.collection_id,
            tenant_id,
            url,
            page.etag,
            page.last_modified,
            page.content_hash,
            options,
        ],
    )
