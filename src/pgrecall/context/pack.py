"""Fit passages into a token budget."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple, get_args

from pgrecall.context.passages import Passage, overlapping
from pgrecall.context.render import (
    FENCE,
    SEPARATOR,
    Context,
    Layout,
    block,
    render,
    shared_folder,
)
from pgrecall.errors import InvalidArgument
from pgrecall.tokens import Tokenizer
from pgrecall.types import Citation, Hit, Order

#: Tokens below which a shortened passage is not worth its header: one or two sentences.
MIN_TOKENS = 32

# Where a passage may be cut, best first: after sentences and paragraphs, lines, words.
_BORDERS = (
    re.compile(r"[.!?…][\"'”»)\]]*\s++(?![a-z])|[。\uff01\uff1f]|\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"\s+"),
)


def pack(
    passages: Iterable[Passage],
    *,
    max_tokens: int,
    tokenizer: Tokenizer,
    min_tokens: int = MIN_TOKENS,
    order: Order = "best_first",
) -> Context:
    """Show as much of the best hits as max_tokens tokens hold.

    The best hits are placed first. One that does not fit whole is shortened at the border of a
    sentence (of a line or a word where there is none) if at least min_tokens of it remain, else
    left out in favour of smaller ones. A budget too small for anything gives an empty context.
    The best document stands first in the text, or last; each is in its own order.

    Raises:
        InvalidArgument: max_tokens is not positive, there is no such order, a passage is not
            ``current``, or two overlap.
    """
    if max_tokens <= 0:
        raise InvalidArgument(f"max_tokens must be at least 1, not {max_tokens}.")
    if order not in get_args(Order):
        raise InvalidArgument(f"order is one of {', '.join(get_args(Order))}, not {order!r}.")
    given = list(passages)
    layout = Layout(order=order, folder=shared_folder(passage.span.uri for passage in given))
    sheets = [_Sheet(passage, tokenizer, layout) for passage in given]
    if overlapping(sheet.passage.span for sheet in sheets):
        raise InvalidArgument("Passages overlap; merge the hits with spans() first.")
    limit = max_tokens
    while limit > 0:
        text, citations = render(_select(sheets, limit, min_tokens), layout)
        tokens = tokenizer.count(text)
        if tokens <= max_tokens:
            return Context(text=text, citations=citations, tokens=tokens)
        # The parts were counted alone; joined, tokens can differ at the seams. Take in the slack.
        limit -= tokens - max_tokens
    return Context()


class _Window(NamedTuple):
    """A stretch of a passage, in offsets of its text."""

    start: int
    end: int

    def hull(self, other: _Window) -> _Window:
        return _Window(min(self.start, other.start), max(self.end, other.end))


class _Sheet:
    """One passage and, from one pass of the tokenizer, the size of any stretch of it."""

    def __init__(self, passage: Passage, tokenizer: Tokenizer, layout: Layout) -> None:
        if not passage.current:
            raise InvalidArgument(
                f"The text of {passage.span.uri} is not the one that was searched; search again."
            )
        self.passage = passage
        self._tokenizer = tokenizer
        self._layout = layout

    @cached_property
    def _starts(self) -> list[int]:
        starts: list[int] = self._tokenizer.starts(self.passage.text).tolist()
        return starts

    @cached_property
    def overhead(self) -> int:
        """Tokens of what stands around the quote."""
        span = self.passage.span
        around = replace(self.cite(_Window(0, len(self.passage.text)), span.score), quote="")
        return self._tokenizer.count(block(around, FENCE, self._layout) + SEPARATOR)

    def tokens(self, window: _Window) -> int:
        return bisect_left(self._starts, window.end) - bisect_left(self._starts, window.start)

    def window(self, hit: Hit) -> _Window:
        """Where the hit stands, without the blanks around it."""
        start = hit.start - self.passage.span.start
        return self._trimmed(_Window(start, start + len(hit.text)))

    def extend(self, core: _Window, goal: _Window, room: int, min_tokens: int) -> _Window | None:
        """Core grown towards goal within room tokens; None if that gains less than min_tokens."""
        if room <= 0:
            return None
        size = self.tokens(core)
        if self.tokens(goal) <= size + room:
            return goal
        if room < min_tokens:
            return None
        options = (self._grow(core, goal, size + room, border) for border in _BORDERS)
        return next((w for w in options if self.tokens(w) >= size + min_tokens), None)

    def cite(self, window: _Window, score: float) -> Citation:
        span, (start, end) = self.passage.span, self._trimmed(window)
        first, last = start + span.start, end + span.start
        return Citation(
            number=0,
            uri=span.uri,
            title=span.title,
            document_id=span.document_id,
            tenant_id=span.tenant_id,
            start=first,
            end=last,
            quote=self.passage.text[start:end],
            page=self._page(first),
            last_page=self._page(max(first, last - 1)),
            headings=next(
                hit.headings for hit in span.hits if first < hit.end or hit.end == span.end
            ),
            score=score,
        )

    def _grow(self, core: _Window, goal: _Window, limit: int, border: re.Pattern[str]) -> _Window:
        """Core with as many pieces as fit, first of what follows it, then of what precedes it."""
        inner = [match.end() for match in border.finditer(self.passage.text, *goal)]
        cuts = [goal.start, *inner, goal.end]
        ends = [cut for cut in cuts if cut > core.end]
        fit = bisect_right(ends, limit, key=lambda end: self.tokens(_Window(core.start, end)))
        end = ends[fit - 1] if fit else core.end
        starts = [cut for cut in cuts if cut < core.start]
        fit = bisect_left(starts, -limit, key=lambda start: -self.tokens(_Window(start, end)))
        return _Window(starts[fit] if fit < len(starts) else core.start, end)

    def _trimmed(self, window: _Window) -> _Window:
        text = self.passage.text[window.start : window.end]
        start = window.start + len(text) - len(text.lstrip())
        return _Window(start, max(start, window.start + len(text.rstrip())))

    def _page(self, offset: int) -> int | None:
        pages = self.passage.pages
        return max(1, bisect_right(pages, offset)) if pages else None


def _select(sheets: Sequence[_Sheet], limit: int, min_tokens: int) -> list[Citation]:
    """Open and widen a window in each passage, best hit first, until limit tokens are spent."""
    room = limit
    chosen: dict[_Sheet, tuple[_Window, float]] = {}
    ranked = [(sheet, hit) for sheet in sheets for hit in sheet.passage.span.hits]
    for sheet, hit in sorted(ranked, key=lambda pair: -pair[1].score):
        target = sheet.window(hit)
        core, score = chosen.get(sheet, (_Window(target.start, target.start), hit.score))
        cost = 0 if sheet in chosen else sheet.overhead
        goal = core.hull(target)
        grown = sheet.extend(core, goal, room - cost, min_tokens) if goal != core else None
        if grown:
            room -= cost + sheet.tokens(grown) - sheet.tokens(core)
            chosen[sheet] = grown, score
    return [sheet.cite(window, score) for sheet, (window, score) in chosen.items()]
