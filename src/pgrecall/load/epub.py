"""Books (epub): the chapters in reading order, as Markdown."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from urllib.parse import unquote

from lxml import etree

from pgrecall.errors import UnreadableSource
from pgrecall.load.clean import one_line
from pgrecall.load.html import render
from pgrecall.load.package import Package, open_package
from pgrecall.load.sniff import decode
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

SUFFIXES = {".epub": "application/epub+zip"}
_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def load(file: OpenFile) -> Iterator[Document]:
    """One document. Raises UnreadableSource if it is broken, protected or without text."""
    with open_package(file) as package:
        book = _root_file(package)
        root = package.xml(book)
        metadata = _metadata(root)
        chapters = list(_chapters(package, root, posixpath.dirname(book)))
        texts = [render(decode(package.read(name))[0]).text() for name in chapters]
    text = "\n\n".join(text for text in texts if text)
    if not text:
        raise UnreadableSource("The book has no text; if it holds pictures, run OCR on it first.")
    title = metadata.pop("title", None) or file.stem
    yield file.document(text, title=title, markup="markdown", metadata=metadata)


def _root_file(package: Package) -> str:
    for element in package.xml(_CONTAINER).iter("{*}rootfile"):
        path = element.get("full-path")
        if path:
            return str(path)
    raise UnreadableSource("The book is broken (it names no content); export it again.")


def _chapters(package: Package, root: etree._Element, folder: str) -> Iterator[str]:
    """The names of the pages in reading order, each once."""
    items = {str(item.get("id")): item for item in root.iter("{*}manifest/{*}item", "{*}item")}
    encrypted = _encrypted(package)
    seen: set[str] = set()
    for reference in root.iter("{*}itemref"):
        item = items.get(str(reference.get("idref")))
        if item is None or item.get("media-type") not in _PAGES or item.get("href") is None:
            continue
        href = unquote(str(item.get("href")).partition("#")[0])
        name = posixpath.normpath(posixpath.join(folder, href))
        if name in encrypted:
            raise UnreadableSource("The book is protected (DRM); only its reader can open it.")
        if name in package.names and name not in seen:
            seen.add(name)
            yield name


def _encrypted(package: Package) -> set[str]:
    """Parts that are encrypted; fonts often are, which is no matter."""
    if _ENCRYPTION not in package.names:
        return set()
    found = package.xml(_ENCRYPTION).iter("{*}CipherReference")
    return {unquote(str(element.get("URI"))) for element in found}


def _metadata(root: etree._Element) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for tag, key in (("title", "title"), ("creator", "author"), ("language", "lang")):
        element = next(root.iter("{http://purl.org/dc/elements/1.1/}" + tag), None)
        value = one_line("".join(map(str, element.itertext()))) if element is not None else ""
        if value:
            metadata[key] = value
    return metadata
