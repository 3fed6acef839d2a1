"""Lines of a printed page, made paragraphs again."""

from __future__ import annotations

import re

_HYPHEN = re.compile(r"[^\W\d_]{2}[-\u2010\u00ad]$")
_SOFT_HYPHEN = "\u00ad"
_LIST_ITEM = re.compile(
    r"^(?:[-*•‣◦▪·\u2013\u2014]\s|\(?(?:\d{1,3}|[a-z]|[ivx]{1,4})[.)]\s|\d{1,2}(?:\.\d{1,2})+\s)",
    re.I,
)
_SENTENCE_END = re.compile(r"[.!?:;…\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*$")
#: A line that is shorter than this part of the page's usual line ends its paragraph.
_FULL_LINE = 0.75
#: Pages whose usual line is shorter are tables, verse or slides: their lines stay.
_MIN_WIDTH = 40


def paragraphs(page: str) -> str:
    """The text with the lines of a paragraph joined and cut words made whole.

    A line is joined to the next one only if it is about as long as the page is wide; headings, list
    items, tables and short lines keep their line ends.
    """
    lines = [" ".join(line.split()) for line in page.replace("\r", "\n").split("\n")]
    width = _usual_width(lines)
    parts: list[str] = []
    previous = ""
    for line in lines:
        if not parts or not _continues(previous, line, width):
            parts += ["\n", line]
        elif hyphen := _HYPHEN.search(previous):
            parts[-1] = _joined(parts[-1], hyphen[0][-1], line)
        else:
            parts += [" ", line]
        previous = line
    return re.sub(r"\n{3,}", "\n\n", "".join(parts).replace(_SOFT_HYPHEN, "")).strip()


def _joined(line: str, hyphen: str, following: str) -> str:
    """Two lines with a word cut between them; a hyphen that is part of the word stays."""
    compound = "-" in line.rsplit(" ", 1)[-1][:-1] or "-" in following.split(" ", 1)[0]
    whole = following[0].islower() and not (compound and hyphen == "-")
    return (line[:-1] if whole else line) + following


def _usual_width(lines: list[str]) -> int:
    """The length that a quarter of the written lines reach."""
    lengths = sorted((len(line) for line in lines if line), reverse=True)
    return lengths[len(lengths) // 4] if lengths else 0


def _continues(line: str, following: str, width: int) -> bool:
    if not line or not following or width < _MIN_WIDTH or _LIST_ITEM.match(following):
        return False
    if _HYPHEN.search(line) and following[0].islower():
        return True
    if len(line) < _FULL_LINE * width:
        return False
    # A sentence ends, and the next word would have fitted into the line: a new paragraph.
    fits = len(line) + 1 + len(following.split(" ", 1)[0]) < width
    return not (_SENTENCE_END.search(line) and fits)
