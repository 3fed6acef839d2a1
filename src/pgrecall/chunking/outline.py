"""The sections of a document: which headings stand above a place."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import takewhile

import numpy as np

from pgrecall.chunking import boundaries, markdown
from pgrecall.chunking.boundaries import IntArray, Level, Places
from pgrecall.chunking.parser import Parser, Path
from pgrecall.types import Markup


@dataclass(frozen=True, slots=True)
class Reading:
    """How a text is read, and what reads it."""

    markup: Markup
    parser: Parser = field(default_factory=Parser)


@dataclass(frozen=True, slots=True)
class Outline:
    """Places of a text, and its sections: where each starts, the headings above, and whether it has a body.

    The first section is what stands before the first heading, or the one that a part of the text begins in.
    """

    places: Places
    starts: list[int]
    paths: list[Path]
    bodies: list[bool]

    def sections(self, start: int, end: int) -> range:
        """Indices of the sections that ``text[start:end]`` touches."""
        return range(
            bisect_right(self.starts, start) - 1, bisect_right(self.starts, max(end - 1, start))
        )

    def headings_of(self, starts: IntArray, ends: IntArray) -> list[Path]:
        """``headings`` of many slices."""
        if len(self.paths) == 1:
            return self.paths * len(starts)
        first = np.searchsorted(self.starts, starts, "right") - 1
        last = np.searchsorted(self.starts, np.maximum(ends - 1, starts), "right")
        columns = (array.tolist() for array in (first, last - first == 1, starts, ends))
        return [
            self.paths[section] if single else self.headings(start, end)
            for section, single, start, end in zip(*columns, strict=True)
        ]

    def headings(self, start: int, end: int) -> Path:
        """The headings that stand above all of ``text[start:end]``.

        A heading without a body of its own does not count, unless there is no other.
        """
        touched = self.sections(start, end)
        if len(touched) == 1:
            return self.paths[touched[0]]
        paths = [self.paths[i] for i in touched if self.bodies[i]]
        paths = paths or [self.paths[i] for i in touched]
        # What the least and the greatest path begin with, all between them begin with too.
        least, greatest = min(paths), max(paths)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(least, greatest, strict=False))
        return tuple(heading for heading, _ in same)


def outline(text: str, reading: Reading, origin: int) -> Outline:
    """The outline of a text, or of a part of it that begins at the origin and that its parser has read."""
    parser = reading.parser
    found = boundaries.places(text, reading.markup)
    found = boundaries.lowered(found, boundaries.after_colon(text), Level.SENTENCE)
    if reading.markup != "markdown":
        return Outline(found, [0], [()], [True])
    sections = parser.sections
    heads = [section for section in sections if section.rank]
    begun = [(head.start - origin, head.rank) for head in heads if head.start >= origin]
    found = markdown.with_structure(text, found, begun, parser.blocks(origin))
    ends = (head.end - origin for head in heads if head.end >= origin)
    found = boundaries.lowered(found, boundaries.offsets_of(ends), Level.CLAUSE)
    return Outline(
        found,
        [max(section.start - origin, 0) for section in sections],
        [section.path for section in sections],
        [section.body for section in sections],
    )
