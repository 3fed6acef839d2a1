"""Counts the tokens of slices of one text, of which it tokenises everything once and little more.

Inside a slice, the tokens are those of the whole text; only near its borders they can differ. So a slice is
taken apart at the first seam behind its start and the last one before its end (see ``Separable``): what lies
between the seams is known from the pass over the whole text, and what lies outside is mostly a word and a
full stop, whose counts are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pgrecall.chunking.boundaries import IntArray
from pgrecall.tokens import Ids, Separable, Tokenizer, Traceable, last_seam

#: How far from the start and from the end of a slice a seam is looked for, in characters.
_HEAD, _TAIL = 200, 50
#: How far from the end of a window.
_FAR = 4096
#: Stands for a seam or a number of tokens that is not known.
UNKNOWN = -1


@dataclass(frozen=True, slots=True)
class Edges:
    """One border of many slices: shape (n,) each.

    The seam next to it, and the tokens between it and the border, less (more) those of the text before the
    seam. Where the seam is UNKNOWN, the tokens mean nothing.
    """

    seams: IntArray
    tokens: IntArray

    def part(self, first: int, last: int | None) -> Edges:
        """Those of some of the slices."""
        return Edges(self.seams[first:last], self.tokens[first:last])


def joined(heads: Edges, tails: Edges) -> IntArray:
    """Tokens of each slice; UNKNOWN where it has to be tokenised to know."""
    known = (heads.seams != UNKNOWN) & (heads.seams <= tails.seams)
    return np.where(known, heads.tokens + tails.tokens, UNKNOWN)


class Pieces:
    """A tokenizer, and what it says again and again of short texts."""

    def __init__(self, tokenizer: Tokenizer, *, ids: bool = False) -> None:
        """``ids``: whether the ids of slices will be asked for, of a Traceable tokenizer."""
        self.tokenizer = tokenizer
        self.traced = tokenizer if ids and isinstance(tokenizer, Traceable) else None
        self.seam = tokenizer.seams if isinstance(tokenizer, Separable) else None
        self.last_seam = last_seam(self.seam) if self.seam else None
        #: Those that are Separable keep the counts of short texts themselves.
        self.count: Callable[[str], int] = tokenizer.count
        if self.traced is not None:
            self.encode = lru_cache(maxsize=2048)(self.traced.encode_array)
        #: What goes in front of slices, as a number of tokens and a rest, short as it can be.
        self.split_off = lru_cache(maxsize=256)(self._split_off)

    def seam_before(self, text: str, end: int) -> int:
        """The last seam before end; 0 if there is none not far from it."""
        found = self.last_seam and self.last_seam.match(text, max(end - _FAR, 0), end)
        return found.end() if found else 0

    def _split_off(self, before: str) -> tuple[int, str]:
        found = self.last_seam and self.last_seam.match(before)
        if not found:
            return 0, before
        seam = found.end()
        joint = before[seam - 1]
        return self.count(before[:seam]) - self.count(joint), joint + before[seam:]


class Meter:
    """Tokens of a text."""

    def __init__(self, text: str, pieces: Pieces) -> None:
        self._text = text
        self._pieces = pieces
        self._count = pieces.count
        #: Offset of each token of the whole text.
        self.starts: IntArray
        if pieces.traced is not None:
            self._ids, self.starts = pieces.traced.trace(text)
        else:
            self.starts = pieces.tokenizer.starts(text)

    @property
    def traced(self) -> bool:
        """Whether ``ids`` can be asked for."""
        return self._pieces.traced is not None

    def before(self, offsets: IntArray) -> IntArray:
        """Number of tokens of the whole text that start before each offset."""
        return self.starts.searchsorted(offsets).astype("int64")

    def index(self, offset: int) -> int:
        """``before`` of one offset."""
        return int(self.starts.searchsorted(offset))

    def count(self, start: int, end: int, before: str = "") -> int:
        """Exact number of tokens of ``before + text[start:end]``, as if it stood alone."""
        first, last = self._behind(start), self._last(end)
        if UNKNOWN in (first, last) or first > last:
            return self._pieces.tokenizer.count(before + self._text[start:end])
        low, high = self.starts.searchsorted((first, last)).tolist()
        return self._above(start, first, before) + int(high - low) + self._below(last, end)

    def behind(self, starts: Sequence[int]) -> IntArray:
        """The first seam behind each start."""
        return np.fromiter(map(self._behind, starts), np.int64, len(starts))

    def heads(self, starts: Sequence[int], seams: IntArray, befores: Iterable[str]) -> Edges:
        """Left borders, with what is put in front of each slice; ``seams`` are those behind the starts.

        ``befores`` may go on after the last slice.
        """
        above = map(self._above, starts, seams.tolist(), befores)
        return Edges(seams, np.fromiter(above, np.int64, len(starts)) - self.before(seams))

    def tails(self, ends: Sequence[int]) -> Edges:
        """Right borders: the text before each end, if it ended there."""
        seams = np.fromiter(map(self._last, ends), np.int64, len(ends))
        below = map(self._below, seams.tolist(), ends)
        return Edges(seams, np.fromiter(below, np.int64, len(ends)) + self.before(seams))

    def _behind(self, start: int) -> int:
        seam = self._pieces.seam
        found = seam and seam.search(self._text, start + 1, start + _HEAD)
        return found.start() if found else UNKNOWN

    def _last(self, end: int) -> int:
        """The last seam before end or at it."""
        seam = self._pieces.last_seam
        # The end of the window is not seen by the pattern, which has to see what stands at end.
        found = seam and seam.match(self._text, max(end - _TAIL, 0), end + 1)
        return found.end() if found else UNKNOWN

    def _above(self, start: int, seam: int, before: str) -> int:
        """Tokens up to the seam behind the start."""
        if seam == UNKNOWN:
            return 0
        if not before:
            return self._count(self._text[start:seam])
        known, rest = self._pieces.split_off(before)
        return known + self._count(rest + self._text[start:seam])

    def _below(self, seam: int, end: int) -> int:
        """Tokens from the last seam to the end."""
        if seam in (UNKNOWN, end):
            return 0
        # The character before the seam keeps the tokens behind it as they are.
        return self._count(self._text[seam - 1 : end]) - self._count(self._text[seam - 1])

    def ids(self, start: int, end: int, before: str = "") -> Ids:
        """The tokens that ``count`` counts: shape (count(start, end, before),)."""
        first, last = self._behind(start), self._last(end)
        encode = self._pieces.encode
        if UNKNOWN in (first, last) or first > last:
            return encode(before + self._text[start:end])
        inside = self._ids[self.index(first) : self.index(last)]
        rest = self._text[last - 1 : end]
        behind = encode(rest)[self._count(rest[0]) :]
        return np.concatenate([self._ids_above(before, self._text[start:first]), inside, behind])

    def _ids_above(self, before: str, slice_: str) -> Ids:
        """The tokens of ``before`` and of a slice's begin, as far as its first seam."""
        encode = self._pieces.encode
        found = self._pieces.last_seam and self._pieces.last_seam.match(before)
        if not found:
            return encode(before + slice_)
        seam = found.end()
        joint = before[seam - 1]
        rest = encode(joint + before[seam:] + slice_)[self._count(joint) :]
        return np.concatenate([encode(before[:seam]), rest])
