"""Which of the places become cuts: decided by the text nearby, so that an edit moves no cut far away.

A packer that fills chunks from the top has every later cut depend on every earlier one. Here each place gets
a key: its level first, then a hash of the text around it. All places begin as cuts. From the least key to the
greatest, each goes if what stands on both sides of it fits into one chunk. What decides about a place are
those near it that have lesser keys, in turn those near these, and so on: keys that fall many times in a row
are rare (the chance of n is 1/n!), so an edit seldom moves a cut that is two chunks away. No two neighbours
that are left would fit into one chunk.

A unit that is a little longer than a chunk, such as a long paragraph, is parted by itself before: into few
pieces of a good size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgrecall.chunking.boundaries import IntArray, Level

_LEVEL_SHIFT = 32
#: Above all levels.
_RANK_SHIFT = _LEVEL_SHIFT + 8
#: Greater than any key.
BARRIER = np.int64(1 << 60)
#: Less than any key: of a place that is not known, nor what stands behind it.
UNKNOWN = np.int64(-1)
#: Tokens of the line break between two paragraphs.
_BREAK = 2
_BLOCK = np.int64(Level.BLOCK << _LEVEL_SHIFT)
#: How many limits away the next cut is far: where exactly it stands decides nothing then, and a text whose
#: places are all alike need not be known to its end.
FAR = 8
#: Limits of the longest unit that is parted by itself.
UNIT = 3
#: How many rounds of decisions there are. Mostly a dozen is enough; not for keys that go on falling, or are all
#: the same, as in a text that repeats itself: what is open then is filled from the left.
ROUNDS = 24


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
    return (gaps.keys > range_max(gaps.keys, low, index)) & (
        gaps.keys >= range_max(gaps.keys, index + 1, high)
    )


def range_max(values: IntArray, low: IntArray, high: IntArray) -> IntArray:
    """Maximum of ``values[low[i]:high[i]]`` for each i, -1 for an empty range, by windows of doubling size."""
    result = np.full(len(low), -1, np.int64)
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


def candidates(gaps: Gaps, limits: IntArray) -> IntArray:
    """Those of the places that may become cuts; one limit for each place.

    Of a unit of a few limits, from one block to the next, they are places that part it into few pieces, all of
    a good size. Between barriers that are near enough there are none.
    """
    edge = np.flatnonzero(gaps.keys >= _BLOCK)
    if not len(edge):
        return np.arange(len(gaps.keys))
    first, last = edge[:-1], edge[1:]
    limit, size = limits[first], gaps.tokens[last] - gaps.tokens[first]
    unit = (size > limit) & (size <= UNIT * limit)
    pieces = _from_left(gaps, limits, first[unit], last[unit])
    chosen = np.ones(len(gaps.keys), bool)
    chosen[edge[0] : edge[-1]] = np.repeat(~unit, last - first)
    chosen[edge] = chosen[pieces] = True
    fixed = edge[gaps.keys[edge] == BARRIER]
    if len(fixed) > 1:
        least = np.minimum.reduceat(limits[: fixed[-1]], fixed[:-1])
        short = np.diff(gaps.tokens[fixed]) <= least
        chosen[fixed[0] : fixed[-1]] &= np.repeat(~short, np.diff(fixed))
        chosen[fixed] = True
    return np.flatnonzero(chosen)


def before_unit(gaps: Gaps, limits: IntArray) -> int:
    """The last candidate, or the block before it if what begins there may be a unit."""
    last = len(gaps.keys) - 1
    edge = np.flatnonzero(gaps.keys >= _BLOCK)
    if len(edge) and gaps.tokens[last] - gaps.tokens[edge[-1]] <= UNIT * limits[edge[-1]]:
        return int(edge[-1])
    return last


def merged(gaps: Gaps, limits: IntArray, since: int = 0) -> tuple[IntArray, IntArray]:
    """The candidates that are left, and in which round it was decided that they are cuts; one limit for each.

    From the least key to the greatest, a candidate goes if what stands on both sides of it fits into one part.
    In each round, those whose key is less than that of their neighbours have their turn, all at once. What is
    open after the last round, or depends on an UNKNOWN key, has the round ROUNDS. The first candidate is a
    barrier since the given round.
    """
    left, keys, tokens = np.arange(len(limits)), gaps.keys.copy(), gaps.tokens
    rounds = np.where(keys == BARRIER, 0, ROUNDS)
    for turn in range(ROUNDS):
        if turn == since and keys[0] != UNKNOWN:
            keys[0], rounds[0] = BARRIER, turn
        inner = keys[1:-1]
        least = np.flatnonzero((inner < keys[:-2]) & (inner <= keys[2:])) + 1
        if not len(least):
            if turn < since:
                continue
            break
        fits = tokens[least + 1] - tokens[least - 1] <= limits[least]
        fixed = least[~fits]
        keys[fixed], rounds[fixed] = BARRIER, turn + 1
        stays = np.ones(len(keys), bool)
        stays[least[fits]] = False
        left, rounds = left[stays], rounds[stays]
        keys, tokens, limits = keys[stays], tokens[stays], limits[stays]
    return left, rounds


def filled(gaps: Gaps, limits: IntArray, cuts: IntArray) -> IntArray:
    """The cuts, with more between those that are more than a limit apart; one limit for each candidate.

    No part has more tokens than the limit, unless no candidate stands in it.
    """
    more = _from_left(gaps, limits, cuts[:-1], cuts[1:])
    return np.sort(np.concatenate([cuts, more])) if len(more) else cuts


def filled_far(gaps: Gaps, limits: IntArray, cut: int, bound: int) -> list[int]:
    """The cuts behind one, where the next of the others stands behind so many tokens, or is none."""
    run: list[int] = []
    end, far = np.array([len(gaps.keys)]), np.array([bound])
    while bound - gaps.tokens[cut] > FAR * limits[cut]:
        first = np.array([cut])
        cut = int(_next_cuts(gaps, first, end, far, limits[first])[0])
        run.append(cut)
    return run


def _from_left(gaps: Gaps, limits: IntArray, first: IntArray, last: IntArray) -> IntArray:
    """Cuts between the first and the last of each pair."""
    found = [np.empty(0, np.int64)]
    while True:
        long = (gaps.tokens[last] - gaps.tokens[first] > limits[first]) & (last - first > 1)
        if not long.any():
            return np.concatenate(found)
        first, last = first[long], last[long]
        first = _next_cuts(gaps, first, last, gaps.tokens[last], limits[first])
        found.append(first)


def _next_cuts(
    gaps: Gaps, first: IntArray, last: IntArray, last_tokens: IntArray, limit: IntArray
) -> IntArray:
    """The cut behind each of ``first``, where the next one is ``last``."""
    base = gaps.tokens[first]
    rest = last_tokens - base
    far = rest > FAR * limit
    # Best is what neither makes a crumb nor needs one more part than necessary. From afar no crumb is seen.
    crumb = limit // 4
    least = np.where(far, crumb, np.maximum(crumb, (rest - 1) % limit + 1))
    most = np.where(far, limit, rest - crumb)
    end = np.minimum(gaps.tokens.searchsorted(base + limit, "right"), last)
    end = np.maximum(end, first + 2)
    low, small = (gaps.tokens.searchsorted(base + start) for start in (least, crumb))
    high = gaps.tokens.searchsorted(base + most, "right")
    # All candidates from behind first to end, one range after the other.
    lengths = end - first - 1
    begins = np.cumsum(lengths) - lengths
    index = np.repeat(first + 1 - begins, lengths) + np.arange(lengths.sum())
    keys = gaps.keys[index]
    whole = index < np.repeat(high, lengths)
    good = whole & (index >= np.repeat(low, lengths))
    whole &= index >= np.repeat(small, lengths)
    # What is so short is the line break behind the text, and no crumb.
    whole |= gaps.tokens[index] >= np.repeat(last_tokens - _BREAK, lengths)
    # Crumbs come last; of the same level, good ones first.
    score = (
        keys
        + (good.astype(np.int64) << (_LEVEL_SHIFT - 1))
        + (whole.astype(np.int64) << _RANK_SHIFT)
    )
    best = score == np.repeat(np.maximum.reduceat(score, begins), lengths)
    # Of equal scores the last: text that repeats itself gives full chunks.
    return np.maximum.reduceat(np.where(best, index, -1), begins)
