"""Compose the parts: places, cuts, overlap, headers, chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np

from pgrecall.chunking import packing
from pgrecall.chunking.boundaries import IntArray, Level, Places
from pgrecall.chunking.config import ChunkConfig
from pgrecall.chunking.fine import levels_inside, refined
from pgrecall.chunking.fingerprint import fingerprints
from pgrecall.chunking.headers import Headers
from pgrecall.chunking.meter import Meter
from pgrecall.chunking.outline import Outline, outline
from pgrecall.chunking.overlap import Overlap
from pgrecall.chunking.packing import Gaps
from pgrecall.tokens import Ids, Tokenizer, Traceable, open_tokenizer, scalar_values
from pgrecall.types import Chunk, Markup

#: Tokens that a slice may have more on its own than inside the text. If it has still more, it is cut again.
_SLACK = 2
#: Characters of a token, rather many: a text with more than so many for each token of a chunk hardly fits.
_CHARACTERS = 6


def split(
    text: str,
    config: ChunkConfig | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    markup: Markup = "plain",
    title: str | None = None,
    token_ids: bool = False,
) -> list[Chunk]:
    """Cut a text into chunks that are exact slices of it: ``text[c.start:c.end] == c.content``.

    No chunk's ``embedded_text`` has more than ``config.max_tokens`` tokens of the tokenizer (default:
    cl100k_base), and ``tokens`` is its exact number. With ``token_ids`` chunks carry the ids of their tokens,
    if the tokenizer is Traceable and the text valid Unicode. How the cuts are chosen is told in
    ``pgrecall.chunking``.
    """
    if not text or text.isspace():
        return []
    config, tokenizer = config or ChunkConfig(), tokenizer or open_tokenizer("cl100k_base")
    headers = Headers(tokenizer, title, config.max_tokens // 4 if config.include_header else 0)
    usable = token_ids and isinstance(tokenizer, Traceable) and _is_unicode(text, title)
    traceable = cast("Traceable", tokenizer) if usable else None
    whole = None if markup == "markdown" else _whole(text, config, tokenizer, headers)
    parts: Iterable[_Part]
    if whole:
        parts = [_traced(whole, text, traceable) if traceable else whole]
    else:
        traced = traceable is not None
        parts = _Splitter(text, config, tokenizer, headers, markup, traced=traced).parts()
    return [
        Chunk(
            ordinal=ordinal,
            start=part.start,
            end=part.end,
            content=text[part.start : part.end],
            headings=part.headings,
            header=part.header,
            tokens=part.tokens,
            token_ids=part.ids,
        )
        for ordinal, part in enumerate(parts)
    ]


class _Part(NamedTuple):
    start: int
    end: int
    headings: tuple[str, ...]
    header: str
    tokens: int
    ids: Ids | None = None


def _is_unicode(*texts: str | None) -> bool:
    return all(text is None or scalar_values(text) is text for text in texts)


def _whole(text: str, config: ChunkConfig, tokenizer: Tokenizer, headers: Headers) -> _Part | None:
    """The text as one chunk, if it is short enough to try and fits: such as a row of a table."""
    if len(text) > _CHARACTERS * config.max_tokens:
        return None
    start, end = len(text) - len(text.lstrip()), len(text.rstrip())
    header = headers.line(())
    tokens = tokenizer.count(Headers.above(header) + text[start:end])
    return _Part(start, end, (), header, tokens) if tokens <= config.max_tokens else None


def _traced(part: _Part, text: str, tokenizer: Traceable) -> _Part:
    ids = tokenizer.encode_array(Headers.above(part.header) + text[part.start : part.end])
    return part._replace(ids=ids)


class _Splitter:
    def __init__(
        self,
        text: str,
        config: ChunkConfig,
        tokenizer: Tokenizer,
        headers: Headers,
        markup: Markup,
        *,
        traced: bool,
    ) -> None:
        self._text = text
        self._config = config
        self._traced = traced
        self._meter = Meter(text, tokenizer, ids=traced)
        self._outline: Outline = outline(text, markup)
        self._headers = headers
        self._offsets, self._gaps = self._candidates()
        self._levels = self._gaps.levels
        self._overlap = Overlap(
            text, Places(self._offsets, self._levels), self._meter, config.overlap_tokens
        )

    def parts(self) -> Iterator[_Part]:
        """The chunks in order."""
        for segment in self._segments():
            cuts = self._offsets[segment].tolist()
            previous: tuple[int, int] | None = None
            for start, end in pairwise(cuts):
                for first, part in self._fitting(start, end, previous):
                    previous = first, part.end
                    yield self._with_ids(part) if self._traced else part

    def _with_ids(self, part: _Part) -> _Part:
        above = Headers.above(part.header)
        return part._replace(ids=self._meter.ids(part.start, part.end, above))

    def _candidates(self) -> tuple[IntArray, Gaps]:
        config = self._config
        smallest = self._limit(config.max_tokens // 4 + 2)
        found = refined(self._text, self._outline.places, self._meter.starts, smallest)
        offsets = np.concatenate([[0], found.offsets, [len(self._text)]])
        keys = packing.keys(found.levels, fingerprints(self._text, found.offsets))
        gaps = Gaps(np.concatenate([[0], keys, [0]]), self._meter.before(offsets))
        edges = np.zeros(len(offsets), bool)
        edges[[0, -1]] = True
        return offsets, packing.fenced(gaps, edges)

    def _limit(self, header: int) -> int:
        config = self._config
        slack = _SLACK + header + config.overlap_tokens
        return max(config.max_tokens - slack, config.max_tokens // 4)

    def _segments(self) -> Iterator[list[int]]:
        """Runs of cuts (indices of candidates): within a run, chunks overlap."""
        reach = (self._config.max_tokens - self._config.overlap_tokens) // 2
        borders = self._borders(min(self._config.min_tokens, reach))
        gaps = packing.fenced(self._gaps, borders)
        cuts = np.flatnonzero(packing.peaks(gaps, reach) | borders)
        edges = np.flatnonzero(borders).tolist()
        for first, last in pairwise(edges):
            limit = self._limit(self._header_cost(first, last))
            if gaps.tokens[last] - gaps.tokens[first] <= limit:
                yield [first, last]
                continue
            low, high = cuts.searchsorted((first, last))
            run = cuts[low : high + 1].tolist()
            yield [
                first,
                *(cut for a, b in pairwise(run) for cut in (*packing.fill(gaps, a, b, limit), b)),
            ]

    def _borders(self, reach: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """The start and end of the text, and the headings that start a chunk."""
        borders = np.zeros(len(self._offsets), bool)
        borders[[0, -1]] = True
        index = np.flatnonzero(self._levels >= Level.SECTION)
        if self._config.respect_headings and len(index) > 2:  # more than the ends of the text
            subset = Gaps(self._gaps.keys[index], self._gaps.tokens[index])
            borders[index[packing.peaks(subset, reach)]] = True
        borders[-1] = True
        return borders

    def _header_cost(self, first: int, last: int) -> int:
        sections = self._outline.sections(int(self._offsets[first]), int(self._offsets[last]))
        return max(self._headers.cost(self._outline.paths[i]) for i in sections)

    def _fitting(
        self, start: int, end: int, previous: tuple[int, int] | None
    ) -> Iterator[tuple[int, _Part]]:
        """The chunks of a slice, mostly one: cut until the exact counts are within the limit.

        ``previous`` is the chunk before that may be repeated: its start without overlap, and its end.
        With each chunk comes its own start without overlap.
        """
        piece = self._text[start:end]
        start, end = end - len(piece.lstrip()), start + len(piece.rstrip())
        if start >= end:
            return
        lead = self._overlap.lead(previous[0], start, previous[1]) if previous else start
        for candidate in dict.fromkeys((lead, start)):
            part = self._part(candidate, end)
            if part.tokens <= self._config.max_tokens:
                yield start, part
                return
        middle = self._middle(start, end)
        for first, last in ((start, middle), (middle, end)):
            for found in self._fitting(first, last, previous):
                yield found
                previous = found[0], found[1].end

    def _middle(self, start: int, end: int) -> int:
        """The best place to cut a slice in two: of the best level, and of those next to the middle."""
        inner = self._offsets[slice(*self._offsets.searchsorted((start + 1, end)))]
        if not len(inner):
            inner = np.arange(start + 1, end)
        levels = levels_inside(self._text, inner)
        best = inner[levels == levels.max()]
        return int(best[np.argmin(np.abs(best - (start + end) // 2))])

    def _part(self, lead: int, end: int) -> _Part:
        headings = self._outline.headings(lead, end)
        header = self._headers.line(headings)
        tokens = self._meter.count(lead, end, Headers.above(header))
        return _Part(lead, end, headings, header, tokens)
