"""Plain text."""

from __future__ import annotations

from collections.abc import Iterator

from pgrecall.errors import UnreadableSource
from pgrecall.load.sniff import decode
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

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
    yield file.document(read_text(file), title=file.stem, markup="plain")


def read_text(file: OpenFile) -> str:
    """The decoded content. Raises UnreadableSource if there is none."""
    text, notes = decode(file.read(), file.options.encoding)
    file.notes.extend(notes)
    if not text or text.isspace():
        raise UnreadableSource("The file is empty.")
    return text
