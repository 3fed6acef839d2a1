"""Pages as one text, and their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_SEPARATOR = "\n\n"


def join_pages(texts: Iterable[str]) -> tuple[str, tuple[int, ...]]:
    """(all pages as one text, the offset at which each starts).

    An empty page starts where the next one does.
    """
    starts: list[int] = []
    parts: list[str] = []
    offset = 0
    for text in texts:
        starts.append(offset)
        part = text + _SEPARATOR if text else ""
        parts.append(part)
        offset += len(part)
    joined = "".join(parts).rstrip()
    return joined, tuple(min(start, len(joined)) for start in starts)


def listed(numbers: Sequence[int]) -> str:
    """Numbers in words: all of them, or the first ten and how many more."""
    shown = ", ".join(str(number) for number in numbers[:10])
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
