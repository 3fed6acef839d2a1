"""The sections of a document: which headings stand above a place."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from pgrecall.chunking import boundaries, markdown
from pgrecall.chunking.boundaries import IntArray, Level, Places
from pgrecall.chunking.markdown import Heading
from pgrecall.types import Markup

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """Places of a text, and its sections: where each starts, the headings above, and whether it has a body.

    The first section is what stands before the first heading.
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


def outline(text: str, markup: Markup) -> Outline:
    """Parse a text."""
    found = boundaries.places(text, markup)
    found = boundaries.lowered(found, boundaries.after_colon(text), Level.SENTENCE)
    if markup != "markdown":
        return Outline(found, [0], [()], [True])
    heads, solid = markdown.structure(text)
    found = markdown.with_structure(text, found, heads, solid)
    found = boundaries.lowered(found, boundaries.offsets_of(h.end for h in heads), Level.CLAUSE)
    ends = [h.start for h in heads[1:]] + [len(text)]
    bodies = (
        [bool(text[h.end : end].strip()) for h, end in zip(heads, ends, strict=True)]
        if heads
        else []
    )
    before = bool(text[: heads[0].start].strip()) if heads else True
    return Outline(found, [0, *(h.start for h in heads)], [(), *_paths(heads)], [before, *bodies])


def _paths(heads: Sequence[Heading]) -> list[Path]:
    paths: list[Path] = []
    above: list[Heading] = []
    for heading in heads:
        above = [*(h for h in above if h.rank < heading.rank), heading]
        paths.append(tuple(h.text for h in above if h.text))
    return paths
