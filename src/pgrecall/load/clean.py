"""Make a document storable: no NUL, no lone surrogate, metadata that is JSON.

Postgres stores neither NUL nor lone surrogates in text and jsonb, and jsonb has no NaN.
"""

from __future__ import annotations

import datetime as dt
import math
import numbers
import re
from bisect import bisect_left
from collections.abc import Mapping, Set
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from pathlib import PurePath
from typing import Any, get_args
from uuid import UUID

from pgrecall.errors import InvalidArgument
from pgrecall.types import Document, Markup
from pgrecall.types.documents import LONGEST_TENANT, LONGEST_URI

#: Metadata is copied to every chunk, so it has bounds; they also stop aliases that multiply.
MAX_DEPTH = 32
MAX_VALUES = 10_000
#: Digits beyond which a whole number is refused (Python itself stops at 4,300).
MAX_DIGITS = 1_000

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_document(document: Document) -> Document:
    """The document, ready to be stored; ``notes`` say what had to change.

    Raises InvalidArgument if a field has the wrong type, or metadata holds what JSON cannot.
    """
    _check_strings(document)
    pages = _checked_pages(document)
    cleaner = Cleaner()
    text = cleaner.text(document.text)
    if pages and len(text) != len(document.text):
        pages = _shift(pages, document.text)
    uri = cleaner.text(document.uri).strip()
    if not uri:
        raise InvalidArgument("The document has no uri; give it a name that stays the same.")
    tenant_id = cleaner.text(document.tenant_id)
    _check_length("uri", uri, LONGEST_URI)
    _check_length("tenant_id", tenant_id, LONGEST_TENANT)
    title = one_line(cleaner.text(document.title)) if document.title else None
    metadata = cleaner.metadata(document.metadata)
    if document.media is not None:
        metadata = {"image": document.mime_type, **metadata}
        text = text if text.strip() else uri
    return replace(
        document,
        uri=uri,
        text=text,
        title=title or None,
        metadata=metadata,
        tenant_id=tenant_id,
        pages=pages,
        notes=(*document.notes, *cleaner.notes()),
    )


def one_line(text: str, limit: int = 500) -> str:
    """The text on one line, white space collapsed, at most ``limit`` characters."""
    return " ".join(text[: 4 * limit].split())[:limit]


