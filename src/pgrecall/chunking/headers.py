"""The line of title and headings that goes in front of a chunk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from pgrecall.chunking.meter import Pieces

SEPARATOR = " > "
#: Headers that are remembered.
_KEPT = 1024


class Headers:
    """Makes headers of at most ``limit`` tokens; ``limit`` 0: none."""

    def __init__(self, pieces: Pieces, title: str | None, limit: int) -> None:
        self._pieces = pieces
        self._tokenizer = pieces.tokenizer
        self._title = " ".join((title or "").split())
        self._limit = limit
        # A long text may have any number of headings.
        self.line = lru_cache(maxsize=_KEPT)(self._line)
        self.cost = lru_cache(maxsize=_KEPT)(self._cost)

    @staticmethod
    def above(line: str) -> str:
        """What stands in front of a chunk with this header."""
        return f"{line}\n\n" if line else ""

    def _cost(self, path: tuple[str, ...]) -> int:
        """Tokens of the header and the empty line behind it."""
        # As it will be asked for when the header is put in front of a chunk.
        known, rest = self._pieces.split_off(self.above(self.line(path)))
        return known + self._pieces.count(rest)

    def _line(self, path: tuple[str, ...]) -> str:
        parts = [self._title, *path] if self._title not in ("", *path[:1]) else list(path)
        parts = [part for part in parts if part]
        line = SEPARATOR.join(parts)
        if not line or not self._limit:
            return ""
        return line if self._fits(line) else self._shortened(parts)

    def _fits(self, line: str) -> bool:
        # No tokenizer makes more tokens of ASCII than it has characters, but for one in front.
        if line.isascii() and len(line) < self._limit:
            return True
        # The first test spares the tokenizer a title of a megabyte.
        return len(line) < 64 * self._limit and self._tokenizer.count(line) <= self._limit

    def _shortened(self, parts: Sequence[str]) -> str:
        """Every part keeps an equal share; where that is nothing, the innermost headings remain."""
        share = max(self._limit // len(parts) - 1, 1)
        line = SEPARATOR.join(
            filter(None, (self._tokenizer.truncate(part, share).strip() for part in parts))
        )
        while parts and not self._fits(line):
            parts = parts[1:]
            line = SEPARATOR.join(
                filter(None, (self._tokenizer.truncate(part, share).strip() for part in parts))
            )
        return line
