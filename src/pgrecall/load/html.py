"""HTML as readable text: its structure written as Markdown, its boilerplate left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pgrecall.errors import UnreadableSource
from pgrecall.load.clean import one_line
from pgrecall.load.htmlevents import Events
from pgrecall.load.htmlpage import Page
from pgrecall.load.sniff import decode
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

SUFFIXES = dict.fromkeys((".html", ".htm", ".xhtml", ".shtml"), "text/html")

_CHARSET = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,300}?(?:charset|encoding)\s*=\s*["']?\s*([\w.:-]+)""", re.I
)


def load(file: OpenFile) -> Iterator[Document]:
    """One document. Raises UnreadableSource if no text is left."""
    page = render(_markup(file))
    text = page.text()
    if not text:
        raise UnreadableSource("The page has no text; it may be filled in by a script.")
    title = page.title or page.heading or file.stem
    metadata = {name: one_line(value, 1_000) for name, value in page.meta.items()}
    yield file.document(text, title=one_line(title), markup="markdown", metadata=metadata)


def render(markup: str) -> Page:
    """The readable parts of a page; takes time in proportion to its length, however deep it nests.

    Raises UnreadableSource.
    """
    from lxml import etree

    events = Events()
    target: Any = events  # the stubs ask for a target that takes bytes too; lxml gives str
    # A target instead of a tree: the tree parser drops what is nested more than 2,048 deep.
    parser = etree.HTMLParser(target=target, encoding="utf-8", huge_tree=True)
    try:
        parser.feed(markup.replace("\0", "").encode("utf-8", "replace"))
        parser.close()
    except etree.LxmlError as exc:
        raise UnreadableSource(
            "The page is no HTML that can be parsed; open and save it again."
        ) from exc
    return events.writer.page


def _markup(file: OpenFile) -> str:
    data = file.read()
    encoding = file.options.encoding
    if encoding is None and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        encoding = _declared(data)
    text, notes = decode(data, encoding)
    file.notes.extend(notes)
    return text


def _declared(data: bytes) -> str | None:
    """The encoding that the page names, if it is one and the page is in it."""
    found = _CHARSET.search(data, 0, 4096)
    if found is None or found[1].lower() in (b"utf-8", b"utf8"):
        return None
    # Browsers read Latin-1 and ASCII as Windows-1252 (the WHATWG encoding standard).
    name = found[1].decode("ascii").lower()
    name = "cp1252" if name in ("iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii") else name
    try:
        data.decode(name)
    except (LookupError, UnicodeError, ValueError):
        return None
    return name
