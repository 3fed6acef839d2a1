"""The parts of Markdown that decide where to cut: headings, and blocks that are not prose."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pgrecall.chunking.boundaries import IntArray, Level, Places, merged

#: A line that may be or underline a heading, or belong to a block: one pass instead of one for each.
_MARKED_LINE = re.compile(r"\n[ \t>]*+(#|==|---|\||```|~~~)")
_ATX = re.compile(r"\n {0,3}(#{1,6})(?=[ \t\r\n]|\Z)([^\n]*)")
_UNDERLINE = re.compile(r"\n {0,3}(={2,}|-{3,})[ \t]*\r?(?=\n|\Z)")
_NO_SETEXT = re.compile(r"\s*(?:[-*+>#|`~]|\d+[.)]\s)")
FENCE = re.compile(r"\n[ \t>]*(`{3,}|~{3,})([^\n]*)")
TABLE = re.compile(r"\n[ \t]*\|[^\n]*(?:\n[ \t]*\|[^\n]*)+")
#: Those of its rows that stand behind others.
ROWS = re.compile(r"(?:\n[ \t]*\|[^\n]*)+")
#: Characters of the longest metadata at the beginning of a text; more is prose between two rules.
LONGEST_MATTER = 16_384
_FRONT_MATTER = re.compile(r"\A\n---[ \t]*\n(?:[^\n]*\n)*?---[ \t]*(?=\n|\Z)")
_INK = re.compile(r"\S")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s[^()]*)?\)")
# Only the first of several underscores is tried: else many inside a word would cost their square.
_STRESS = re.compile(r"[*`]|(?<!\w)_+|(?<!_)_++(?!\w)")
_MARK = re.compile(r"[*`_\[{]")
_CLOSING = re.compile(r"(?:^|[ \t])#+\s*$")
_ANCHOR = re.compile(r"\s*\{#[^{}]*\}\s*$")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading: ``text[start:end]`` is its line (or two), rank 1 to 6."""

    start: int
    end: int
    rank: int
    text: str


