"""Records that others laid out: which field is the id, the content, the vector, the metadata.

Names are looked for among those that LangChain, LlamaIndex, Haystack, Supabase's guides, Chroma, Qdrant and
Pinecone use, unless the caller says them. What else a record has becomes metadata, if JSON can hold it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np

from pgrecall.errors import InvalidArgument
from pgrecall.exchange.documents import EmbeddedChunk, EmbeddedDocument
from pgrecall.exchange.reading import VECTORS, dense
from pgrecall.exchange.records import Record
from pgrecall.types import Failure

IDS = ("langchain_id", "node_id", "id", "uuid", "_id", "uri")
CONTENTS = ("content", "document", "text", "page_content", "chunk", "chunk_text", "body")
METADATA = ("langchain_metadata", "metadata_", "cmetadata", "metadata", "meta", "payload")
#: What LlamaIndex keeps of a node beside its text and metadata.
NODE = "_node_content"
#: What frameworks keep for themselves: no use to anybody else.
INTERNAL = {NODE, "_node_type", "_collection_id"}
#: Other vectors of a point, and what was computed from the text.
DERIVED = {
    "sparse_values",
    "sparseValues",
    "sparse_vector",
    "text_search_tsv",
    "score",
    "_score",
    "shard_key",
    "order_value",
}
#: What Qdrant says of a point that was searched for, beside its payload.
OF_POINTS = {"version"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The names of a record's fields; None: found among the usual ones.

    ``content`` may stand in the metadata; ``vector`` may name one of several vectors of a point.
    """

    id: str | None = None
    content: str | None = None
    metadata: str | None = None
    vector: str | None = None
    #: Whose a record is; it may stand in the metadata. None: nobody's.
    tenant: str | None = None


@dataclass(slots=True)
class Taken:
    """What was found in the records of a source, and what was left behind."""

    rows: int = 0
    #: Field -> what it was taken for.
    taken: dict[str, str] = field(default_factory=dict)
    #: Field -> number of rows whose value was left behind, and why.
    left: Counter[str] = field(default_factory=Counter)

    def leave(self, name: str, why: str) -> None:
        """Count a value that is not taken."""
        self.left[f"{name} ({why})"] += 1


@dataclass(slots=True)
class Piece:
    """One foreign record, understood."""

    place: str
    id: str
    content: str
    vector: Any
    metadata: dict[str, Any]
    tenant: str = ""


def pieces(
    found: Iterable[Record | Failure], columns: Columns, taken: Taken
) -> Iterator[Piece | Failure]:
    """The records as pieces; one without an id or a content is a Failure that names it."""
    for row in found:
        taken.rows += 1
        if isinstance(row, Failure):
            yield row
            continue
        try:
            yield _piece(row, columns, taken)
        except InvalidArgument as exc:
            identity = _first(row.fields, columns.id, IDS)
            name = row.fields.get(identity) if identity else None
            yield Failure(uri=str(name) if name is not None else row.place, reason=str(exc))


def _piece(row: Record, columns: Columns, taken: Taken) -> Piece:
    fields = dict(row.fields)
    identity = _take(row, fields, columns.id, IDS)
    if identity is None or fields[identity] in (None, ""):
        raise InvalidArgument(f"{row.place} has no id; name the field that holds it (--id-field).")
    name = str(fields.pop(identity))
    vector_field, vector = _vector(row, fields, columns.vector, taken)
    metadata_field = _take(row, fields, columns.metadata, METADATA)
    metadata = _mapping(row, fields.pop(metadata_field)) if metadata_field else {}
    content_field, content = _content(row, fields, metadata, columns.content)
    taken.taken |= {identity: "id", content_field: "content", vector_field: "vector"}
    if metadata_field:
        taken.taken[metadata_field] = "metadata"
    for inner in METADATA:
        # LangChain's payloads in Qdrant: the metadata is a field beside the content.
        if isinstance(metadata.get(inner), dict):
            metadata |= metadata.pop(inner)
    tenant = _tenant(fields, metadata, columns.tenant, taken)
    for beside in fields.keys() & (DERIVED | OF_POINTS if metadata_field == "payload" else DERIVED):
        if fields.pop(beside) is not None:
            taken.leave(beside, "no metadata")
    return Piece(row.place, name, content, vector, _kept(metadata, fields, taken), tenant)


def _tenant(
    fields: dict[str, Any], metadata: dict[str, Any], wanted: str | None, taken: Taken
) -> str:
    if wanted is None:
        return ""
    for holder in (fields, metadata):
        if holder.get(wanted) is not None:
            taken.taken[wanted] = "tenant"
            return str(holder.pop(wanted))
    return ""


def _first(fields: Mapping[str, Any], wanted: str | None, usual: Iterable[str]) -> str | None:
    if wanted is not None:
        return wanted if wanted in fields else None
    return next((name for name in usual if name in fields), None)


