"""Rich text (rtf) as plain text. Needs the extra "office"."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pgrecall.errors import MissingExtra, UnreadableSource
from pgrecall.load.clean import one_line
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

SUFFIXES = {".rtf": "application/rtf"}


def load(file: OpenFile) -> Iterator[Document]:
    """One document. Raises UnreadableSource, MissingExtra."""
    try:
        from striprtf import striprtf
    except ModuleNotFoundError as exc:
        raise MissingExtra("Reading .rtf files", "office") from exc
    convert: Any = striprtf.rtf_to_text  # it has no annotations
    data = file.read()
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableSource("The file is no rich text, though its name says so.")
    try:
        text = str(convert(data.decode("latin-1"), errors="replace")).strip()
    except (ValueError, LookupError, TypeError, OverflowError) as exc:
        detail = one_line(str(exc), 120)
        raise UnreadableSource(f"The document is broken ({detail}); save it again.") from exc
    if not text:
        raise UnreadableSource("The document has no text.")
    yield file.document(text, title=file.stem, markup="plain")
