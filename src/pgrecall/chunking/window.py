"""The cuts of a window: all of a text, or a part of a long one.

A cut depends on the text nearby and on nothing else, so a long text can be cut window by window with the same
cuts as in one piece. A window begins far enough before the last cut that is known, and what it finds too near
to its end is left to the next one: ``Window.cuts`` and ``Window.behind`` say where that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

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

Flags = npt.NDArray[np.bool_]

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
    """A cut that is known: where, whether a heading begins there, and in which round it was decided.

    No round: it is one of many in text that repeats itself, and those behind it follow from it.
    """

    offset: int = 0
    fresh: bool = True
    since: int | None = 0


@dataclass(frozen=True, slots=True)
class Cuts:
    """The cuts of a window, run by run, and the last one, from which the next window goes on.

    Within a run, chunks overlap. The first begins at the cut that was known.
    """

    runs: list[list[int]]
    last: Known


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
        first = int(self._offsets.searchsorted(at.offset))
        near = min(self._config.min_tokens, self._config.max_tokens // 2)
        borders = self._borders(near)
        limits = self._limits(borders)
        gaps = self._seen(packing.fenced(self._gaps, borders), limits)
        if len(gaps.keys) <= first + 1:
            return Cuts([[at.offset]], at)
        limits = limits[: len(gaps.keys)]
        chosen = packing.candidates(gaps, limits)
        if at.since is not None:
            chosen = chosen[chosen >= first]
        keys = gaps.keys[chosen]
        if not self._ends:
            keys[-1] = packing.UNKNOWN
        left, rounds = packing.merged(
            Gaps(keys, gaps.tokens[chosen]), limits[chosen], at.since or 0
        )
        left = chosen[left]
        cuts, rounds = self._filled(
            Gaps(gaps.keys[left], gaps.tokens[left]),
            limits[left],
            rounds,
            int(left.searchsorted(first)),
        )
        return self._runs(left[cuts], borders, rounds) if len(cuts) > 1 else Cuts([[at.offset]], at)

    def _filled(
        self, gaps: Gaps, limits: IntArray, rounds: IntArray, first: int
    ) -> tuple[IntArray, IntArray]:
        """The cuts from the first on, and the round of each."""
        decided = first + 1 + np.flatnonzero(rounds[first + 1 :] < packing.ROUNDS)
        cuts = packing.filled(gaps, limits, np.append(first, decided))
        # What is unknown changes one more candidate in each round.
        known = len(limits) - 1 - packing.ROUNDS
        if not self._ends and known > cuts[-1]:
            bound = int(gaps.tokens[known])
            far = packing.filled_far(gaps, limits, int(cuts[-1]), bound)
            cuts = np.append(cuts, np.array(far, np.int64))
        return cuts, rounds[cuts]

    def _runs(self, cuts: IntArray, borders: Flags, rounds: IntArray) -> Cuts:
        """The cuts, divided at the borders."""
        edges = np.flatnonzero(borders[cuts[1:]]) + 1
        offsets: list[int] = self._offsets[cuts].tolist()
        begins = [0, *edges.tolist()]
        ends = [*begins[1:], len(offsets) - 1]
        runs = [offsets[i : j + 1] for i, j in zip(begins, ends, strict=True)]
        since = int(rounds[-1])
        last = Known(offsets[-1], len(runs[-1]) == 1, since if since < packing.ROUNDS else None)
        return Cuts(runs, last)

    def _seen(self, gaps: Gaps, limits: IntArray) -> Gaps:
        """The candidates that are so whatever follows the window; the first may be UNKNOWN."""
        keys, tokens = gaps.keys.copy(), gaps.tokens
        if not self._begins:
            keys[0] = packing.UNKNOWN
        if self._ends:
            return Gaps(keys, tokens)
        last = self._known()
        if self._markup == "markdown":
            # What is nearer may turn out to be the better heading, or to have a longer header.
            near = int(1.5 * self._config.max_tokens)
            last = int(tokens.searchsorted(tokens[last] - near, "right")) - 1
        last = packing.before_unit(Gaps(keys[: last + 1], tokens), limits)
        return Gaps(keys[: last + 1], tokens[: last + 1])

    def _limits(self, borders: Flags) -> IntArray:
        """How long a chunk around each candidate may be, by the longest header there."""
        costs, tokens, starts = self._costs, self._gaps.tokens, self.meter.starts
        if len(costs) == 1 or not len(starts):
            return np.full(len(tokens), self._limit(max(costs)))
        reach = self._config.max_tokens
        low = starts[np.maximum(tokens - reach, 0)]
        high = starts[np.minimum(tokens + reach, len(starts) - 1)]
        # Nothing is joined across a border.
        edges = np.concatenate([[0], self._offsets[borders], [len(self.text) + 1]])
        next_ = edges.searchsorted(self._offsets, "right")
        low = np.maximum(low, edges[next_ - 1])
        high = np.minimum(high, edges[next_] - 1)
        begins = np.array(self.outline.starts)
        first, last = (begins.searchsorted(offsets, "right") for offsets in (low, high))
        limit = np.array(list(map(self._limit, costs)))
        return -packing.range_max(-limit, first - 1, last)

    @cached_property
    def _costs(self) -> list[int]:
        """Tokens of the header of each section."""
        return list(map(self._headers.cost, self.outline.paths))

    def _borders(self, near: int) -> Flags:
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

    def behind(self, cut: Known) -> int:
        """Where the next window may begin: what it finds from the cut on is what this one would find."""
        # All that a unit, the longest header, an overlap and a fingerprint look back at.
        reach = packing.UNIT + 2 if cut.since is not None else packing.UNIT + 2 + packing.ROUNDS
        token = max(self.meter.index(cut.offset) - reach * self._config.max_tokens, 0)
        start = max(int(self.meter.starts[token]) - BEFORE, 0)
        run = len(self.text[:start].rstrip(RUNS))
        start = run if start - run <= _BLANKS else start
        if self._markup == "code":
            start = last_line_alone(self.text, start)
        # The word before a place takes part in what it is, and the character before a seam in the tokens.
        return max(self._pieces.seam_before(self.text, max(start - BEFORE, 0)) - 1, 0)
