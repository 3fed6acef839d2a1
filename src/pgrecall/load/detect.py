"""The language of a document, found out from its text (CLD2; the extra ``languages``)."""

from __future__ import annotations

import re
from dataclasses import replace

from pgrecall.errors import MissingExtra
from pgrecall.load.languages import configuration
from pgrecall.load.markup import markup_of
from pgrecall.longtext import parts_of
from pgrecall.types import Document

#: What is looked at: pieces of this many characters from the beginning, the middle and the end. More makes
#: it slower, and hardly better (docs/retrieval.md).
PIECE = 400
#: Fewer characters of prose than this say nothing.
LEAST = 20
_FENCED = re.compile(r"^(```|~~~).*?(?:^\1|\Z)", re.M | re.S)
#: A line of four words, or of a script that writes no spaces; no row of a table, nor indented code.
_PROSE = re.compile(
    r"^(?!\||\t| {4}).*?(?:(?:[^\W\d_]+[^\w\n]+){3}[^\W\d_]|[\u0e00-\u0eff\u3040-\u9fff]{4}).*",
    re.M,
)
#: Control characters and what is no character, which CLD2 refuses.
_REFUSED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def with_language(document: Document) -> Document:
    """The document with its language as a text search configuration, if that can be told.

    Source code, tables, data, and what is too short or mixed keep None: the collection's. A language that
    Postgres does not know is "simple". Raises MissingExtra.
    """
    if document.language is not None or markup_of(document) == "code":
        return document
    # A long text is one language: its first part says which.
    beginning = next(iter(parts_of(document)), "")
    return replace(document, language=language_of(beginning))


def language_of(text: str) -> str | None:
    """The text search configuration for a text; None where its language is not clear.

    Raises MissingExtra.
    """
    try:
        import pycld2
    except ImportError as exc:
        raise MissingExtra("Finding out languages", "languages") from exc
    prose = _prose(text)
    if len(prose) < LEAST:
        return None
    try:
        reliable, _, ((_, code, share, _), *_) = pycld2.detect(prose, bestEffort=True)
    except pycld2.error:
        # A character beyond what it knows of Unicode.
        return None
    if not reliable or code == "un" or share < 60:
        return None
    return configuration(code) or "simple"


def _prose(text: str) -> str:
    middle = max(0, len(text) // 2 - PIECE)
    pieces = (
        [text]
        if len(text) <= 6 * PIECE
        else [text[: 2 * PIECE], text[middle : middle + 2 * PIECE], text[-2 * PIECE :]]
    )
    lines = (
        "\n".join(match[0] for match in _PROSE.finditer(_FENCED.sub("", piece)))[:PIECE]
        for piece in pieces
    )
    return _REFUSED.sub(" ", "\n".join(lines))
