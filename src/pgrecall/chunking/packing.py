"""Which of the places become cuts: decided by the text nearby, so that an edit moves no cut far away.

A packer that fills chunks from the top has every later cut depend on every earlier one. Here each place gets
a key: its level first, then a hash of the text around it. A place is a cut if its key is the greatest within
``reach`` tokens on either side. That depends on nothing else, whatever happens elsewhere in the text; two
cuts are at least ``reach`` tokens apart, and mostly not much more than twice as far. The parts that are
longer than the limit are cut again, from place to place, each time at the greatest key that leaves well
filled parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgrecall.chunking.boundaries import IntArray

_LEVEL_SHIFT = 32
#: Greater than any key.
_BARRIER = np.int64(1 << 60)


@dataclass(frozen=True, slots=True)
class Gaps:
    """The candidates: level and hash as one key, and the number of tokens before each. Shape (n,) each."""

    keys: IntArray
    tokens: IntArray

    @property
    def levels(self) -> IntArray:
        """Level of each candidate."""
        return self.keys >> _LEVEL_SHIFT


def keys(levels: IntArray, hashes: IntArray) -> IntArray:
    """Keys that compare by level first."""
    return (levels << _LEVEL_SHIFT) | hashes


def peaks(gaps: Gaps, reach: int) -> npt.NDArray[np.bool_]:
    """Which candidates have the greatest key of all less than reach tokens away; of equals, the first."""
    index = np.arange(len(gaps.keys))
    low = np.searchsorted(gaps.tokens, gaps.tokens - reach, "right")
    high = np.searchsorted(gaps.tokens, gaps.tokens + reach, "left")
    return (gaps.keys > _range_max(gaps.keys, low, index)) & (
        gaps.keys >= _range_max(gaps.keys, index + 1, high)
    )


def _range_max(values: IntArray, low: IntArray, high: IntArray) -> IntArray:
    """Maximum of ``values[low[i]:high[i]]`` for each i, -1 for an empty range, by windows of doubling size."""
    result = np.full(len(values), -1, np.int64)
    length = high - low
    window, size = values, 1
    while len(window):
        pick = np.flatnonzero((length >= size) & (length < 2 * size))
        result[pick] = np.maximum(window[low[pick]], window[high[pick] - size])
        if length.max(initial=0) < 2 * size:
            break
        window = np.maximum(window[:-size], window[size:])
        size *= 2
    return result


def fenced(gaps: Gaps, barriers: npt.NDArray[np.bool_]) -> Gaps:
    """The same candidates, some of which are cuts already: nothing near them becomes another."""
    return Gaps(np.where(barriers, _BARRIER, gaps.keys), gaps.tokens)


def fill(gaps: Gaps, first: int, last: int, limit: int) -> Iterator[int]:
    """Cuts between the candidates first and last (which are cuts).

    No part has more tokens than the limit, unless no candidate stands in it.
    """
    while gaps.tokens[last] - gaps.tokens[first] > limit and last - first > 1:
        first = _next_cut(gaps, first, last, limit)
        yield first


def _next_cut(gaps: Gaps, first: int, last: int, limit: int) -> int:
    base = int(gaps.tokens[first])
    rest = int(gaps.tokens[last]) - base
    end = int(gaps.tokens.searchsorted(base + limit, "right"))
    end = max(min(end, last), first + 2)
    # Best is what neither makes a crumb nor needs one more part than necessary.
    parts = -(-rest // limit)
    least = max(limit // 4, rest - (parts - 1) * limit)
    low = int(gaps.tokens.searchsorted(base + least))
    high = int(gaps.tokens.searchsorted(base + rest - limit // 4, "right"))
    score = gaps.keys[first + 1 : end].copy()
    score[max(low - first - 1, 0) : max(high - first - 1, 0)] += 1 << (_LEVEL_SHIFT - 1)
    # Of equal scores the last: text that repeats itself gives full chunks.
    return end - 1 - int(score[::-1].argmax())
