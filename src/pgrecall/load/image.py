"""Image files, for embedders that take images: a thumbnail, and a text that names what it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from pgrecall.load.clean import one_line
from pgrecall.load.source import OpenFile
from pgrecall.pictures import thumbnail
from pgrecall.types import Document

SUFFIXES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
}
#: Why an image is not taken.
REFUSED = (
    "The file is not text but an image; leave it out, or ingest it into a collection whose embedder takes "
    "images, such as sentence-transformers:clip-ViT-B-32."
)


def load(file: OpenFile) -> Iterator[Document]:
    """One document: its text is the description in the file, if there is one, and the file's name.

    Raises UnreadableSource, MissingExtra.
    """
    picture = thumbnail(file.read())
    name = re.sub(r"[\W_]+", " ", file.stem).strip() or file.name
    text = "\n".join(filter(None, (one_line(picture.description), name)))
    size = {"width": picture.width, "height": picture.height}
    made = file.document(text, title=name, markup="plain", metadata=size)
    yield replace(made, media=picture.data)


def kind(head: bytes) -> str | None:
    """The suffix that a file with these first bytes should have; None if it is no image."""
    if head.startswith(b"RIFF") and head.startswith(b"WEBP", 8):
        return ".webp"
    starts = ((b"\x89PNG\r\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF8", ".gif"))
    return next((suffix for start, suffix in starts if head.startswith(start)), None)
