"""What a hit carries, as the metadata of a framework's document."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pgrecall import Hit

#: Under this key stands all that a hit says of itself.
RECORD = "pgrecall"


def identity(hit: Hit) -> str:
    """The name of its chunk, the same in each search."""
    return f"{hit.document_id}:{hit.ordinal}"


def metadata(hit: Hit, **conventional: Any) -> dict[str, Any]:
    """The document's own metadata, what the framework expects beside them, and the whole record.

    ``conventional`` yields to a field of the same name that the document has; None is left out. The record
    is plain JSON.
    """
    expected = {name: value for name, value in conventional.items() if value is not None}
    return {**expected, **hit.metadata, RECORD: record(hit)}


def record(hit: Hit) -> dict[str, Any]:
    """All fields but the text and the metadata: uri, title, page, offsets, headings, scores, ids."""
    fields = asdict(hit)
    del fields["text"], fields["metadata"]
    return {**fields, "document_id": str(hit.document_id), "headings": list(hit.headings)}
