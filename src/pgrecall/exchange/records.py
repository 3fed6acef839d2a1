"""Our own layout: one record a chunk, the same fields in JSONL, CSV and Parquet.

The first record of a document carries, as JSON in the field ``document``, what the document has once: its text,
its title, and how many chunks follow. So a reader needs no second file, and sees whether one is missing.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pgrecall.errors import InvalidArgument
from pgrecall.exchange.documents import EmbeddedChunk, EmbeddedDocument
from pgrecall.types import Failure

#: The fields of a record, in the order of columns; the vector is the field ``embedding``.
FIELDS = (
    *("uri", "tenant_id", "ordinal", "start", "end", "tokens", "header", "headings", "content"),
    *("metadata", "document"),
)
#: What tells a file of ours from others.
OURS = {"uri", "ordinal", "start", "content", "document"}


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a file or store, and what errors call it: "row 7"."""

    place: str
    fields: dict[str, Any]


def records(document: EmbeddedDocument) -> Iterator[dict[str, Any]]:
    """The records of a document, vectors included."""
    metadata = _json(dict(document.metadata))
    head = {
        "text": document.text,
        "title": document.title,
        "mime_type": document.mime_type,
        "markup": document.markup,
        "language": document.language,
        "pages": document.pages,
        "notes": document.notes,
        "source": document.source,
        "media": None if document.media is None else b64encode(document.media).decode("ascii"),
        "chunks": len(document.chunks),
    }
    for ordinal, chunk in enumerate(document.chunks):
        start = chunk.start or 0
        yield {
            "uri": document.uri,
            "tenant_id": document.tenant_id,
            "ordinal": ordinal,
            "start": start,
            "end": start + len(chunk.content),
            "tokens": chunk.tokens,
            "header": chunk.header,
            "headings": _json(chunk.headings),
            "content": chunk.content,
            "metadata": metadata,
            "document": None if ordinal else _json(head),
            "embedding": chunk.embedding,
        }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def documents(found: Iterable[Record | Failure]) -> Iterator[EmbeddedDocument | Failure]:
    """The documents of our records; one of which a record is missing or broken is a Failure."""
    for key, group in groupby(found, key=_document_of):
        rows = list(group)
        if key is None:
            yield from (row for row in rows if isinstance(row, Failure))
            continue
        whole = [row for row in rows if isinstance(row, Record)]
        for part in _split(whole):
            try:
                yield _document(part)
            except (KeyError, TypeError, ValueError) as exc:
                yield Failure(uri=key[1], reason=_complaint(part, exc))


def _document_of(row: Record | Failure) -> tuple[str, str] | None:
    if isinstance(row, Failure):
        return None
    return str(row.fields.get("tenant_id") or ""), str(row.fields.get("uri"))


def _split(rows: list[Record]) -> Iterator[list[Record]]:
    """A document that follows itself is two."""
    part: list[Record] = []
    for row in rows:
        if part and row.fields.get("document"):
            yield part
            part = []
        part.append(row)
    yield part


def _complaint(rows: list[Record], exc: Exception) -> str:
    if isinstance(exc, InvalidArgument):
        return str(exc)
    return f"{rows[0].place} is not as `pgrecall export` writes it ({exc})."


def _document(rows: list[Record]) -> EmbeddedDocument:
    first = rows[0]
    if not first.fields.get("document"):
        raise InvalidArgument(f"{first.place}: the first row of the document is missing.")
    head = json.loads(first.fields["document"])
    if [int(row.fields["ordinal"]) for row in rows] != list(range(head["chunks"])):
        raise InvalidArgument(
            f"{first.place}: the document has {head['chunks']} chunks, and the rows of {len(rows)} follow."
        )
    return EmbeddedDocument(
        uri=first.fields["uri"],
        tenant_id=first.fields.get("tenant_id") or "",
        metadata=json.loads(first.fields["metadata"]),
        text=head["text"],
        title=head["title"],
        mime_type=head["mime_type"],
        markup=head["markup"],
        language=head["language"],
        pages=tuple(head["pages"]),
        notes=tuple(head["notes"]),
        source=head["source"],
        media=None if head["media"] is None else b64decode(head["media"], validate=True),
        chunks=[_chunk(row) for row in rows],
    )


def _chunk(row: Record) -> EmbeddedChunk:
    fields = row.fields
    return EmbeddedChunk(
        content=fields["content"],
        embedding=fields.get("embedding"),  # type: ignore[arg-type]
        start=int(fields["start"]),
        header=fields.get("header") or "",
        headings=tuple(json.loads(fields["headings"])),
        tokens=int(fields["tokens"]),
        place=row.place,
    )
