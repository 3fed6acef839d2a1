"""A document on its way in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from pgrecall.store.collections import Generation
from pgrecall.store.identity import Key
from pgrecall.types import Chunk, Document, Markup

#: A document of more chunks is embedded and written in parts of so many.
LONG = 512


@dataclass(frozen=True, slots=True)
class Former:
    """A stored document whose source has gone, perhaps to another name."""

    document_id: UUID
    title: str | None


@dataclass(slots=True, kw_only=True)
class Prepared:
    """A document on its way in: chunked, and embedded once ``vectors`` is complete."""

    document: Document
    document_id: UUID
    #: The one that chunks and vectors are for.
    generation: Generation
    content_hash: bytes
    markup: Markup
    #: Of a LongDocument they are on disk, and so are the hashes.
    chunks: Sequence[Chunk] = field(default_factory=list)
    #: One a chunk: the key under which its vector is found again.
    hashes: Sequence[bytes] = field(default_factory=list)
    #: One a chunk, in pgvector's wire format; empty until embedded. Those of a long document are never
    #: in memory at once: they wait in the database (``store.reuse``).
    vectors: list[bytes] = field(default_factory=list)
    #: What others find them by as long as they are not stored (``ingest.flights``).
    held: object = None
    #: Hashes of those vectors that wait in the database all the same, from an attempt that failed.
    waiting: set[bytes] = field(default_factory=set)
    #: Whether chunks and vectors were made elsewhere: the chunks need not cover the text.
    given: bool = False
    #: Why it could not be cut; None if it could, or was not yet.
    refused: str | None = None
    #: Whether the ledger held a version of it before.
    known: bool = False
    #: The document that it was before its source was renamed; None if it was not.
    former: Former | None = None
    #: The same document as generations that are being built hold it.
    others: list[Prepared] = field(default_factory=list)
    #: The only version that it may replace; None: whichever is there.
    replaces: int | None = None

    @property
    def key(self) -> Key:
        """The document's identity."""
        return self.document.tenant_id, self.document_id

    @property
    def name(self) -> tuple[str, str]:
        """What the queue knows it by."""
        return self.document.tenant_id, self.document.uri

    @property
    def embedded_title(self) -> str | None:
        """The title in the headers of its chunks: a renamed document keeps its vectors, and so the old one."""
        return self.former.title if self.former else self.document.title
