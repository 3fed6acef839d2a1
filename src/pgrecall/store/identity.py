"""What documents and texts are known by: ids and hashes, made in the client and the same everywhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from decimal import Decimal
from uuid import UUID, uuid5

from pgrecall.longtext import parts_of
from pgrecall.types import Chunk, Document, Markup

#: Document ids are uuid5(NAMESPACE, [collection, tenant, uri]): made in the client, the same everywhere.
NAMESPACE = UUID("6f0d5f3e-6a0e-5b53-9d2a-5d3c1c1f7a10")

#: A document's identity: (tenant_id, document_id), as in every key.
Key = tuple[str, UUID]


def document_id(collection: str, document: Document) -> UUID:
    """The id of a document: the same uri of the same tenant and collection, the same id."""
    return uuid5(NAMESPACE, json.dumps([collection, document.tenant_id, document.uri]))


def any_of(keys: Collection[Key]) -> tuple[list[str], list[UUID]]:
    """The parameters of ``tenant_id = ANY(%s) AND document_id = ANY(%s)``.

    Every id belongs to one tenant, so no pair is found that is not among the keys.
    """
    return sorted({tenant for tenant, _ in keys}), [identity for _, identity in keys]


def document_hash(document: Document, markup: Markup) -> bytes:
    """SHA-256 over all of a document that reaches the database, and the same when it comes back."""
    fields = [document.uri, document.title, document.mime_type, markup, document.language]
    # As jsonb gives it back: keys are texts, and 1e22 is a whole number.
    metadata = json.loads(json.dumps(dict(document.metadata)), parse_float=_number)
    rest = json.dumps([*fields, document.pages, metadata], sort_keys=True)
    digest = hashlib.sha256(f"{rest}\n".encode("utf-8", "replace"))
    for part in parts_of(document):
        digest.update(part.encode("utf-8", "replace"))
    if document.media is not None:
        digest.update(b"\0" + document.media)
    return digest.digest()


def _number(digits: str) -> float:
    # Decimal: 1e308 is a one with 308 zeros there, which no float is.
    value = Decimal(digits)
    return int(value) if value == value.to_integral_value() else float(digits)


def chunk_hash(chunk: Chunk) -> bytes:
    """The first 16 bytes of SHA-256 over what is embedded: equal text, equal vector."""
    return hashlib.sha256(chunk.embedded_text.encode("utf-8", "replace")).digest()[:16]


def media_hash(media: bytes) -> bytes:
    """The same of a picture; never that of a text, which has no NUL."""
    return hashlib.sha256(b"\0" + media).digest()[:16]
