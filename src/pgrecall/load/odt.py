"""OpenDocument texts (odt): headings, paragraphs, lists and tables as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from lxml import etree

from pgrecall.errors import UnreadableSource
from pgrecall.load.clean import one_line
from pgrecall.load.htmltable import table
from pgrecall.load.package import open_package
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

SUFFIXES = {".odt": "application/vnd.oasis.opendocument.text"}
_TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_TABLE = "{urn:oasis:names:tc:opendocument:xmlns:table:1.0}"
_BLANKS = {_TEXT + "tab": "\t", _TEXT + "line-break": "\n", _TEXT + "s": " "}
#: What is not part of the text where it stands.
_SKIPPED = frozenset((_TEXT + "tracked-changes", _TEXT + "sequence-decls", _TEXT + "bookmark"))


def load(file: OpenFile) -> Iterator[Document]:
    """One document. Raises UnreadableSource."""
    with open_package(file) as package:
        if b"manifest:encryption-data" in package.read("META-INF/manifest.xml"):
            raise UnreadableSource("The document is protected by a password; remove it.")
        blocks = list(_blocks(package.xml("content.xml")))
        title = _title(package.xml("meta.xml")) if "meta.xml" in package.names else ""
    text = "\n\n".join(block for block in blocks if block)
    if not text:
        raise UnreadableSource("The document has no text.")
    yield file.document(text, title=title or file.stem, markup="markdown")


def _title(meta: etree._Element) -> str:
    return one_line(meta.findtext(".//{http://purl.org/dc/elements/1.1/}title") or "")


def _blocks(root: etree._Element) -> Iterator[str]:
    """The blocks in order, by a walk that needs no recursion."""
    walk = etree.iterwalk(root, events=("start", "end"))
    depth = 0
    for event, element in walk:
        tag = element.tag
        if tag == _TEXT + "list":
            depth += 1 if event == "start" else -1
        elif event == "start" and tag in _SKIPPED:
            walk.skip_subtree()
        elif event == "start" and tag == _TABLE + "table":
            walk.skip_subtree()
            yield _table(element)
        elif event == "start" and tag in (_TEXT + "p", _TEXT + "h"):
            walk.skip_subtree()
            yield _paragraph(element, depth)


def _paragraph(element: etree._Element, depth: int) -> str:
    text = _plain(element).strip()
    if not text:
        return ""
    if element.tag == _TEXT + "h":
        level = element.get(_TEXT + "outline-level", "1")
        rank = min(int(level), 6) if level.isdecimal() and len(level) < 4 else 1
        return f"{'#' * max(rank, 1)} {' '.join(text.split())}"
    return "  " * min(depth - 1, 8) + "- " + text if depth else text


def _plain(element: etree._Element) -> str:
    parts: list[str] = []
    for event, node in etree.iterwalk(element, events=("start", "end")):
        if event == "start":
            parts.append(_BLANKS.get(str(node.tag), ""))
            parts.append(node.text or "")
        elif node is not element:
            parts.append(node.tail or "")
    return "".join(parts)


def _table(element: etree._Element) -> str:
    rows = []
    for row in element.iter(_TABLE + "table-row"):
        cells = [_plain(cell).strip() for cell in row.iter(_TABLE + "table-cell")]
        rows.append([[cell] if cell else [] for cell in cells])
    written = table(rows)
    return written or "\n\n".join(text for row in rows for cell in row for text in cell)
