"""From cuts to chunks: without white space around, with overlap and header, and within the limit.

Nearly all chunks come out as cut. They are made for a whole window of the text at once, which spares most
of the time; those that turn out too long, or whose overlap does, are made one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import NamedTuple

import numpy as np

from pgrecall.chunking.boundaries import IntArray
from pgrecall.chunking.config import ChunkConfig
from pgrecall.chunking.fine import levels_inside
from pgrecall.chunking.headers import Headers
from pgrecall.chunking.meter import UNKNOWN, joined
from pgrecall.chunking.overlap import Overlap
from pgrecall.chunking.parser import Path
from pgrecall.chunking.window import Window

#: The start of a chunk without its overlap, and its end: what the next one may repeat.
Previous = tuple[int, int]


class Part(NamedTuple):
    """A chunk to be: ``text[start:end]`` under its headings."""

    start: int
    end: int
    headings: Path
    header: str
    tokens: int


@dataclass(frozen=True, slots=True)
class _Slices:
    """What stands between cuts, without white space around: shape (n,) each."""

    starts: IntArray
    ends: IntArray
    #: Whether it begins a run: nothing is repeated there.
    fresh: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


class Fitter:
    """Makes the chunks of a window from its cuts."""

    def __init__(self, window: Window, config: ChunkConfig, headers: Headers) -> None:
        self._text = window.text
        self._max_tokens = config.max_tokens
        self._headers = headers
        self._outline = window.outline
        self._offsets = window.candidates.offsets
        self._meter = window.meter
        self._limit = config.overlap_tokens
        self._overlap = Overlap(window.text, window.candidates, window.meter, self._limit)

    def parts(
        self, runs: Iterable[Sequence[int]], previous: Previous | None = None
    ) -> Iterator[tuple[Previous, Part]]:
        """The chunks between the cuts, in order; within a run of cuts they overlap.

        ``previous`` is the chunk before the first one, if that goes on with its run. With each chunk comes
        what the next one may repeat.
        """
        slices = self._slices(runs, fresh=previous is None)
        if not len(slices.starts):
            return
        usual = self._usual(slices, previous or (0, 0))
        own = zip(slices.starts.tolist(), slices.ends.tolist(), strict=True)
        expected = previous
        for pair, fresh, part in zip(own, slices.fresh.tolist(), usual, strict=True):
            # What was expected of the one before must have come true.
            if part is not None and (fresh or previous == expected):
                previous = pair
                yield pair, part
            else:
                for made in self._fitting(*pair, None if fresh else previous):
                    previous = made[0]
                    yield made
            expected = pair

    def _slices(self, runs: Iterable[Sequence[int]], *, fresh: bool) -> _Slices:
        starts, ends, begins = [], [], []
        text = self._text
        for run in runs:
            for start, end in pairwise(run):
                piece = text[start:end]
                length = len(piece.rstrip())
                if length:
                    ends.append(start + length)
                    starts.append(end - len(piece.lstrip()) if piece[0].isspace() else start)
                    begins.append(fresh)
                    fresh = False
            fresh = True
        return _Slices(np.array(starts, np.int64), np.array(ends, np.int64), np.array(begins, bool))

    def _usual(self, slices: _Slices, previous: Previous) -> list[Part | None]:
        """A chunk for each slice, if the one before comes out as cut; None where it does not fit so."""
        meter = self._meter
        floors = np.concatenate([[previous[0]], slices.starts[:-1]])
        leads = self._overlap.longest(floors, slices.starts, ~slices.fresh)
        starts, ends = leads.tolist(), slices.ends.tolist()
        paths = self._outline.headings_of(leads, slices.ends)
        lines = list(map(self._headers.line, paths))
        behind = meter.behind(starts)
        tails = meter.tails([previous[1], *ends])
        alone = meter.heads(starts, behind, repeat(""))
        under = meter.heads(starts, behind, map(Headers.above, lines)) if any(lines) else alone
        tokens, repeated = joined(under, tails.part(1, None)), joined(alone, tails.part(0, -1))
        fits = (tokens != UNKNOWN) & (tokens <= self._max_tokens)
        fits &= (leads == slices.starts) | ((repeated != UNKNOWN) & (repeated <= self._limit))
        parts = map(Part, starts, ends, paths, lines, tokens.tolist())
        return [part if fit else None for part, fit in zip(parts, fits.tolist(), strict=True)]

    def _fitting(
        self, start: int, end: int, previous: Previous | None
    ) -> Iterator[tuple[Previous, Part]]:
        """The chunks of a slice, mostly one: cut until the exact counts are within the limit."""
        piece = self._text[start:end]
        start, end = end - len(piece.lstrip()), start + len(piece.rstrip())
        if start >= end:
            return
        lead = self._overlap.lead(previous[0], start, previous[1]) if previous else start
        for candidate in dict.fromkeys((lead, start)):
            part = self._part(candidate, end)
            if part.tokens <= self._max_tokens:
                yield (start, end), part
                return
        middle = self._middle(start, end)
        for first, last in ((start, middle), (middle, end)):
            for made in self._fitting(first, last, previous):
                yield made
                previous = made[0]

    def _middle(self, start: int, end: int) -> int:
        """The best place to cut a slice in two: of the best level, and of those next to the middle."""
        inner = self._offsets[slice(*self._offsets.searchsorted((start + 1, end)))]
        if not len(inner):
            inner = np.arange(start + 1, end)
        levels = levels_inside(self._text, inner)
        best = inner[levels == levels.max()]
        return int(best[np.argmin(np.abs(best - (start + end) // 2))])

    def _part(self, lead: int, end: int) -> Part:
        headings = self._outline.headings(lead, end)
        header = self._headers.line(headings)
        tokens = self._meter.count(lead, end, Headers.above(header))
        return Part(lead, end, headings, header, tokens)