class Cleaner:
    """Cleans texts and values, and counts what it changed."""

    def __init__(self) -> None:
        self._nuls = self._surrogates = self._not_numbers = self._values = 0

    def text(self, text: str) -> str:
        """The text without NUL characters and lone surrogates."""
        if "\0" in text:
            self._nuls += text.count("\0")
            text = text.replace("\0", "")
        if text.isascii() or _encodable(text):
            return text
        text, removed = _UNSTORABLE.subn("", text)
        self._surrogates += removed
        return text

    def metadata(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """The metadata as plain JSON values. Raises InvalidArgument, naming the key."""
        if not isinstance(metadata, Mapping):
            raise InvalidArgument(f"Metadata must be a mapping, not {type(metadata).__name__}.")
        return self._mapping(metadata, "", 0)

    def notes(self) -> list[str]:
        """What was changed, in words."""
        counts = [
            (self._nuls, "removed {} NUL character"),
            (self._surrogates, "removed {} lone surrogate"),
            (self._not_numbers, "set {} NaN or infinite number of the metadata to null"),
        ]
        return [_counted(pattern, count) for count, pattern in counts if count]

    def _mapping(self, mapping: Mapping[Any, Any], path: str, depth: int) -> dict[str, Any]:
        cleaned: dict[str, Any] = {}
        for key, value in mapping.items():
            name = self._key(key, path)
            here = f"{path}.{name}" if path else name
            cleaned[name] = self._value(value, here, depth + 1)
        return cleaned

    def _key(self, key: object, path: str) -> str:
        if isinstance(key, dt.date | dt.time):
            return key.isoformat()
        if isinstance(key, str):
            return self.text(key)
        if isinstance(key, int | float | bool | None):
            return str(key)
        where = f" under {path!r}" if path else ""
        raise InvalidArgument(f"A metadata key{where} is a {type(key).__name__}; use text.")

    def _value(self, value: object, path: str, depth: int) -> Any:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise InvalidArgument(
                f"Metadata {_short(path)!r} is too large: at most {MAX_VALUES:,} values, "
                f"nested {MAX_DEPTH} deep; put it into the text."
            )
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return self._mapping(value, path, depth)
        if isinstance(value, list | tuple | Set):
            items = sorted(value, key=repr) if isinstance(value, Set) else value
            return [self._value(item, path, depth + 1) for item in items]
        return self._scalar(value, path)

    def _scalar(self, value: object, path: str) -> str | int | float | None:
        if isinstance(value, dt.date | dt.time):
            return value.isoformat()
        if isinstance(value, UUID | PurePath):
            return self.text(str(value))
        if isinstance(value, numbers.Integral):
            return _whole(int(value), path)
        if isinstance(value, Decimal | numbers.Real):
            return self._number(value, path)
        raise InvalidArgument(
            f"Metadata {_short(path)!r} is a {type(value).__name__}, which JSON cannot hold; "
            "convert it to text, numbers, lists or mappings."
        )

    def _number(self, value: Decimal | numbers.Real, path: str) -> int | float | None:
        number = _to_float(value)
        if not math.isfinite(number):
            self._not_numbers += 1
            return None
        if isinstance(value, Decimal) and value == value.to_integral_value():
            return _whole(int(value), path)
        return number


def _check_strings(document: Document) -> None:
    for name in ("uri", "text", "tenant_id", "mime_type"):
        value = getattr(document, name)
        if not isinstance(value, str):
            raise InvalidArgument(f"{name} must be text, not {type(value).__name__}.")
    for name in ("title", "language"):
        value = getattr(document, name)
        if not isinstance(value, str | None):
            raise InvalidArgument(f"{name} must be text or None, not {type(value).__name__}.")
    if document.markup not in (None, *get_args(Markup)):
        raise InvalidArgument(f"markup is plain, markdown or code, not {document.markup!r}.")


def _check_length(name: str, value: str, most: int) -> None:
    size = len(value.encode())
    if size > most:
        raise InvalidArgument(f"The {name} has {size:,} bytes, more than {most:,}; shorten it.")


def _checked_pages(document: Document) -> tuple[int, ...]:
    pages = document.pages
    if isinstance(pages, list | tuple) and all(isinstance(page, int) for page in pages):
        bounds = (0, *pages, len(document.text))
        if all(before <= after for before, after in pairwise(bounds)):
            return tuple(pages)
    raise InvalidArgument("pages must be ascending offsets of the text, one for each page.")


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _shift(pages: tuple[int, ...], text: str) -> tuple[int, ...]:
    """Page offsets after the unstorable characters of the text are gone."""
    removed = [match.start() for match in _UNSTORABLE.finditer(text)]
    return tuple(page - bisect_left(removed, page) for page in pages)


def _to_float(value: Decimal | numbers.Real) -> float:
    try:
        return float(value)
    except (OverflowError, ValueError):  # a signalling NaN, or a fraction too large
        return math.nan


def _whole(value: int, path: str) -> int:
    # log10(2) = 0.301: digits from bits, since str() itself refuses very long numbers.
    if value.bit_length() * 0.301 > MAX_DIGITS:
        raise InvalidArgument(f"Metadata {_short(path)!r} has more than {MAX_DIGITS:,} digits.")
    return value


def _counted(pattern: str, count: int) -> str:
    words = pattern.format(f"{count:,}")
    if count == 1:
        return words
    return words.replace(" of the", "s of the") if " of the" in words else words + "s"


def _short(path: str) -> str:
    return path if len(path) <= 80 else path[:77] + "..."
