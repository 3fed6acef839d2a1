"""The parts of Markdown that decide where to cut: headings, and blocks that are not prose."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pgrecall.chunking.boundaries import IntArray, Level, Places, merged

#: A line that may be or underline a heading, or belong to a block: one pass instead of one for each.
_MARKED_LINE = re.compile(r"\n[ \t>]*+(#|==|---|\||```|~~~)")
_ATX = re.compile(r"\n {0,3}(#{1,6})(?=[ \t\r\n]|\Z)([^\n]*)")
_UNDERLINE = re.compile(r"\n {0,3}(={2,}|-{3,})[ \t]*\r?(?=\n|\Z)")
_NO_SETEXT = re.compile(r"\s*(?:[-*+>#|`~]|\d+[.)]\s)")
_FENCE = re.compile(r"\n[ \t>]*(`{3,}|~{3,})([^\n]*)")
_TABLE = re.compile(r"\n[ \t]*\|[^\n]*(?:\n[ \t]*\|[^\n]*)+")
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

    def contain(self, offsets: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which offsets lie inside a span, behind its first character."""
        index = np.searchsorted(self.starts, offsets) - 1
        return (
            (index >= 0) & (offsets < self.ends[index])
            if len(self.starts)
            else np.zeros(len(offsets), bool)
        )


def structure(text: str) -> tuple[list[Heading], Blocks]:
    """Headings in order, and blocks: code fences, tables and front matter. No heading is inside a block."""
    lined = "\n" + text
    lines: dict[str, list[int]] = defaultdict(list)
    for match in _MARKED_LINE.finditer(lined):
        lines[match[1]].append(match.start())
    solid = _blocks(lined, lines)
    heads = [
        *_hashed(lined, lines["#"]),
        *_underlined(lined, lines["=="] + lines["---"]),
    ]
    heads.sort(key=lambda heading: heading.start)
    inside = solid.contain(np.array([head.start for head in heads], dtype=np.int64) + 1)
    return [head for head, skip in zip(heads, inside, strict=True) if not skip], solid


def _matches(pattern: re.Pattern[str], text: str, starts: Iterable[int]) -> Iterator[re.Match[str]]:
    """Matches at these places, those left out that begin inside of another."""
    end = 0
    for start in starts:
        match = pattern.match(text, start) if start >= end else None
        if match:
            yield match
            end = match.end()


def _blocks(lined: str, lines: Mapping[str, list[int]]) -> Blocks:
    fences = _fences(lined, _matches(_FENCE, lined, sorted(lines["```"] + lines["~~~"])))
    tables = (match.span() for match in _matches(_TABLE, lined, lines["|"]))
    spans = sorted([*fences, *tables])
    if front := _FRONT_MATTER.match(lined):
        spans.insert(0, front.span())
    disjoint: list[tuple[int, int]] = []
    for start, end in spans:
        if not disjoint or start >= disjoint[-1][1]:
            disjoint.append((start, end))
    array = np.array(disjoint, dtype=np.int64).reshape(-1, 2)
    # A span's match starts at the line break before it, which "\n" + text has moved to the span's offset.
    return Blocks(array[:, 0], array[:, 1] - 1)


def _fences(lined: str, marks: Iterable[re.Match[str]]) -> Iterator[tuple[int, int]]:
    start, mark = -1, ""
    for match in marks:
        if start < 0:
            if match[1][0] == "~" or "`" not in match[2]:
                start, mark = match.start(), match[1]
        elif match[1].startswith(mark) and not match[2].strip():
            yield start, match.end()
            start = -1
    if start >= 0:
        yield start, len(lined)


def _hashed(lined: str, starts: Iterable[int]) -> Iterator[Heading]:
    for match in _matches(_ATX, lined, starts):
        text = _plain(_CLOSING.sub("", match[2].rstrip()))
        yield Heading(match.start(), match.end() - 1, len(match[1]), text)


def _underlined(lined: str, starts: Iterable[int]) -> Iterator[Heading]:
    for match in filter(None, (_UNDERLINE.match(lined, start) for start in starts)):
        start = lined.rfind("\n", 0, match.start())
        line = lined[start + 1 : match.start()]
        if line.strip() and not _NO_SETEXT.match(line) and _blank_before(lined, start):
            yield Heading(start, match.end() - 1, 1 if match[1][0] == "=" else 2, _plain(line))


def with_structure(text: str, found: Places, heads: list[Heading], solid: Blocks) -> Places:
    """The places of prose, corrected by headings and blocks."""
    inside = solid.contain(found.offsets)
    whole = found.levels == Level.SENTENCE
    levels = np.where(
        inside, np.where(whole, Level.LINE, np.minimum(found.levels, Level.SENTENCE)), found.levels
    )
    keep = ~(inside & whole)
    keep[~keep] = [_begins_line(text, offset) for offset in found.offsets[~keep].tolist()]
    starts = _firsts(text, [heading.start for heading in heads])
    ranks = np.array([Level.SECTION + 6 - heading.rank for heading in heads], dtype=np.int64)
    edges = _firsts(text, [*solid.starts.tolist(), *solid.ends.tolist()])
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


def _blank_before(text: str, offset: int) -> bool:
    """Whether the line before the one that begins after offset is blank, or a heading, or there is none."""
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return not line.strip() or _ATX.match("\n" + line) is not None


def _plain(heading: str) -> str:
    """A heading without Markdown's own marks, on one line."""
    heading = " ".join(heading.split())
    if not _MARK.search(heading):
        return heading
    return " ".join(_STRESS.sub("", _LINK.sub(r"\1", _ANCHOR.sub("", heading))).split())
