"""The cuts of a window: all of a text, or a part of a long one.

A cut depends on the text nearby and on nothing else, so a long text can be cut window by window with the same
cuts as in one piece. A window begins far enough before the last cut that is known, and what it finds too near
to its end is left to the next one: ``Window.cuts`` and ``Window.behind`` say where that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pgrecall.chunking import packing
from pgrecall.chunking.boundaries import RUNS, IntArray, Level, Places
from pgrecall.chunking.code import last_line_alone, settled
from pgrecall.chunking.config import ChunkConfig
from pgrecall.chunking.fine import refined
from pgrecall.chunking.fingerprint import AFTER, BEFORE, fingerprints
from pgrecall.chunking.headers import Headers
from pgrecall.chunking.meter import Meter, Pieces
from pgrecall.chunking.outline import Outline, Reading, outline
from pgrecall.chunking.packing import Gaps

#: Characters of blanks that are kept to know where their run began: megabytes would be read over and over.
_BLANKS = 65_536
#: Tokens that a slice may have more on its own than inside the text. If it has still more, it is cut again.
_SLACK = 2


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is at hand of a text: at which offset that begins, and whether the text ends with it."""

    text: str
    origin: int = 0
    ends: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """A cut that is known: where, whether a heading begins there, and the limit of chunks up to the next peak.

    No limit: it is a peak itself, or a heading, and those behind it follow from it.
    """

    offset: int = 0
    fresh: bool = True
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Cuts:
    """The cuts of a window, run by run, and the last one, from which the next window goes on.

    Within a run, chunks overlap. The first begins at the cut that was known.
    """

    runs: list[list[int]]
    last: Known


@dataclass(frozen=True, slots=True)
class _Section:
    """What stands between two edges: whether it is too long for one chunk, and the limit of its chunks.

    No limit: it is so long that headings at its end have no say in its beginning.
    """

    long: bool
    limit: int | None


