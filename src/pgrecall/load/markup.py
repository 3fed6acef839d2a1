"""What the chunker may rely on in a text whose document does not say."""

from __future__ import annotations

from pgrecall.load import code, markdown
from pgrecall.load.source import suffix_of
from pgrecall.types import Document, Markup


def markup_of(document: Document) -> Markup:
    """The document's own markup, else the one that its mime type or its uri's suffix stands for."""
    if document.markup is not None:
        return document.markup
    suffix = suffix_of(document.uri)
    if document.mime_type == "text/markdown" or suffix in markdown.SUFFIXES:
        return "markdown"
    return "code" if suffix in code.SUFFIXES else "plain"
