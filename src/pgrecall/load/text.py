"""Plain text."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from pgrecall.errors import UnreadableSource
from pgrecall.load.clean import Cleaner
from pgrecall.load.sniff import decode, detect_stream
from pgrecall.load.source import OpenFile
from pgrecall.longtext import LongDocument, LongText
from pgrecall.types import Document, Markup

#: Bytes from which a file is not held in memory, and characters that are read of it at once.
LONG, _BLOCK = 2_000_000, 1 << 18

SUFFIXES = dict.fromkeys((".txt", ".text", ".log", ".me", ".nfo"), "text/plain") | {
    ".rst": "text/x-rst",
    ".adoc": "text/asciidoc",
    ".asciidoc": "text/asciidoc",
    ".org": "text/org",
    ".tex": "text/x-tex",
    ".srt": "application/x-subrip",
    ".vtt": "text/vtt",
}


def load(file: OpenFile) -> Iterator[Document]:
    """One document: the text as it is. Raises UnreadableSource."""
    yield text_document(file, title=file.stem, markup="plain")


def text_document(
    file: OpenFile, *, title: str, markup: Markup, metadata: Mapping[str, Any] | None = None
) -> Document:
    """The text of a file as it is; a long one stays on disk, and is read in parts.

    Raises UnreadableSource.
    """
    file.check_size()
    long = _long_text(file) if file.size > LONG else None
    text = "" if long else read_text(file)
    document = file.document(text, title=title, markup=markup, metadata=metadata)
    if long is None:
        return document
    values = {field.name: getattr(document, field.name) for field in fields(document)}
    return LongDocument(**values, long=long)


def _long_text(file: OpenFile) -> LongText | None:
    """The content of a file in UTF-8, without what cannot be stored; None in any other encoding."""
    if not detect_stream(file.stream, file.options.encoding).lower().startswith("utf-8"):
        return None
    cleaner = Cleaner()
    reader = io.TextIOWrapper(file.stream, encoding="utf-8-sig")
    try:
        long = LongText(cleaner.text(part) for part in iter(lambda: reader.read(_BLOCK), ""))
    except UnicodeDecodeError:
        return None
    finally:
        reader.detach()
    if long.blank:
        raise UnreadableSource("The file is empty.")
    file.notes.extend(cleaner.notes())
    return long


def read_text(file: OpenFile) -> str:
    """The decoded content. Raises UnreadableSource if there is none."""
    text, notes = decode(file.read(), file.options.encoding)
    file.notes.extend(notes)
    if not text or text.isspace():
        raise UnreadableSource("The file is empty.")
    return text
