"""How much of the text before a cut is repeated behind it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from pgrecall.chunking.boundaries import Level, Places
from pgrecall.chunking.fine import begins_word
from pgrecall.chunking.meter import Meter


class Overlap:
    """Finds where a chunk begins that repeats at most ``limit`` tokens of the one before it."""

    def __init__(self, text: str, found: Places, meter: Meter, limit: int) -> None:
        self._text = text
        self._sentences = found.offsets[found.levels >= Level.SENTENCE].tolist()
        self._lines = found.offsets[found.levels == Level.LINE].tolist()
        self._meter = meter
        self._limit = limit

    def lead(self, floor: int, start: int, previous_end: int) -> int:
        """The chunk's first offset with its overlap: more than floor, and start if nothing fits.

        The chunk before ends at previous_end, and begins at floor without its own overlap.
        """
        if not self._limit:
            return start
        for place in self._candidates(floor, start):
            candidate = start - len(self._text[place:start].lstrip())
            if self._meter.count(candidate, previous_end) <= self._limit:
                return candidate
        return start

    def _candidates(self, floor: int, start: int) -> Iterator[int]:
        """Sentences, else lines, else words; the longest overlap first. Sizes are those of the whole text."""
        high = self._meter.index(start)
        low = max(high - self._limit, 0)
        earliest = max(int(self._meter.starts[low]), floor + 1)
        for units in (self._sentences, self._lines):
            yield from units[bisect_left(units, earliest) : bisect_left(units, start)]
        for offset in self._meter.starts[low:high].tolist():
            if earliest <= offset < start and begins_word(self._text, offset):
                yield offset
