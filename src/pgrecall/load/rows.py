"""Rows that are documents: which field is the text, the title, the name; what is metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pgrecall.errors import UnreadableSource
from pgrecall.load.source import OpenFile
from pgrecall.types import Document, Failure

TEXT_FIELDS = ("text", "content", "body")
ID_FIELDS = ("uri", "url", "_id", "id")
#: Longer values are left out of the metadata unless asked for: each chunk carries a copy of it.
MAX_VALUE = 1_000
#: After so many broken rows a file is taken to be something else.
MAX_BROKEN = 1_000

#: A row and the line it begins on, or what is wrong with the row at that line.
Row = tuple[int, Mapping[str, Any] | str]


def documents(file: OpenFile, rows: Iterable[Row]) -> Iterator[Document | Failure]:
    """A document for each row, a failure for each broken one. Raises UnreadableSource."""
    broken = number = 0
    for number, (line, row) in enumerate(rows, start=1):
        try:
            yield _document(file, row, number)
        except UnreadableSource as exc:
            yield Failure(uri=f"{file.uri}#{number}", reason=f"Line {line}: {exc}")
            broken += 1
        if broken > MAX_BROKEN:
            raise UnreadableSource(
                f"More than {MAX_BROKEN:,} rows are broken; the rest was not read."
            )
    if number == 0:
        raise UnreadableSource("The file is empty.")


def _document(file: OpenFile, row: Mapping[str, Any] | str, number: int) -> Document:
    if isinstance(row, str):
        raise UnreadableSource(row)
    options = file.options
    text_key = field_of(row, options.text_field, TEXT_FIELDS)
    title_key = field_of(row, options.title_field, ("title",))
    id_key = field_of(row, options.id_field, ID_FIELDS)
    text = _lines(row) if text_key is None else plain(row[text_key])
    if not text or text.isspace():
        raise UnreadableSource("the row has no text.")
    title = plain(row[title_key]) if title_key else ""
    used = {text_key, title_key, id_key}
    metadata, notes = metadata_of(row, used, options.metadata_fields)
    return Document(
        uri=_uri(file.uri, row.get(id_key) if id_key else None, number),
        text=text.replace("\r\n", "\n").replace("\r", "\n"),
        title=title or None,
        metadata={**metadata, **options.metadata},
        tenant_id=options.tenant_id,
        mime_type="text/plain",
        markup=None,
        language=options.said_language,
        notes=(*file.notes, *notes),
        source=file.uri,
    )


def field_of(row: Mapping[str, Any], wanted: str | None, usual: Iterable[str]) -> str | None:
    """The field that is wanted, else the first usual one; raises UnreadableSource if it is not there."""
    if wanted is not None:
        if wanted not in row:
            raise UnreadableSource(f"the row has no field {wanted!r}; it has {_names(row)}.")
        return wanted
    lower = {name.lower(): name for name in reversed(list(row))}
    return next((lower[name] for name in usual if name in lower), None)


def _names(row: Mapping[str, Any]) -> str:
    names = [repr(name[:40]) for name in row]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "none"


def _uri(base: str, name: object, number: int) -> str:
    written = plain(name).strip()
    if "://" in written:
        return written
    return f"{base}#{written or number}"


def _lines(row: Mapping[str, Any]) -> str:
    """All fields of a row that has no field for its text, as ``name: value`` lines."""
    written = ((name, plain(value)) for name, value in row.items())
    return "\n".join(f"{name}: {value}" for name, value in written if value.strip())


def plain(value: object) -> str:
    """A value as text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def metadata_of(
    row: Mapping[str, Any], used: set[str | None], wanted: tuple[str, ...] | None
) -> tuple[dict[str, Any], list[str]]:
    """(the fields that become metadata, notes on what was left out)"""
    if wanted is not None:
        return {name: row[name] for name in wanted if name in row}, []
    metadata: dict[str, Any] = {}
    notes: list[str] = []
    for name, value in row.items():
        if name in used or value is None or value == "":
            continue
        if isinstance(value, str) and len(value) > MAX_VALUE:
            notes.append(f"left {name[:80]!r} out of the metadata: over {MAX_VALUE:,} characters")
        elif name == "metadata" and isinstance(value, Mapping):
            metadata.update(value)
        else:
            metadata[name] = value
    return metadata, notes