class Window:
    """Places of a window, and which of them are cuts. All offsets are the window's own."""

    def __init__(
        self,
        stretch: Stretch,
        config: ChunkConfig,
        headers: Headers,
        pieces: Pieces,
        reading: Reading,
    ) -> None:
        self.text = text = stretch.text
        self._begins, self._ends = not stretch.origin, stretch.ends
        self._config = config
        self._headers = headers
        self._pieces = pieces
        self._markup = reading.markup
        if reading.markup == "markdown":
            reading.parser.read(text, stretch.origin, ends=stretch.ends)
        #: Behind it, headings and blocks may become something else.
        self._told = reading.parser.known - stretch.origin
        self.meter = Meter(text, pieces)
        self.outline: Outline = outline(text, reading, stretch.origin)
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

    def cuts(self, at: Known) -> Cuts:
        """The cuts from a known one on, as far as they do not depend on what follows the window.

        The known one alone: the window has to be longer.
        """
        tokens = self._gaps.tokens
        first = int(self._offsets.searchsorted(at.offset))
        known = len(tokens) - 1 if self._ends else self._known()
        near = min(self._config.min_tokens, self._reach)
        # What is less than that many tokens behind it may turn out to be the better heading.
        bound = int(tokens[known]) - (0 if self._ends or self._markup != "markdown" else near)
        borders = self._borders(near)
        sure = borders & (self._ends | (tokens + near <= tokens[known]))
        edges = np.concatenate([[first], first + 1 + np.flatnonzero(sure[first + 1 :])])
        gaps = packing.fenced(self._gaps, borders)
        sections = self._sections(edges, bound, at)
        cuts = np.sort(np.concatenate([edges, self._peaks(gaps, edges, bound, sections)]))
        run = packing.filled(gaps, cuts, self._limits(cuts, edges, sections, at))
        far, limit = self._far(int(cuts[-1]), edges, bound, at)
        return self._cuts(np.concatenate([run, far]), edges, at, limit if len(far) else None)

    def _cuts(self, run: IntArray, edges: IntArray, at: Known, limit: int | None) -> Cuts:
        """The run of cuts, divided at the edges."""
        ends = [*run.searchsorted(edges[1:]).tolist(), len(run) - 1]
        begins = run.searchsorted(edges).tolist()
        offsets: list[int] = self._offsets[run].tolist()
        runs = [offsets[i : j + 1] for i, j in zip(begins, ends, strict=True)]
        if len(offsets) == 1:
            return Cuts(runs, at)
        return Cuts(runs, Known(offsets[-1], len(runs[-1]) == 1, limit))

    def _sections(self, edges: IntArray, bound: int, at: Known) -> list[_Section]:
        """What begins at each edge: the last one is open, and the first perhaps the rest of a long one."""
        far = packing.FAR * self._config.max_tokens
        limits = self._limits_of(edges)
        sizes = np.diff(self._gaps.tokens[edges])
        columns = (sizes > limits).tolist(), limits.tolist(), (sizes > far).tolist()
        found = [
            _Section(long, None if distant else limit)
            for long, limit, distant in zip(*columns, strict=True)
        ]
        found.append(_Section(bool(bound - self._gaps.tokens[edges[-1]] > far), None))
        if not at.fresh:
            found[0] = _Section(long=True, limit=None)
        return found

    def _peaks(
        self, gaps: Gaps, edges: IntArray, bound: int, sections: Sequence[_Section]
    ) -> IntArray:
        """The peaks behind the first edge, within what does not fit into one chunk."""
        peaks = np.flatnonzero(packing.peaks(gaps, self._reach) & (gaps.keys < packing.BARRIER))
        # A peak is one whatever follows if all that is near enough to be greater is known.
        sure = self._ends | (gaps.tokens[peaks] + self._reach <= bound)
        peaks = peaks[sure & (peaks > edges[0])]
        long = np.array([section.long for section in sections])
        chosen: IntArray = peaks[long[edges.searchsorted(peaks, "right") - 1]]
        return chosen

    def _limits(
        self, cuts: IntArray, edges: IntArray, sections: Sequence[_Section], at: Known
    ) -> IntArray:
        """How long the chunks between two cuts may be."""
        of_pair = edges.searchsorted(cuts[:-1], "right") - 1
        limits = self._limits_of(cuts)
        whole = np.array([section.limit or 0 for section in sections], np.int64)[of_pair]
        limits = np.where(whole > 0, whole, limits)
        if at.limit:
            limits[:1] = at.limit
        return limits

    def _limits_of(self, cuts: IntArray) -> IntArray:
        """The limit between a candidate and the next, by the longest header there, unless that is far."""
        costs = self._costs
        if len(costs) == 1:
            return np.full(len(cuts) - 1, self._limit(costs[0]), np.int64)
        tokens, begins = self._gaps.tokens, self.outline.starts
        far = tokens.searchsorted(tokens[cuts[:-1]] + packing.FAR * self._config.max_tokens)
        starts = self._offsets[cuts[:-1]]
        ends = self._offsets[np.minimum(cuts[1:], np.maximum(far, cuts[:-1]))]
        first = np.searchsorted(begins, starts, "right") - 1
        last = np.searchsorted(begins, np.maximum(ends - 1, starts), "right")
        return np.array(
            [
                self._limit(costs[i] if j - i == 1 else max(costs[i:j]))
                for i, j in zip(first.tolist(), last.tolist(), strict=True)
            ],
            np.int64,
        )

    @cached_property
    def _costs(self) -> list[int]:
        """Tokens of the header of each section."""
        return list(map(self._headers.cost, self.outline.paths))

    def _far(self, last: int, edges: IntArray, bound: int, at: Known) -> tuple[IntArray, int]:
        """The cuts behind the last peak, if the next one is far away wherever it is; and their limit."""
        bound -= self._reach
        long = bound - int(self._gaps.tokens[last]) > packing.FAR * self._config.max_tokens
        if self._ends or not long:
            return np.empty(0, np.int64), 0
        carried = at.limit if last == edges[0] else None
        limit = carried or int(self._limits_of(np.array([last, len(self._offsets) - 1]))[0])
        return np.array(packing.filled_far(self._gaps, last, bound, limit), np.int64), limit

    def _borders(self, near: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """The start and end of the text, and the headings that start a chunk, if they are in the window."""
        borders = np.zeros(len(self._offsets), bool)
        index = np.flatnonzero(self._gaps.levels >= Level.SECTION)
        if self._config.respect_headings and len(index):
            subset = Gaps(self._gaps.keys[index], self._gaps.tokens[index])
            borders[index[packing.peaks(subset, near)]] = True
        borders[0], borders[-1] = self._begins, self._ends
        return borders

    def _known(self) -> int:
        """The last candidate that is so whatever follows the window, and so are all before it."""
        end = self._pieces.seam_before(self.text, len(self.text))
        end = min(end, len(self.text) - AFTER)
        if self._markup == "code":
            end = min(end, settled(self.text))
        if self._markup == "markdown":
            end = min(end, self._told)
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
        run = len(self.text[:start].rstrip(RUNS))
        start = run if start - run <= _BLANKS else start
        if self._markup == "code":
            start = last_line_alone(self.text, start)
        # The word before a place takes part in what it is, and the character before a seam in the tokens.
        return max(self._pieces.seam_before(self.text, max(start - BEFORE, 0)) - 1, 0)
