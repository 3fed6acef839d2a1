"""Documents as they were taken in."""

from __future__ import annotations

from collections.abc import Collection

from pgrecall.errors import DocumentNotFound
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.identity import document_id
from pgrecall.store.session import fetch
from pgrecall.types import Document


def stored(generation: Generation, uris: Collection[str]) -> Flow[set[str]]:
    """Which of these uris the collection has documents of, whosever they are."""
    rows = yield from fetch(
        """
        SELECT uri FROM pgrecall.documents
         WHERE collection_id = %s AND uri = ANY(%s) AND content_hash IS NOT NULL
        """,
        [generation.collection_id, list(uris)],
    )
    return {row[0] for row in rows}


def fetch_document(generation: Generation, uri: str, tenant_id: str) -> Flow[Document]:
    """The stored version of a document; raises DocumentNotFound if there is none."""
    wanted = Document(uri=uri, text="", tenant_id=tenant_id)
    rows = yield from fetch(
        """
        SELECT content_hash IS NOT NULL, error, text, title, metadata, mime_type, markup, language,
               pages, notes, source, media
          FROM pgrecall.documents WHERE tenant_id = %s AND document_id = %s
        """,
        [tenant_id, document_id(generation.collection, wanted)],
    )
    if not rows:
        raise DocumentNotFound(f'"{generation.collection}" has no document {uri!r}.')
    there, error, text, title, metadata, mime_type, markup, language, *rest = rows[0]
    pages, notes, source, media = rest
    if not there:
        raise DocumentNotFound(f"{uri!r} could not be taken in: {error}")
    return Document(
        uri=uri,
        text=text,
        title=title,
        metadata=metadata,
        tenant_id=tenant_id,
        mime_type=mime_type,
        markup=markup,
        language=None if language == generation.language else language,
        pages=tuple(pages),
        notes=tuple(notes),
        source=source,
        media=media,
    )