def _take(
    row: Record, fields: Mapping[str, Any], wanted: str | None, usual: Iterable[str]
) -> str | None:
    found = _first(fields, wanted, usual)
    if found is None and wanted is not None:
        raise InvalidArgument(f"{row.place} has no field {wanted!r}; it has {', '.join(fields)}.")
    return found


def _vector(
    row: Record, fields: dict[str, Any], wanted: str | None, taken: Taken
) -> tuple[str, Any]:
    name = _first(fields, wanted, VECTORS) or _first(fields, None, VECTORS)
    if name is None:
        raise InvalidArgument(
            f"{row.place} has no vector; name the field that holds it (--vector-field)."
        )
    vector = fields.pop(name)
    able = dense(vector)
    if not able:
        raise InvalidArgument(
            f"{row.place} has no vector of one row of numbers: sparse vectors and multivectors are not taken."
        )
    chosen = wanted if wanted in able else next(iter(able)) if len(able) == 1 else None
    if chosen is None:
        named = ", ".join(map(repr, able))
        raise InvalidArgument(
            f"{row.place} has several vectors ({named}); name the one to take (--vector-field)."
        )
    if isinstance(vector, dict):
        for key in vector.keys() - {chosen}:
            taken.leave(f"vector {key}", "another vector" if key in able else _kind(vector[key]))
    return f"{name}.{chosen}" if chosen else name, able[chosen]


def _kind(vector: Any) -> str:
    return "a sparse vector" if isinstance(vector, dict) else "a multivector"


def _mapping(row: Record, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as exc:
            raise InvalidArgument(f"{row.place} has metadata that are not JSON: {exc}.") from exc
    if value is not None and not isinstance(value, dict):
        raise InvalidArgument(f"{row.place} has metadata that are not a JSON object.")
    return dict(value or {})


def _content(
    row: Record, fields: dict[str, Any], metadata: dict[str, Any], wanted: str | None
) -> tuple[str, str]:
    for holder in (fields, metadata):
        name = _first(holder, wanted, CONTENTS)
        if name is not None and isinstance(holder[name], str) and holder[name].strip():
            return name, holder.pop(name)
    if wanted is None and isinstance(metadata.get(NODE), str):
        text = _node_text(metadata[NODE])
        if text:
            return NODE, text
    field = f"the field {wanted!r}" if wanted else "a field of a usual name"
    raise InvalidArgument(
        f"{row.place} has no content in {field}; name the field that holds the text (--content-field)."
    )


def _node_text(node: str) -> str | None:
    try:
        value = json.loads(node)
    except ValueError:
        return None
    text = value.get("text") if isinstance(value, dict) else None
    if isinstance(value, dict) and isinstance(value.get("text_resource"), dict):
        text = text or value["text_resource"].get("text")
    return text if isinstance(text, str) and text.strip() else None


def _kept(metadata: Mapping[str, Any], fields: Mapping[str, Any], taken: Taken) -> dict[str, Any]:
    """The metadata of a record, and what fields it has beside them; these win."""
    values = {name: value for name, value in metadata.items() if value is not None}
    for name, value in fields.items():
        if value is None:
            continue
        if name in values and not np.array_equal(values[name], value):
            taken.leave(name, "in the metadata, of another value than the field")
        values[name] = value
    kept = {}
    for name, value in values.items():
        if name in INTERNAL:
            taken.leave(name, "internal to the framework")
        elif isinstance(value, bytes | memoryview | np.ndarray):
            taken.leave(name, "no metadata")
        elif isinstance(value, dict) and value.keys() == {"indices", "values"}:
            taken.leave(name, "a sparse vector")
        else:
            try:
                kept[name] = plain(value)
            except (TypeError, ValueError):
                taken.leave(name, "JSON cannot hold it")
                continue
            taken.taken.setdefault(name, "metadata")
    return kept


def plain(value: Any) -> Any:
    """The value as JSON holds it; raises TypeError, and ValueError for NaN and infinities."""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    json.dumps(value, allow_nan=False)
    return value


def single(found: Iterable[Piece | Failure]) -> Iterator[EmbeddedDocument | Failure]:
    """Each piece as a document of its own, under its id."""
    for piece in found:
        yield piece if isinstance(piece, Failure) else together(piece.id, [piece], {})


def together(uri: str, members: list[Piece], metadata: Mapping[str, Any]) -> EmbeddedDocument:
    """Pieces as the chunks of one document; ``metadata`` instead of theirs if there are several."""
    return EmbeddedDocument(
        uri=uri,
        tenant_id=members[0].tenant,
        metadata=metadata if len(members) > 1 else members[0].metadata,
        chunks=[
            EmbeddedChunk(
                content=piece.content,
                embedding=piece.vector,
                place=piece.place if piece.id == uri else f"{piece.place} (id {piece.id!r})",
            )
            for piece in members
        ],
    )
