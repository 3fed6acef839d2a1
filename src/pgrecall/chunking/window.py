"""The cuts of a window: all of a text, or a part of a long one.

A cut depends on the text nearby and on nothing else, so a long text can be cut window by window with the same
cuts as in one piece. A window begins far enough before the last cut that is known, and what it finds too near
to its end is left to the next one: ``Window.cuts`` and ``Window.behind`` say where that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pgrecall.chunking import packing
from pgrecall.chunking.boundaries import RUNS, IntArray, Level, Places
from pgrecall.chunking.code import last_line_alone, settled
from pgrecall.chunking.config import ChunkConfig
from pgrecall.chunking.fine import refined
from pgrecall.chunking.fingerprint import AFTER, BEFORE, fingerprints
from pgrecall.chunking.headers import Headers
from pgrecall.chunking.meter import Meter, Pieces
from pgrecall.chunking.outline import Outline, outline
from pgrecall.chunking.packing import Gaps
from pgrecall.types import Markup

#: Tokens that a slice may have more on its own than inside the text. If it has still more, it is cut again.
_SLACK = 2


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is at hand of a text, and whether the text begins and ends with it."""

    text: str
    begins: bool = True
    ends: bool = True


class Window:
    """Places of a window, and which of them are cuts. All offsets are the window's own."""

    def __init__(
        self,
        stretch: Stretch,
        config: ChunkConfig,
        headers: Headers,
        pieces: Pieces,
        markup: Markup,
    ) -> None:
        self.text = text = stretch.text
        self._begins, self._ends = stretch.begins, stretch.ends
        self._config = config
        self._headers = headers
        self._pieces = pieces
        self._markup = markup
        self.meter = Meter(text, pieces)
        self.outline: Outline = outline(text, markup)
        self._smallest = self._limit(config.max_tokens // 4 + 2)
        self._offsets, self._gaps = self._candidates()
        self._reach = (config.max_tokens - config.overlap_tokens) // 2

    @property
    def candidates(self) -> Places:
        """Everywhere that a cut can be."""
        return Places(self._offsets, self._gaps.levels)

    def _candidates(self) -> tuple[IntArray, Gaps]:
        found = refined(self.text, self.outline.places, self.meter.starts, self._smallest)
        offsets = np.concatenate([[0], found.offsets, [len(self.text)]])
        keys = packing.keys(found.levels, fingerprints(self.text, found.offsets))
        gaps = Gaps(np.concatenate([[0], keys, [0]]), self.meter.before(offsets))
        edges = np.zeros(len(offsets), bool)
        edges[0], edges[-1] = self._begins, self._ends
        return offsets, packing.fenced(gaps, edges)

    def _limit(self, header: int) -> int:
        config = self._config
        slack = _SLACK + header + config.overlap_tokens
        return max(config.max_tokens - slack, config.max_tokens // 4)

    def runs(self) -> Iterator[Sequence[int]]:
        """The cuts of a text that is all in the window: within a run, chunks overlap."""
        borders = self._borders(min(self._config.min_tokens, self._reach))
        gaps = packing.fenced(self._gaps, borders)
        edges = np.flatnonzero(borders)
        cost = [self._header_cost(*pair) for pair in pairwise(self._offsets[edges].tolist())]
        limits = np.array(list(map(self._limit, cost)), np.int64)
        # What fits into one chunk is one.
        long = np.diff(gaps.tokens[edges]) > limits
        peaks = np.flatnonzero(packing.peaks(gaps, self._reach) & ~borders)
        peaks = peaks[long[edges.searchsorted(peaks, "right") - 1]]
        cuts = np.sort(np.concatenate([edges, peaks]))
        of_pair = edges.searchsorted(cuts[:-1], "right") - 1
        run = packing.filled(gaps, cuts, limits[of_pair])
        offsets, begins = self._offsets[run].tolist(), run.searchsorted(edges).tolist()
        return (offsets[first : last + 1] for first, last in pairwise(begins))

    def _borders(self, reach: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """The start and end of the text, and the headings that start a chunk."""
        borders = np.zeros(len(self._offsets), bool)
        borders[[0, -1]] = True
        index = np.flatnonzero(self._gaps.levels >= Level.SECTION)
        if self._config.respect_headings and len(index) > 2:  # more than the ends of the text
            subset = Gaps(self._gaps.keys[index], self._gaps.tokens[index])
            borders[index[packing.peaks(subset, reach)]] = True
        borders[-1] = True
        return borders

    def _header_cost(self, start: int, end: int) -> int:
        """Tokens of the longest header in this part of the text."""
        paths, cost = self.outline.paths, self._headers.cost
        return max([cost(paths[i]) for i in self.outline.sections(start, end)])

    def cuts(self, at: int) -> Sequence[int]:
        """The cuts from the known one at ``at``, as far as they do not depend on what follows the window.

        For texts without headings. ``at`` alone: the window has to be longer.
        """
        limit = self._limit(self._headers.cost(()))
        tokens = self._gaps.tokens
        known = len(tokens) - 1 if self._ends else self._known()
        first = int(self._offsets.searchsorted(at))
        if self._begins and not first and tokens[known] <= limit:
            return [at]  # perhaps all of the text is one chunk
        peaks = np.flatnonzero(packing.peaks(self._gaps, self._reach))
        # A peak is one whatever follows if all that is near enough to be greater is known.
        sure = self._ends | (tokens[peaks] + self._reach <= tokens[known])
        peaks = peaks[sure & (peaks > first)]
        run = [first, *peaks.tolist(), known] if self._ends else [first, *peaks.tolist()]
        run = packing.filled(self._gaps, np.array(run), np.full(len(run) - 1, limit)).tolist()
        if not self._ends:
            bound = int(tokens[known]) - self._reach
            run += packing.filled_far(self._gaps, run[-1], bound, limit)
        cuts: list[int] = self._offsets[run].tolist()
        return cuts

    def _known(self) -> int:
        """The last candidate that is so whatever follows the window, and so are all before it."""
        end = self._pieces.seam_before(self.text, len(self.text))
        end = min(end, len(self.text) - AFTER)
        if self._markup == "code":
            end = min(end, settled(self.text))
        places = self.outline.places.offsets
        before = int(places.searchsorted(end, "right"))
        last = int(places[before - 1]) if before else 0
        # A unit that may go on behind the window may get further places.
        long = self.meter.index(end) - self.meter.index(last) > self._smallest
        known = end if long else min(last, end)
        return max(int(self._offsets.searchsorted(known, "right")) - 1, 0)

    def behind(self, cut: int) -> int:
        """Where the next window may begin: what it finds from the cut on is what this one would find."""
        # All that a peak, a unit that is refined, an overlap and a fingerprint look back at.
        token = max(self.meter.index(cut) - 2 * self._config.max_tokens, 0)
        start = max(int(self.meter.starts[token]) - BEFORE, 0)
        start = len(self.text[:start].rstrip(RUNS))
        if self._markup == "code":
            start = last_line_alone(self.text, start)
        # The word before a place takes part in what it is, and the character before a seam in the tokens.
        return max(self._pieces.seam_before(self.text, max(start - BEFORE, 0)) - 1, 0)
