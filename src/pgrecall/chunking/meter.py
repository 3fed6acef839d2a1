"""Counts the tokens of slices of one text, of which it tokenises everything once and little more.

Inside a slice, the tokens are those of the whole text; only near its borders they can differ. So a slice is
taken apart at the first seam behind its start and the last one before its end (see ``Separable``): what lies
between the seams is known from the pass over the whole text, and what lies outside is mostly a word and a
full stop, whose counts are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from pgrecall.chunking.boundaries import IntArray
from pgrecall.tokens import Ids, Separable, Tokenizer, Traceable, last_seam

#: How far from the start and from the end of a slice a seam is looked for, in characters.
_HEAD, _TAIL = 200, 50
#: A place with the tokens between it and the slice's border, less (more) those of the text before the place.
_Edge = tuple[int, int]


class Meter:
    """Tokens of a text."""

    def __init__(self, text: str, tokenizer: Tokenizer, *, ids: bool = False) -> None:
        """``ids``: whether the ids of slices will be asked for, of a Traceable tokenizer."""
        self._text = text
        self._tokenizer = tokenizer
        self._seam = tokenizer.seams if isinstance(tokenizer, Separable) else None
        self._last_seam = last_seam(self._seam) if self._seam else None
        #: Offset of each token of the whole text.
        self.starts: IntArray
        self._count: Callable[[str], int]
        if ids and isinstance(tokenizer, Traceable):
            self._ids, self.starts = tokenizer.trace(text)
            self._encode = lru_cache(maxsize=4096)(tokenizer.encode_array)
            self._count = lambda piece: len(self._encode(piece))
        else:
            self.starts = tokenizer.starts(text)
            self._count = lru_cache(maxsize=4096)(tokenizer.count)
        # The same borders are asked for again at once: for a chunk and for its overlap.
        self._head = lru_cache(maxsize=4)(self._find_head)
        self._known = lru_cache(maxsize=4)(self._split_off)
        self._tail = lru_cache(maxsize=4)(self._find_tail)

    def before(self, offsets: IntArray) -> IntArray:
        """Number of tokens of the whole text that start before each offset."""
        return self.starts.searchsorted(offsets).astype("int64")

    def index(self, offset: int) -> int:
        """``before`` of one offset."""
        return int(self.starts.searchsorted(offset))

    def count(self, start: int, end: int, before: str = "") -> int:
        """Exact number of tokens of ``before + text[start:end]``, as if it stood alone."""
        head, tail = self._head(start, before), self._tail(end)
        if head and tail and head[0] <= tail[0]:
            return head[1] + tail[1]
        return self._tokenizer.count(before + self._text[start:end])

    def ids(self, start: int, end: int, before: str = "") -> Ids:
        """The tokens that ``count`` counts: shape (count(start, end, before),)."""
        head, tail = self._head(start, before), self._tail(end)
        if not (head and tail and head[0] <= tail[0]):
            return self._encode(before + self._text[start:end])
        first, last = head[0], tail[0]
        inside = self._ids[self.index(first) : self.index(last)]
        rest = self._text[last - 1 : end]
        behind = self._encode(rest)[self._count(rest[0]) :]
        return np.concatenate([self._ids_above(before, self._text[start:first]), inside, behind])

    def _ids_above(self, before: str, slice_: str) -> Ids:
        """The tokens of ``before`` and of a slice's begin, as far as its first seam."""
        found = self._last_seam and self._last_seam.match(before)
        if not found:
            return self._encode(before + slice_)
        seam = found.end()
        joint = before[seam - 1]
        rest = self._encode(joint + before[seam:] + slice_)[self._count(joint) :]
        return np.concatenate([self._encode(before[:seam]), rest])

    def _find_head(self, start: int, before: str) -> _Edge | None:
        """The first seam behind start, and the tokens up to it less those of the text before it."""
        found = self._seam and self._seam.search(self._text, start + 1, start + _HEAD)
        if not found:
            return None
        seam = found.start()
        known, rest = self._known(before)
        return seam, known + self._count(rest + self._text[start:seam]) - self.index(seam)

    def _split_off(self, before: str) -> tuple[int, str]:
        """What goes in front of slices, as a number of tokens and a rest, short as it can be."""
        found = self._last_seam and self._last_seam.match(before)
        if not found:
            return 0, before
        seam = found.end()
        joint = before[seam - 1]
        return self._count(before[:seam]) - self._count(joint), joint + before[seam:]

    def _find_tail(self, end: int) -> _Edge | None:
        """The last seam before end or at it, and the tokens of the text before end if it ended there."""
        # The end of the window is not seen by the pattern, which has to see what stands at end.
        found = self._last_seam and self._last_seam.match(self._text, max(end - _TAIL, 0), end + 1)
        if not found:
            return None
        seam = found.end()
        rest = self._text[seam:end]
        # The character before the seam keeps the tokens behind it as they are.
        joint = self._text[seam - 1]
        extra = self._count(joint + rest) - self._count(joint) if rest else 0
        return seam, self.index(seam) + extra
