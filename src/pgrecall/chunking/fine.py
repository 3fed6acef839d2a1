"""Places inside a unit that is too long to be kept whole: words, then characters."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pgrecall.chunking.boundaries import IntArray, Level, Places, Points, code_points, merged

_CLAUSE_ENDS = np.array([ord(char) for char in ",;:.!?，、；："], np.uint32)
#: Those after which no space stands.
_WIDE_CLAUSE_ENDS = "，、；："
_JOINER = 0x200D
_REGIONAL = (0x1F1E6, 0x1F1FF)
_SKIN = (0x1F3FB, 0x1F3FF)


def refined(text: str, found: Places, starts: IntArray, limit: int) -> Places:
    """The places, with the start of every token inside the units that have more tokens than the limit."""
    edges = np.concatenate([[0], found.offsets, [len(text)]])
    tokens = np.searchsorted(starts, edges)
    long = np.flatnonzero(np.diff(tokens) > limit)
    if not len(long):
        return found
    extra = np.concatenate([starts[tokens[i] : tokens[i + 1]] for i in long])
    return merged(
        np.concatenate([found.offsets, extra]),
        np.concatenate([found.levels, levels_inside(text, extra)]),
        len(text),
    )


def levels_inside(text: str, offsets: IntArray) -> IntArray:
    """WORD, CLAUSE, CHARACTER or INSIDE for each offset; the offsets ascend."""
    levels = np.empty(len(offsets), np.int64)
    block = 1 << 16
    for i in range(0, len(offsets), block):
        part = offsets[i : i + block]
        origin = max(int(part[0]) - 2, 0)
        # Flags are pairs: whether one is whole is seen from the first of them.
        while i and origin and _REGIONAL[0] <= ord(text[origin]) <= _REGIONAL[1]:
            origin -= 1
        points = code_points(text[origin : int(part[-1]) + 2])
        levels[i : i + block] = _levels(points, part - origin)
    return levels


def begins_word(text: str, offset: int) -> bool:
    """Whether the level of an offset greater than 0 is WORD or CLAUSE, told without arrays."""
    before, here = text[offset - 1], text[offset]
    parted = before.isspace() or here.isspace() or before in _WIDE_CLAUSE_ENDS
    return parted and not _extends(here) and before + here != "\r\n"


def _levels(points: Points, offsets: IntArray) -> IntArray:
    padded = np.concatenate([[32], points, [32]]).astype(np.uint32)
    here, before = padded[offsets + 1], padded[offsets]
    space, space_before = _is(str.isspace, here), _is(str.isspace, before)
    # A token may begin with its space: the word begins after it, and leading space is stripped.
    word = space | space_before
    last = np.where(space_before, padded[np.maximum(offsets - 1, 0)], before)
    clause = np.isin(last, _CLAUSE_ENDS) & (word | (last > 0x2E80))
    levels = np.where(clause, Level.CLAUSE, np.where(word, Level.WORD, Level.CHARACTER))
    return np.where(_inside(padded, offsets + 1), Level.INSIDE, levels).astype(np.int64)


def _inside(points: npt.NDArray[np.uint32], offsets: IntArray) -> npt.NDArray[np.bool_]:
    """Whether an offset lies inside a grapheme cluster (the common cases of Unicode's UAX 29)."""
    here, before = points[offsets], points[offsets - 1]
    flag, flag_before = _within(here, _REGIONAL), _within(before, _REGIONAL)
    inside: npt.NDArray[np.bool_] = (
        _is(_extends, here)
        | (here == _JOINER)
        | (before == _JOINER)
        | _within(here, _SKIN)
        | ((before == 13) & (here == 10))
        | (flag & flag_before & _odd_flag(points, offsets))
    )
    return inside


def _odd_flag(points: npt.NDArray[np.uint32], offsets: IntArray) -> npt.NDArray[np.bool_]:
    """Whether an odd number of regional indicators stands before: flags are pairs of them."""
    flags = _within(points, _REGIONAL)
    index = np.arange(len(points))
    last_other = np.maximum.accumulate(np.where(flags, -1, index))
    odd: npt.NDArray[np.bool_] = (offsets - 1 - last_other[offsets - 1]) % 2 == 1
    return odd


def _within(points: npt.NDArray[np.uint32], bounds: tuple[int, int]) -> npt.NDArray[np.bool_]:
    return (points >= bounds[0]) & (points <= bounds[1])


def _extends(char: str) -> bool:
    return unicodedata.category(char) in ("Mn", "Me", "Mc")


def _is(test: Callable[[str], bool], points: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """A test of characters, asked once per different character."""
    different, index = np.unique(points, return_inverse=True)
    return np.array([bool(test(chr(point))) for point in different.tolist()], dtype=bool)[index]
