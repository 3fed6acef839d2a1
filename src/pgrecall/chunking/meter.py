"""Counts the tokens of slices of one text, of which it tokenises everything once and little more."""

from __future__ import annotations

import numpy as np

from pgrecall.chunking.boundaries import IntArray
from pgrecall.tokens import Separable, Tokenizer

#: How far from the borders of a slice a seam is looked for, in characters.
_MARGIN = 200


class Meter:
    """Tokens of a text."""

    def __init__(self, text: str, tokenizer: Tokenizer) -> None:
        self._text = text
        self._tokenizer = tokenizer
        self._seams = tokenizer.seams if isinstance(tokenizer, Separable) else None
        #: Offset of each token of the whole text.
        self.starts = tokenizer.starts(text)

    def before(self, offsets: IntArray) -> IntArray:
        """Number of tokens of the whole text that start before each offset."""
        return self.starts.searchsorted(offsets).astype(np.int64)

    def index(self, offset: int) -> int:
        """``before`` of one offset."""
        return int(self.starts.searchsorted(offset))

    def count(self, start: int, end: int, before: str = "") -> int:
        """Exact number of tokens of ``before + text[start:end]``, as if it stood alone.

        Between two seams the tokens are those of the whole text. What lies outside them, put together at
        the seams, is a short text, and the only one that is tokenised.
        """
        first, last = self._span(start, end)
        inner = self.index(last) - self.index(first) if first < last else 0
        return inner + self._tokenizer.count(
            before + self._text[start:first] + self._text[last:end]
        )

    def _span(self, start: int, end: int) -> tuple[int, int]:
        """The first seam after start and the last one before end; (end, end) if that is not worth while."""
        if self._seams is None or end - start < _MARGIN:
            return end, end
        first = self._seams.search(self._text, start + 1, min(start + _MARGIN, end))
        if first is None:
            return end, end
        begin = max(first.start(), end - _MARGIN // 4)
        last = [seam.start() for seam in self._seams.finditer(self._text, begin, end)]
        return (first.start(), last[-1]) if last else (end, end)
