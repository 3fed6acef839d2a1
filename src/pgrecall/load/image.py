"""Image files: for embedders that take images, a thumbnail and what it shows; with OCR, the text in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pgrecall.load.clean import one_line
from pgrecall.load.pages import join_pages, listed
from pgrecall.load.source import OpenFile
from pgrecall.pictures import thumbnail
from pgrecall.types import Document

SUFFIXES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".bmp": "image/bmp",
}
#: Why an image is not taken.
REFUSED = (
    "The file is not text but an image; leave it out, recognise its text (--ocr eng), or ingest it into "
    "a collection whose embedder takes images, such as sentence-transformers:clip-ViT-B-32."
)
_STARTS = (
    (b"\x89PNG\r\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)


def load(file: OpenFile) -> Iterator[Document]:
    """One document: the image for an embedder that takes images, else its text; nothing if it has none.

    Raises UnreadableSource, MissingExtra.
    """
    if file.options.images:
        yield _shown(file)
    elif file.options.ocr is not None:
        yield from _read(file, file.options.ocr)


def kind(head: bytes) -> str | None:
    """The suffix that a file with these first bytes should have; None if it is no image."""
    if head.startswith(b"RIFF") and head.startswith(b"WEBP", 8):
        return ".webp"
    if head.startswith(b"BM") and head[6:10] == bytes(4):
        return ".bmp"
    return next((suffix for start, suffix in _STARTS if head.startswith(start)), None)


def _shown(file: OpenFile) -> Document:
    """The picture; its text is the description in the file, if there is one, and the file's name."""
    picture = thumbnail(file.read())
    name = re.sub(r"[\W_]+", " ", file.stem).strip() or file.name
    text = "\n".join(filter(None, (one_line(picture.description), name)))
    size = {"width": picture.width, "height": picture.height}
    made = file.document(text, title=name, markup="plain", metadata=size)
    return replace(made, media=picture.data)


def _read(file: OpenFile, languages: str) -> Iterator[Document]:
    from pgrecall.load.ocr import Recogniser, pages_of

    reader = Recogniser(languages, file.options.ocr_seconds)
    scans = enumerate(pages_of(file.read()), start=1)
    text, pages = join_pages(reader.text(scan, number) for number, scan in scans)
    if reader.skipped:
        file.notes.append(f"skipped pages that took OCR too long: {listed(reader.skipped)}")
    if text:
        file.notes.append("recognised by OCR")
        yield file.document(
            text, title=file.stem, markup="plain", pages=pages if len(pages) > 1 else ()
        )
