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
    """A tokenizer that keeps the counts of short texts, which come again and again."""

    def __init__(self, tokenizer: Tokenizer, *, ids: bool = False) -> None:
        """``ids``: whether the ids of slices will be asked for, of a Traceable tokenizer."""
        self.tokenizer = tokenizer
        self.traced = tokenizer if ids and isinstance(tokenizer, Traceable) else None
        self.seam = tokenizer.seams if isinstance(tokenizer, Separable) else None
        self.last_seam = last_seam(self.seam) if self.seam else None
        self.count: Callable[[str], int] = lru_cache(maxsize=8192)(tokenizer.count)
        if self.traced is not None:
            self.encode = lru_cache(maxsize=8192)(self.traced.encode_array)
        #: What goes in front of slices, as a number of tokens and a rest, short as it can be.
        self.split_off = lru_cache(maxsize=256)(self._split_off)

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
        heads = self.heads([start], self.behind([start]), [before])
        count = int(joined(heads, self.tails([end]))[0])
        if count != UNKNOWN:
            return count
        return self._pieces.tokenizer.count(before + self._text[start:end])

    def behind(self, starts: Sequence[int]) -> IntArray:
        """The first seam behind each start."""
        if self._pieces.seam is None:
            return np.full(len(starts), UNKNOWN)
        search, text = self._pieces.seam.search, self._text
        found = [search(text, start + 1, start + _HEAD) for start in starts]
        return np.array([match.start() if match else UNKNOWN for match in found], np.int64)

    def heads(self, starts: Sequence[int], seams: IntArray, befores: Iterable[str]) -> Edges:
        """Left borders, with what is put in front of each slice; ``seams`` are those behind the starts.

        ``befores`` may go on after the last slice.
        """
        text, count, split_off = self._text, self._count, self._pieces.split_off
        extra = []
        for start, seam, before in zip(starts, seams.tolist(), befores, strict=False):
            known, rest = split_off(before)
            extra.append(known + count(rest + text[start:seam]) if seam != UNKNOWN else 0)
        return Edges(seams, np.array(extra, np.int64) - self.before(seams))

    def tails(self, ends: Sequence[int]) -> Edges:
        """Right borders: the text before each end, if it ended there."""
        if self._pieces.last_seam is None:
            return Edges(*np.full((2, len(ends)), UNKNOWN))
        match, text, count = self._pieces.last_seam.match, self._text, self._count
        seams, extra = [], []
        for end in ends:
            # The end of the window is not seen by the pattern, which has to see what stands at end.
            found = match(text, max(end - _TAIL, 0), end + 1)
            seam = found.end() if found else UNKNOWN
            seams.append(seam)
            # The character before the seam keeps the tokens behind it as they are.
            known = seam in (end, UNKNOWN)
            extra.append(0 if known else count(text[seam - 1 : end]) - count(text[seam - 1]))
        array = np.array(seams, np.int64)
        return Edges(array, np.array(extra, np.int64) + self.before(array))

    def ids(self, start: int, end: int, before: str = "") -> Ids:
        """The tokens that ``count`` counts: shape (count(start, end, before),)."""
        first, last = int(self.behind([start])[0]), int(self.tails([end]).seams[0])
        encode = self._pieces.encode
        if first == UNKNOWN or first > last:
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
