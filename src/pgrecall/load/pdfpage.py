"""The lines of a PDF page, with what their letters look like: how high, and where the gaps are."""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import pypdfium2.raw as pdfium
from pypdfium2 import PdfiumError

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfTextPage

#: Words further apart than so many heights of a letter stand in different cells of a table.
_GAP = 1.2
_LINE_END = re.compile(r"\r\n|\r|\n")
_CUT = "\ufffe"
_SPACES = re.compile(r"[ \t\xa0]+")
#: Pages that claim more characters are not looked at letter by letter.
_MAX_CHARACTERS = 200_000
#: Scans may be cut into strips; more of them are something else.
_MAX_PICTURES = 1_000


Cell = tuple[float, float, str]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page."""

    text: str
    #: Height of its letters in points, to half a point; 0: not known.
    height: float = 0.0
    #: The cells that wide gaps divide the line into: left edge, right edge (points), text.
    cells: tuple[Cell, ...] = ()


def lines_of(document: PdfDocument, index: int) -> list[Line]:
    """The lines of a page. Raises PdfiumError if the page is broken."""
    page = document[index]
    try:
        text_page = page.get_textpage()
        try:
            return _lines(text_page)
        finally:
            text_page.close()
    finally:
        page.close()


def shows_pictures(document: PdfDocument, index: int) -> bool:
    """Whether pictures cover more than half of a page: it is scanned, or a plate."""
    page = document[index]
    try:
        width, height = page.get_size()
        covered = 0.0
        for picture in islice(page.get_objects([pdfium.FPDF_PAGEOBJ_IMAGE], 3), _MAX_PICTURES):
            left, bottom, right, top = picture.get_bounds()
            covered += abs(right - left) * abs(top - bottom)
        return bool(covered > width * height / 2)
    except PdfiumError:
        return False
    finally:
        page.close()


def _lines(page: PdfTextPage) -> list[Line]:
    text = page.get_text_range(errors="replace")
    # Offsets are those of the letters only if each letter is one character.
    exact = len(text) == page.count_chars() <= _MAX_CHARACTERS
    look = _Look(page) if exact else None
    lines: list[Line] = []
    start = 0
    for end, following in [*((m.start(), m.end()) for m in _LINE_END.finditer(text)), (-1, -1)]:
        end = len(text) if end < 0 else end
        raw = text[start:end]
        if look is None or not raw.strip():
            lines.append(Line(_whole(raw)))
        else:
            lines.append(look.line(raw, start))
        start = following
    return lines


def _whole(text: str) -> str:
    """A line, its words that were cut at the end of one made whole (pdfium marks the place)."""
    if _CUT in text:
        text = re.sub(f"{_CUT}(?=[^\\W\\d_A-Z])", "", text).replace(_CUT, "-")
    return text.strip()


class _Look:
    """Asks for the boxes of letters."""

    def __init__(self, page: PdfTextPage) -> None:
        self._page = page
        self._box = pdfium.FS_RECTF()
        self._sides = [ctypes.c_double() for _ in range(4)]

    def line(self, raw: str, offset: int) -> Line:
        first = offset + len(raw) - len(raw.lstrip())
        stripped = raw.strip()
        height = max(self._height(first), self._height(offset + len(raw.rstrip()) - 1))
        return Line(_whole(raw), round(height * 2) / 2, self._cells(stripped, first, height))

    def _height(self, index: int) -> float:
        pdfium.FPDFText_GetLooseCharBox(self._page, index, self._box)
        return abs(float(self._box.top) - float(self._box.bottom))

    def _edges(self, index: int) -> tuple[float, float]:
        left, right, bottom, top = self._sides
        pdfium.FPDFText_GetCharBox(self._page, index, left, right, bottom, top)
        return float(left.value), float(right.value)

    def _cells(self, text: str, offset: int, height: float) -> tuple[Cell, ...]:
        starts = [0]
        for match in _SPACES.finditer(text):
            right = self._edges(offset + match.start() - 1)[1]
            left = self._edges(offset + match.end())[0]
            if left - right > _GAP * max(height, 4.0):
                starts.append(match.end())
        ends = [*starts[1:], len(text)]
        return tuple(
            (
                self._edges(offset + start)[0],
                self._edges(offset + start + len(text[start:end].rstrip()) - 1)[1],
                _whole(text[start:end]),
            )
            for start, end in zip(starts, ends, strict=True)
        )
