"""The ledger: what is stored of which document, and why the last attempt at one failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.identity import Key, any_of, document_id
from pgrecall.store.session import fetch
from pgrecall.types import Document, Failure
from pgrecall.types.documents import LONGEST_TENANT, LONGEST_URI


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger knows of a document."""

    #: None while only failures are on record.
    content_hash: bytes | None
    #: Why the last attempt failed; None if it did not.
    error: str | None
    #: The generations that hold this version.
    generations: Sequence[int]
    #: Where it was found.
    source: str | None


def entries(keys: Sequence[Key]) -> Flow[dict[Key, Entry]]:
    """The entries of the documents that are known."""
    rows = yield from fetch(
        """
        SELECT tenant_id, document_id, content_hash, error, generations, source
          FROM pgrecall.documents
         WHERE tenant_id = ANY(%s) AND document_id = ANY(%s)
        """,
        any_of(keys),
    )
    return {(row[0], row[1]): Entry(*row[2:]) for row in rows}


def forget_failure(key: Key) -> Flow[None]:
    """The document was read again, and is as it was."""
    yield from fetch(
        "UPDATE pgrecall.documents SET error = NULL WHERE tenant_id = %s AND document_id = %s",
        list(key),
    )


def found_at(key: Key, source: str | None) -> Flow[None]:
    """The document is as it was, and comes from somewhere else now."""
    yield from fetch(
        "UPDATE pgrecall.documents SET source = %s WHERE tenant_id = %s AND document_id = %s",
        [source, *key],
    )


def record_failure(generation: Generation, failure: Failure, tenant_id: str = "") -> Flow[None]:
    """Keep a failure in the ledger; a version that is already stored stays as it is.

    What has too long a name to be stored is not kept.
    """
    if len(failure.uri.encode()) > LONGEST_URI or len(tenant_id.encode()) > LONGEST_TENANT:
        return
    probe = Document(uri=failure.uri, text="", tenant_id=tenant_id)
    yield from fetch(
        """
        INSERT INTO pgrecall.documents AS d
               (tenant_id, document_id, collection_id, uri, source, mime_type, markup, language, text,
                pages, metadata, notes, version, status, error)
        VALUES (%s, %s, %s, %s, %s, '', 'plain', %s, '', '{}', '{}', '{}', 0, 'failed', %s)
        ON CONFLICT (tenant_id, document_id) DO UPDATE
           SET error = excluded.error, updated_at = excluded.updated_at
        """,
        [
            tenant_id,
            document_id(generation.collection, probe),
            generation.collection_id,
            failure.uri,
            failure.source or failure.uri,
            generation.language,
            failure.reason,
        ],
    )
