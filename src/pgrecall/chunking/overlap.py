"""How much of the text before a cut is repeated behind it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pgrecall.chunking.boundaries import IntArray, Level, Places
from pgrecall.chunking.fine import begins_word
from pgrecall.chunking.meter import Meter


class Overlap:
    """Finds where a chunk begins that repeats at most ``limit`` tokens of the one before it.

    It begins at a sentence, else at a line, else at a word: at the first of them whose size in tokens of the
    whole text is within the limit, and then at the first that is so exactly, counted alone.
    """

    def __init__(self, text: str, found: Places, meter: Meter, limit: int) -> None:
        self._text = text
        self._units = (
            found.offsets[found.levels >= Level.SENTENCE],
            found.offsets[found.levels == Level.LINE],
        )
        self._meter = meter
        self._limit = limit

    def lead(self, floor: int, start: int, previous_end: int) -> int:
        """The chunk's first offset with its overlap: more than floor, and start if nothing fits.

        The chunk before ends at previous_end, and begins at floor without its own overlap.
        """
        if not self._limit:
            return start
        for place in self._candidates(floor, start):
            candidate = self._stripped(place, start)
            if self._meter.count(candidate, previous_end) <= self._limit:
                return candidate
        return start

    def _stripped(self, place: int, start: int) -> int:
        return start - len(self._text[place:start].lstrip())

    def _candidates(self, floor: int, start: int) -> Iterator[int]:
        """The longest overlap of each kind first."""
        low, high = self._reach(np.array([start]))
        earliest = max(int(self._meter.starts[low[0]]), floor + 1)
        for units in self._units:
            yield from units[slice(*units.searchsorted((earliest, start)))].tolist()
        yield from self._words(int(low[0]), int(high[0]), earliest, start)

    def _reach(self, starts: IntArray) -> tuple[IntArray, IntArray]:
        """The tokens that may be repeated in front of each start: from the first index to the second."""
        high = self._meter.before(starts)
        return np.maximum(high - self._limit, 0), high

    def _words(self, low: int, high: int, earliest: int, start: int) -> Iterator[int]:
        offsets = self._meter.starts[low:high].tolist()
        for offset in offsets[bisect_left(offsets, earliest) :]:
            if offset < start and begins_word(self._text, offset):
                yield offset

    def longest(
        self, floors: IntArray, starts: IntArray, wanted: npt.NDArray[np.bool_]
    ) -> IntArray:
        """The first candidate of ``lead`` for each start that is wanted, not yet counted; else the start."""
        leads = starts.copy()
        if not self._limit:
            return leads
        low, high = self._reach(starts)
        earliest = np.maximum(self._meter.starts[low], floors + 1)
        open_ = wanted.copy()
        for units in self._units:
            if len(units):
                at = units.searchsorted(earliest)
                place = units[np.minimum(at, len(units) - 1)]
                found = open_ & (at < len(units)) & (place < starts)
                leads[found] = place[found]
                open_ &= ~found
        for i in np.flatnonzero(open_).tolist():
            bounds = (int(array[i]) for array in (low, high, earliest, starts))
            leads[i] = next(self._words(*bounds), leads[i])
        for i in np.flatnonzero(leads < starts).tolist():
            if self._text[leads[i]].isspace():
                leads[i] = self._stripped(int(leads[i]), int(starts[i]))
        return leads