@dataclass(frozen=True, slots=True)
class Blocks:
    """Spans of the text that are not prose: starts and ends, ascending and disjoint, each of shape (n,)."""

    starts: IntArray
    ends: IntArray

    @classmethod
    def of(cls, spans: Sequence[tuple[int, int]]) -> Self:
        """Blocks of (start, end)."""
        array = np.array(spans, np.int64).reshape(-1, 2)
        return cls(array[:, 0], array[:, 1])

    def contain(self, offsets: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which offsets lie inside a span, behind its first character."""
        index = np.searchsorted(self.starts, offsets) - 1
        return (
            (index >= 0) & (offsets < self.ends[index])
            if len(self.starts)
            else np.zeros(len(offsets), bool)
        )


class Fences:
    """Follows the fences around code, mark by mark."""

    def __init__(self) -> None:
        #: Where the open one begins; None if none is open.
        self.start: int | None = None
        self._mark = ""

    def closed_by(self, mark: re.Match[str], origin: int) -> tuple[int, int] | None:
        """The span of the code that ends with this mark; None if it does not end any."""
        start = self.start
        if start is None:
            if mark[1][0] == "~" or "`" not in mark[2]:
                self.start, self._mark = origin + mark.start(), mark[1]
        elif mark[1].startswith(self._mark) and not mark[2].strip():
            self.start = None
            return start, origin + mark.end() - 1
        return None


def marked_lines(lined: str) -> dict[str, list[int]]:
    """Where the lines begin that may be more than prose, by the first of their marks.

    Here and below, ``lined`` is a text with a line break in front, so that its first line begins like all
    others: a line that begins at an offset of the text begins behind that offset of ``lined``.
    """
    lines: dict[str, list[int]] = defaultdict(list)
    for match in _MARKED_LINE.finditer(lined):
        lines[match[1]].append(match.start())
    return lines


def matches(pattern: re.Pattern[str], text: str, starts: Iterable[int]) -> Iterator[re.Match[str]]:
    """Matches at these places, those left out that begin inside of another."""
    end = 0
    for start in starts:
        match = pattern.match(text, start) if start >= end else None
        if match:
            yield match
            end = match.end()


def front_matter(text: str, *, ends: bool) -> int | None:
    """Where the metadata at the beginning of a text ends; 0 if there is none, None if more has to be seen.

    ``ends``: whether this is all of the text.
    """
    lined = "\n" + text[:LONGEST_MATTER]
    ends = ends and len(text) <= LONGEST_MATTER
    found = _FRONT_MATTER.match(lined)
    if found and (ends or found.end() < len(lined)):
        return found.end() - 1
    open_ = text[:3] == "---"[: len(text)]
    return None if open_ and not ends and len(text) <= LONGEST_MATTER else 0


def hashed(lined: str, starts: Iterable[int]) -> Iterator[Heading]:
    """Headings that begin with a number of #."""
    for match in matches(_ATX, lined, starts):
        text = match[2].rstrip()
        text = _plain(_CLOSING.sub("", text) if text.endswith("#") else text)
        yield Heading(match.start(), match.end() - 1, len(match[1]), text)


def underlined(lined: str, starts: Iterable[int], *, free: bool) -> Iterator[Heading]:
    """Headings that are underlined; ``free``: whether the first line may be one."""
    for match in filter(None, (_UNDERLINE.match(lined, start) for start in starts)):
        start = lined.rfind("\n", 0, match.start())
        line = lined[start + 1 : match.start()]
        above = free_below(lined, start) if start > 0 else free
        if above and line.strip() and not _NO_SETEXT.match(line):
            yield Heading(start, match.end() - 1, 1 if match[1][0] == "=" else 2, _plain(line))


def free_below(lined: str, offset: int) -> bool:
    """Whether the line that ends at the offset is blank, or a heading, so that one can follow."""
    line = lined[lined.rfind("\n", 0, offset) + 1 : offset]
    return not line.strip() or _ATX.match("\n" + line) is not None


def with_structure(
    text: str, found: Places, heads: Sequence[tuple[int, int]], solid: Blocks
) -> Places:
    """The places of prose, corrected by headings (start, rank) and blocks."""
    inside = solid.contain(found.offsets)
    whole = found.levels == Level.SENTENCE
    levels = np.where(
        inside, np.where(whole, Level.LINE, np.minimum(found.levels, Level.SENTENCE)), found.levels
    )
    keep = ~(inside & whole)
    keep[~keep] = [_begins_line(text, offset) for offset in found.offsets[~keep].tolist()]
    starts = _firsts(text, [start for start, _ in heads])
    ranks = np.array([Level.SECTION + 6 - rank for _, rank in heads], dtype=np.int64)
    # A block may have begun before what is at hand of the text, and end behind it.
    borders = (*solid.starts.tolist(), *solid.ends.tolist())
    edges = _firsts(text, [border for border in borders if border >= 0])
    return merged(
        np.concatenate([found.offsets[keep], starts, edges]),
        np.concatenate([levels[keep], ranks, np.full(len(edges), Level.BLOCK)]),
        len(text),
    )


def _begins_line(text: str, offset: int) -> bool:
    while offset and text[offset - 1] in " \t\r":
        offset -= 1
    return not offset or text[offset - 1] == "\n"


def _firsts(text: str, offsets: list[int]) -> IntArray:
    """The first character at or after each offset that is not white space."""
    return np.array(
        [match.start() if (match := _INK.search(text, o)) else len(text) for o in offsets], np.int64
    )


def _plain(heading: str) -> str:
    """A heading without Markdown's own marks, on one line."""
    heading = " ".join(heading.split())
    if not _MARK.search(heading):
        return heading
    return " ".join(_STRESS.sub("", _LINK.sub(r"\1", _ANCHOR.sub("", heading))).split())
