"""The structure of a Markdown text that comes in parts: read forward once, and known as far as it is settled.

What a line is follows from the lines above it and the one below. So all but the last lines at hand are settled,
and of what stands above the next ones little matters: the open block, the headings, whether the last line is
blank.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pgrecall.chunking import markdown
from pgrecall.chunking.markdown import Blocks, Fences, Heading

Path = tuple[str, ...]
Span = tuple[int, int]

_INK = re.compile(r"\S")
#: The end of a block that is still open.
_OPEN_END = 1 << 62


@dataclass(slots=True)
class Section:
    """What stands from one heading to the next: the place of the heading, its rank, and those above and itself.

    Rank 0 is what stands before the first heading.
    """

    start: int
    end: int
    rank: int
    text: str
    path: Path
    #: Whether there is something but the heading.
    body: bool = False


class Parser:
    """Headings and blocks of a text, which is read forward. All offsets are those of the whole text."""

    def __init__(self) -> None:
        #: All before it is settled.
        self.settled = 0
        #: In order; those that ended before what is at hand are forgotten.
        self.sections = [Section(0, 0, 0, "", ())]
        self._above: list[Section] = []
        self._blocks: list[Span] = []
        self._covered = -1
        self._fences = Fences()
        self._table: int | None = None
        self._free = True
        self._matter: int | None = None
        self._ended = False

    @property
    def known(self) -> int:
        """Up to where sections and blocks are what they are, whatever follows."""
        last = self.sections[-1]
        return self.settled if last.body or self._ended else min(last.start, self.settled)

    def blocks(self, origin: int) -> Blocks:
        """The blocks, their offsets counted from the origin: code fences, tables and front matter."""
        blocks = Blocks.of([*self._blocks, *self._open()])
        return Blocks(blocks.starts - origin, blocks.ends - origin)

    def forget(self, before: int) -> None:
        """Nothing is asked any more of what ended before this offset."""
        while len(self.sections) > 1 and self.sections[1].start <= before:
            del self.sections[0]
        while self._blocks and self._blocks[0][1] < before:
            del self._blocks[0]

    def read(self, text: str, origin: int, *, ends: bool) -> None:
        """Take in what is at hand of the text, and whether it ends with that."""
        if self._matter is None:
            self._matter = markdown.front_matter(text, ends=ends)
            if self._matter is None:
                return
            self._accept([(0, self._matter)] if self._matter else [])
        first = self.settled - origin
        last = len(text) if ends else text.rfind("\n", 0, max(text.rfind("\n"), 0)) + 1
        if last > first or ends:
            self._ended = ends
            self._take(text[first:], last - first)

    def _take(self, text: str, stop: int) -> None:
        """What was not yet settled of a text; lines from ``stop`` on may become something else."""
        lined = "\n" + text
        marked = markdown.marked_lines(lined)
        settled = {mark: [at for at in lines if at < stop] for mark, lines in marked.items()}
        self._accept([*self._code(lined, settled), *self._tables(lined, settled, stop)])
        heads = [
            *markdown.hashed(lined, settled.get("#", ())),
            *markdown.underlined(
                lined, marked.get("==", []) + marked.get("---", []), free=self._free
            ),
        ]
        self._divide(
            text, sorted((h for h in heads if h.start < stop), key=lambda h: h.start), stop
        )
        self._free = markdown.free_below(lined, stop)
        self.settled += stop

    def _code(self, lined: str, lines: Mapping[str, list[int]]) -> list[Span]:
        marks = sorted([*lines.get("```", ()), *lines.get("~~~", ())])
        found = markdown.matches(markdown.FENCE, lined, marks)
        spans = (self._fences.closed_by(mark, self.settled) for mark in found)
        return [span for span in spans if span]

    def _tables(self, lined: str, lines: Mapping[str, list[int]], stop: int) -> list[Span]:
        """The tables that end before the last lines; one that may go on is kept in mind."""
        spans, end = [], 0
        if self._table is not None:
            rows = markdown.ROWS.match(lined)
            end = rows.end() if rows else 0
            spans.append((self._table, end))
        starts = [at for at in lines.get("|", ()) if at >= end]
        found = markdown.matches(markdown.TABLE, lined, starts)
        spans += [(self.settled + match.start(), match.end()) for match in found]
        self._table = None
        if spans and spans[-1][1] > stop and not self._ended:
            self._table = spans.pop()[0]
        return [(start, self.settled + end - 1) for start, end in spans]

    def _accept(self, spans: Sequence[Span]) -> None:
        """More blocks, but for those that begin inside of another."""
        for start, end in sorted([*spans, *self._pending()]):
            if start <= self._covered:
                continue
            if end == _OPEN_END:
                break
            self._blocks.append((start, end))
            self._covered = end

    def _pending(self) -> list[Span]:
        starts = (self._fences.start, self._table)
        return [(start, _OPEN_END) for start in starts if start is not None]

    def _open(self) -> list[Span]:
        """The block that is open where the settled part ends."""
        return [span for span in sorted(self._pending()) if span[0] > self._covered][:1]

    def _divide(self, text: str, heads: Sequence[Heading], stop: int) -> None:
        """Begin a section at each heading that is in no block."""
        base = self.settled
        starts = np.array([head.start for head in heads], np.int64) + base
        inside = self.blocks(0).contain(starts + 1)
        for head, skip in zip(heads, inside.tolist(), strict=True):
            if not skip:
                self._fill(text, head.start)
                self._begin(head)
        self._fill(text, stop)

    def _fill(self, text: str, end: int) -> None:
        section = self.sections[-1]
        begin = max(section.end - self.settled, 0)
        section.body = section.body or _INK.search(text, begin, max(begin, end)) is not None

    def _begin(self, head: Heading) -> None:
        start, end = head.start + self.settled, head.end + self.settled
        above = [section for section in self._above if section.rank < head.rank]
        path = tuple(section.text for section in above if section.text)
        path = (*path, head.text) if head.text else path
        section = Section(start, end, head.rank, head.text, path)
        self._above = [*above, section]
        self.sections.append(section)
