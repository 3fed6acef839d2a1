"""Which of the places become cuts: decided by the text nearby, so that an edit moves no cut far away.

A packer that fills chunks from the top has every later cut depend on every earlier one. Here each place gets
a key: its level first, then a hash of the text around it. A place is a cut if its key is the greatest within
``reach`` tokens on either side. That depends on nothing else, whatever happens elsewhere in the text; two
cuts are at least ``reach`` tokens apart, and mostly not much more than twice as far. The parts that are
longer than the limit are cut again, from place to place, each time at the greatest key that leaves well
filled parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgrecall.chunking.boundaries import IntArray

_LEVEL_SHIFT = 32
#: Greater than any key.
BARRIER = np.int64(1 << 60)
#: How many limits away the next cut is far: where exactly it stands decides nothing then, and a text whose
#: places are all alike, without peaks, need not be known to its end.
FAR = 8


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
    return Gaps(np.where(barriers, BARRIER, gaps.keys), gaps.tokens)


def filled(gaps: Gaps, cuts: IntArray, limits: IntArray) -> IntArray:
    """The cuts, with more between those that are more than the limit apart: one limit for each pair of them.

    No part has more tokens than the limit, unless no candidate stands in it.
    """
    first, last = cuts[:-1], cuts[1:]
    found = [cuts]
    while True:
        long = (gaps.tokens[last] - gaps.tokens[first] > limits) & (last - first > 1)
        if not long.any():
            return np.sort(np.concatenate(found))
        last, limits = last[long], limits[long]
        first = _next_cuts(gaps, first[long], last, gaps.tokens[last], limits)
        found.append(first)


def filled_far(gaps: Gaps, cut: int, bound: int, limit: int) -> list[int]:
    """The cuts behind one, where the next of the others stands behind so many tokens, or is none."""
    run: list[int] = []
    end, far, limits = (np.array([number]) for number in (len(gaps.keys), bound, limit))
    while bound - gaps.tokens[cut] > FAR * limit:
        cut = int(_next_cuts(gaps, np.array([cut]), end, far, limits)[0])
        run.append(cut)
    return run


def _next_cuts(
    gaps: Gaps, first: IntArray, last: IntArray, last_tokens: IntArray, limit: IntArray
) -> IntArray:
    """The cut behind each of ``first``, where the next one is ``last``."""
    base = gaps.tokens[first]
    rest = last_tokens - base
    far = rest > FAR * limit
    # Best is what neither makes a crumb nor needs one more part than necessary. From afar no crumb is seen.
    least = np.where(far, limit // 4, np.maximum(limit // 4, (rest - 1) % limit + 1))
    most = np.where(far, limit, rest - limit // 4)
    end = np.minimum(gaps.tokens.searchsorted(base + limit, "right"), last)
    end = np.maximum(end, first + 2)
    low = gaps.tokens.searchsorted(base + least)
    high = gaps.tokens.searchsorted(base + most, "right")
    # All candidates from behind first to end, one range after the other.
    lengths = end - first - 1
    begins = np.cumsum(lengths) - lengths
    index = np.repeat(first + 1 - begins, lengths) + np.arange(lengths.sum())
    good = (index >= np.repeat(low, lengths)) & (index < np.repeat(high, lengths))
    score = gaps.keys[index] + (good.astype(np.int64) << (_LEVEL_SHIFT - 1))
    best = score == np.repeat(np.maximum.reduceat(score, begins), lengths)
    # Of equal scores the last: text that repeats itself gives full chunks.
    return np.maximum.reduceat(np.where(best, index, -1), begins)
