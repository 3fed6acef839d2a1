"""What must be true of a document and its chunks, whatever wrote them: rules that need no database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias
from uuid import UUID

from pgrecall.store.identity import Key, chunk_hash, document_hash, media_hash
from pgrecall.store.rows import page_of
from pgrecall.types import Chunk, Document

#: The number of tokens of a text.
Count: TypeAlias = Callable[[str], int]


class StoredChunk(NamedTuple):
    """A chunk as it is stored."""

    ordinal: int
    start: int
    end: int
    page: int | None
    header: str
    content: str
    content_hash: bytes
    tokens: int
    #: Whether what it repeats of its document (uri, title, language, metadata) is as it is there.
    like_document: bool
    #: Whether its vector has the generation's length, and a direction; None without a vector.
    searchable: bool | None


@dataclass(slots=True)
class Checked:
    """One document, and what is wrong with it."""

    document_id: UUID
    version: int
    #: As stored.
    content_hash: bytes | None
    document: Document
    #: Whether its chunks were made elsewhere, and need not cover the text.
    given: bool = False
    #: The first fault of each kind, and how many there are: "content": ("chunk 3 is not ...", 2).
    faults: dict[str, tuple[str, int]] = field(default_factory=dict)
    chunks: int = 0
    #: The text up to here is in chunks.
    covered: int = 0

    @property
    def key(self) -> Key:
        """The document's identity."""
        return self.document.tenant_id, self.document_id

    def fault(self, kind: str, detail: str) -> None:
        """Note what is wrong."""
        first, count = self.faults.get(kind, (detail, 0))
        self.faults[kind] = first, count + 1


def check_document(item: Checked, usual: str) -> None:
    """Note what is wrong with the document itself; ``usual`` is the language of the collection."""
    document = item.document
    markup = document.markup or "plain"
    # A document may have named its language, or left it to the collection.
    languages = {document.language, document.language or usual}
    hashes = {document_hash(replace(document, language=language), markup) for language in languages}
    if item.content_hash not in hashes:
        item.fault("document hash", "its hash is not that of its text and metadata")
    pages = document.pages
    if list(pages) != sorted(pages) or any(not 0 <= p <= len(document.text) for p in pages):
        item.fault("pages", "its pages do not ascend within the text")


def check_chunk(item: Checked, row: StoredChunk, count: Count | None) -> None:
    """Note what is wrong with the next chunk, in the order of their ordinals.

    ``count`` is None where nobody can tell what tokens were counted with.
    """
    document, name = item.document, f"chunk {row.ordinal}"
    if row.ordinal != item.chunks:
        item.fault("ordinals", f"{name} stands where chunk {item.chunks} should")
    item.chunks += 1
    if not 0 <= row.start < row.end <= len(document.text):
        item.fault("offsets", f"{name} spans {row.start} to {row.end} of {len(document.text)}")
    elif document.text[row.start : row.end] != row.content:
        item.fault("content", f"{name} is not the text from {row.start} to {row.end}")
    gap = document.text[item.covered : max(row.start, item.covered)]
    if gap.strip() and not item.given:
        item.fault("coverage", f"the text from {item.covered} to {row.start} is in no chunk")
    item.covered = max(item.covered, row.end)
    if row.page != page_of(document.pages, row.start):
        item.fault("pages", f"{name} is said to be on page {row.page}")
    chunk = _chunk(row)
    if _hash(document, chunk) != row.content_hash:
        item.fault("hash", f"the hash of {name} is not that of what is embedded")
    else:
        _check_tokens(item, row, chunk, count)
    if not row.like_document:
        item.fault("copies", f"uri, title, language or metadata of {name} are not its document's")
    if not row.searchable:
        item.fault("vector", f"the vector of {name} is missing, zero or of another length")


def check_end(item: Checked) -> None:
    """Note what is missing after the last chunk."""
    if item.document.text[item.covered :].strip() and not item.given:
        item.fault("coverage", f"the text from {item.covered} on is in no chunk")


def _check_tokens(item: Checked, row: StoredChunk, chunk: Chunk, count: Count | None) -> None:
    if item.document.media is not None:  # a picture has none
        return
    # Whoever made chunks elsewhere counted as they liked.
    found = row.tokens if count is None or item.given else count(chunk.embedded_text)
    if row.tokens <= 0 or row.tokens != found:
        detail = f"the tokens of chunk {row.ordinal} are said to be {row.tokens}"
        item.fault("tokens", detail)


def _chunk(row: StoredChunk) -> Chunk:
    return Chunk(
        ordinal=row.ordinal, start=row.start, end=row.end, content=row.content, header=row.header
    )


def _hash(document: Document, chunk: Chunk) -> bytes:
    return chunk_hash(chunk) if document.media is None else media_hash(document.media)
