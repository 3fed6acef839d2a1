"""Text in quotation marks: where marks open and close, in whatever form writers and models give them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

#: Where a text begins and ends, half open.
Extent = tuple[int, int]

# What may close a quote, for each mark that may open one; Swedish and German marks turn the same way.
_CLOSING = {
    '"': '"',
    "“": "”“",
    "”": "”",
    "„": "“”",
    "«": "»",
    "»": "«»",
    "‘": "’",
    "‚": "‘’",
    "「": "」",
    "『": "』",
}
_OPENING = {
    mark: {opening for opening, closing in _CLOSING.items() if mark in closing}
    for mark in "".join(_CLOSING.values())
}
# These may be the other kind of mark, or an apostrophe: where they stand decides.
_TURNS_BOTH_WAYS = '"“”»«’'
_MARK = re.compile(f"[{re.escape(''.join({*_CLOSING, *_OPENING}))}]")
#: Matches any; marks within a quote are as good as each other: who quotes turns double ones into single ones.
ANY_MARK = "[\"'“”„‟«»‹›‘’‚‛「」『』]"
#: A letter or digit of a script that parts its words: those without spaces begin with Thai.
LETTER = r"[^\W\u0e00-\U0010ffff]"


def quoted(answer: str, code: Iterable[Extent]) -> Iterator[Extent]:
    """What stands between quotation marks outside of code, without the blanks at its ends.

    Quotes within quotes are part of the outer one, and a mark that is never closed is passed over.
    """
    for opened, closed in _outermost(_pairs(answer, code)):
        yield trimmed(answer, opened + 1, closed)


def _pairs(answer: str, code: Iterable[Extent]) -> Iterator[Extent]:
    """Where quotation marks open and close."""
    opened: dict[str, list[int]] = {mark: [] for mark in _CLOSING}
    for match in outside(_MARK.finditer(answer), code):
        mark, at = match[0], match.start()
        partners = _OPENING.get(mark, ()) if _may_close(answer, at) else ()
        start = max((opened[one][-1] for one in partners if opened[one]), default=None)
        if start is not None:
            yield start, at
            for places in opened.values():
                while places and places[-1] >= start:
                    places.pop()
        elif mark in _CLOSING and _may_open(answer, at):
            opened[mark].append(at)


def _may_open(answer: str, at: int) -> bool:
    """A mark that turns both ways opens where no word ends, and something follows."""
    if answer[at] not in _TURNS_BOTH_WAYS:
        return True
    after_word = re.match(LETTER, answer[at - 1 : at])
    return not after_word and (answer[at] in "“«" or not _blank(answer, at + 1))


def _may_close(answer: str, at: int) -> bool:
    """A mark that turns both ways closes where no word begins, unless it can only open."""
    if answer[at] not in _TURNS_BOTH_WAYS:
        return True
    before_word = re.match(LETTER, answer[at + 1 : at + 2])
    only_opens = _blank(answer, at - 1) and not _blank(answer, at + 1)
    return not before_word and (answer[at] in "”»" or not only_opens)


def _blank(text: str, at: int) -> bool:
    """Whether a blank stands there, or nothing."""
    return at < 0 or not text[at : at + 1].strip()


def _outermost(pairs: Iterable[Extent]) -> list[Extent]:
    found: list[Extent] = []
    for pair in sorted(pairs):
        if not found or pair[0] > found[-1][1]:
            found.append(pair)
    return found


def outside(matches: Iterable[re.Match[str]], spans: Iterable[Extent]) -> Iterator[re.Match[str]]:
    """The matches that do not begin within one of the spans."""
    ordered = sorted(spans)
    starts = [start for start, _ in ordered]
    ends = list(accumulate((end for _, end in ordered), max))
    for match in matches:
        before = bisect_right(starts, match.start())
        if not before or match.start() >= ends[before - 1]:
            yield match


def trimmed(text: str, start: int, end: int) -> Extent:
    """``text[start:end]`` without the blanks at its ends."""
    inner = text[start:end]
    first = start + len(inner) - len(inner.lstrip())
    return first, max(first, start + len(inner.rstrip()))
