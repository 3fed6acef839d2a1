"""Plain text."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from pgrecall.errors import UnreadableSource
from pgrecall.load.clean import Cleaner
from pgrecall.load.sniff import decode, decoding_notes, detect_stream, for_parts, not_in
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
    text = content(file)
    document = file.document("", title=title, markup=markup, metadata=metadata)
    return with_text(document, text)


def content(file: OpenFile) -> str | LongText:
    """The decoded content: of a long file, on disk. Raises UnreadableSource if there is none."""
    file.check_size()
    if file.size <= LONG:
        return read_text(file)
    text = _long_text(file)
    if text.blank:
        raise UnreadableSource("The file is empty.")
    return text


def with_text(document: Document, text: str | LongText) -> Document:
    """The document with its text, wherever that is."""
    if isinstance(text, str):
        return replace(document, text=text)
    values = {field.name: getattr(document, field.name) for field in fields(document)}
    return LongDocument(**values, long=text)


def _long_text(file: OpenFile) -> LongText:
    """As ``read_text``, part by part, without what cannot be stored."""
    given = file.options.encoding
    found = detect_stream(file.stream, given)
    plain = not given and found.startswith("utf-8")
    encoding = "utf-8-sig" if plain else for_parts(found, file.head)
    try:
        return _decoded(file, encoding, [] if given else decoding_notes(found, broken=False))
    except (UnicodeError, ValueError) as exc:
        if given:
            raise not_in(given) from exc
    return _decoded(file, encoding, decoding_notes(found, broken=True), errors="replace")


def _decoded(
    file: OpenFile, encoding: str, notes: Sequence[str], *, errors: str = "strict"
) -> LongText:
    file.stream.seek(0)
    cleaner = Cleaner()
    reader = io.TextIOWrapper(file.stream, encoding=encoding, errors=errors)
    try:
        long = LongText(cleaner.text(part) for part in iter(lambda: reader.read(_BLOCK), ""))
    finally:
        reader.detach()
    file.notes.extend([*notes, *cleaner.notes()])
    return long


def read_text(file: OpenFile) -> str:
    """The decoded content. Raises UnreadableSource if there is none."""
    text, notes = decode(file.read(), file.options.encoding)
    file.notes.extend(notes)
    if not text or text.isspace():
        raise UnreadableSource("The file is empty.")
    return text
