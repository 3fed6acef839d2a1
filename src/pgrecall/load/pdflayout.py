"""What the lines of a PDF are: headings, tables and paragraphs, written as Markdown.

Headings are those that the outline (the bookmarks) names. Where there is none, they are the lines in
letters higher than those of the text; a document in which that is every fifth line has none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from pgrecall.load.htmltable import table
from pgrecall.load.pdfpage import Line
from pgrecall.load.pdftext import paragraphs

Pages = Sequence[Sequence[Line]]
#: (page, title without blanks): rank of the heading, from 1
Ranks = Mapping[tuple[int, str], int]
Block = tuple[str, str | list[Line]]

_LARGER = 1.12
_MAX_HEADING = 120
_MAX_RANK = 6
#: A larger part of the lines in large letters is a poster or slides.
_MAX_SHARE = 0.2
_LEADERS = re.compile(r"(?:\. ?){4}")
_LETTER = re.compile(r"[^\W\d_]")
#: What Markdown would take for a heading, a rule or a fence, and is none.
_MARKUP = re.compile(r"^(#{1,6}\s|[=-]{3,}\s*$|```|~~~)", re.M)
#: A table has so many rows, and its cells are short: two columns of prose are none.
_MIN_ROWS = 3
_MAX_CELL = 40
#: Points by which the cells of a column may differ at their left edges.
_ALIGNED = 4.0


def written(pages: Pages, outline: Ranks) -> tuple[list[str], bool]:
    """(the text of each page, whether it is Markdown: there are headings or tables)"""
    ranks, least = _matching(pages, outline), 0.0
    if not ranks:
        ranks, least = _by_height(pages)
    blocks = [_joined(_blocks(lines, n, ranks, least)) for n, lines in enumerate(pages)]
    structured = any(kind != "text" for page in blocks for kind, _ in page)
    texts = []
    for page in blocks:
        parts = [
            _MARKUP.sub(r"\\\1", text) if structured and kind == "text" else text
            for kind, text in page
        ]
        texts.append("\n\n".join(part for part in parts if part))
    return texts, structured


def key(text: str) -> str:
    """A title as it is compared: without blanks, in lower case."""
    return "".join(text.split()).casefold()


def _matching(pages: Pages, outline: Ranks) -> Ranks:
    """Those titles of the outline that stand on their page; none if most of them do not."""
    found = {
        (number, name): outline[number, name]
        for number, lines in enumerate(pages)
        for line in lines
        if (number, name := key(line.text)) in outline
    }
    return found if len(found) * 2 >= len(outline) else {}


def _by_height(pages: Pages) -> tuple[Ranks, float]:
    """(the lines in large letters, the height from which letters are large)"""
    usual: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            usual[line.height] += len(line.text)
    usual.pop(0.0, None)
    if not usual:
        return {}, 0.0
    least = usual.most_common(1)[0][0] * _LARGER
    large = [
        (number, line)
        for number, lines in enumerate(pages)
        for line in lines
        if line.height >= least
        and len(line.text) <= _MAX_HEADING
        and len(line.cells) == 1
        and _LETTER.search(line.text)
        and not _LEADERS.search(line.text)
    ]
    total = sum(1 for lines in pages for line in lines if line.text)
    if len(large) > _MAX_SHARE * total:
        return {}, 0.0
    heights = sorted({line.height for _, line in large}, reverse=True)
    rank = {height: min(place, _MAX_RANK) for place, height in enumerate(heights, start=1)}
    return {(number, key(line.text)): rank[line.height] for number, line in large}, least


def _blocks(lines: Sequence[Line], number: int, ranks: Ranks, least: float) -> Iterator[Block]:
    """Headings, tables and runs of lines that are neither: "heading", "table" or "text"."""

    def kind(line: Line) -> tuple[str, float]:
        rank = ranks.get((number, key(line.text))) if line.height >= least else None
        if rank is not None:
            return "heading", rank
        return ("row", len(line.cells)) if len(line.cells) > 1 else ("text", 0)

    for (name, rank), group in groupby(lines, kind):
        found = list(group)
        rows = _table(found) if name == "row" else None
        if name == "heading":
            # Lines of one heading that was too long for one line.
            yield "heading", f"{'#' * int(rank)} {' '.join(line.text for line in found)}"
        elif rows is not None:
            yield "table", rows
        else:
            yield "text", found


def _joined(blocks: Iterator[Block]) -> list[tuple[str, str]]:
    """The blocks as text; the lines of neighbouring runs are one run."""
    texts: list[tuple[str, str]] = []
    for name, group in groupby(blocks, lambda block: block[0]):
        if name == "text":
            lines = (line.text for _, run in group for line in run if isinstance(line, Line))
            texts.append((name, paragraphs("\n".join(lines))))
        else:
            texts += [(name, text) for _, text in group if isinstance(text, str)]
    return texts


def _table(lines: Sequence[Line]) -> str | None:
    """Lines of equally many cells as a table, if their cells stand below each other."""
    count = len(lines[0].cells)
    longest = sum(len(text) for line in lines for *_, text in line.cells) / (count * len(lines))
    if len(lines) < _MIN_ROWS or longest > _MAX_CELL:
        return None
    for column in range(count):
        cells = [line.cells[column] for line in lines[1:]]  # a header may be centred
        if not any(_aligned(edges) for edges in ([c[0] for c in cells], [c[1] for c in cells])):
            return None
    return table([[[text] if text else [] for *_, text in line.cells] for line in lines])


def _aligned(edges: Sequence[float]) -> bool:
    """Whether three quarters of the edges stand below each other."""
    middle = sorted(edges)[len(edges) // 2]
    return sum(abs(edge - middle) <= _ALIGNED for edge in edges) * 4 >= 3 * len(edges)
