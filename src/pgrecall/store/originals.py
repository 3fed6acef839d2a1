"""Documents as they were taken in."""

from __future__ import annotations

from collections.abc import Collection

from psycopg import sql

from pgrecall.errors import DocumentNotFound
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.identity import document_id
from pgrecall.store.rows import DOCUMENT, document_of
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
        sql.SQL(
            """
            SELECT content_hash IS NOT NULL, error, {document}
              FROM pgrecall.documents WHERE tenant_id = %s AND document_id = %s
            """
        ).format(document=DOCUMENT),
        [tenant_id, document_id(generation.collection, wanted)],
    )
    if not rows:
        of_tenant = f" of the tenant {tenant_id!r}" if tenant_id else ""
        raise DocumentNotFound(f'"{generation.collection}" has no document {uri!r}{of_tenant}.')
    there, error, *columns = rows[0]
    if not there:
        raise DocumentNotFound(f"{uri!r} could not be taken in: {error}")
    return document_of(columns, usual=generation.language)
