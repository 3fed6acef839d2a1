"""Hold an answer against the passages that it was written from: its markers and its quotes."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pgrecall.context.quotation import Extent, outside, quoted, trimmed
from pgrecall.context.verification import Marker, Place, Quote, Verification
from pgrecall.context.wording import is_name, places
from pgrecall.types import Citation

_MARKER = re.compile(r"\[\s*\d{1,9}(?:\s*[,;–-]\s*\d{1,9})*\s*\]")
_LAST_MARKERS = re.compile(rf"(?:{_MARKER.pattern}\s*)+\Z")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.S)
# Between paragraphs, and before the items of a list.
_BLOCK = re.compile(r"\n[ \t]*\n|\n(?=[ \t]*(?:[-*+•]|\d{1,9}[.)])[ \t])")


def verify(answer: str, citations: Sequence[Citation]) -> Verification:
    """Look up each marker and each quote of an answer among the passages that it was given.

    A quote has to stand in its passage word for word. Only blanks and line breaks, the form of
    quotation marks and apostrophes, and words left out where an ellipsis says so may differ. What
    is in quotation marks and is the name of a passage (title, heading) is no quote; nor is code.
    """
    code = [match.span() for match in _CODE.finditer(answer)]
    texts = list(_texts(answer, code, citations))
    in_quotes = [text.span for text in texts if text.places]
    markers = list(_markers(answer, [*code, *in_quotes], citations))
    blocks = [0, *(match.end() for match in _BLOCK.finditer(answer))]
    cited: dict[int, set[int]] = {}
    for marker in markers:
        if marker.found:
            cited.setdefault(bisect_right(blocks, marker.start), set()).add(marker.number)
    return Verification(
        markers=tuple(markers),
        quotes=tuple(
            Quote(
                text=answer[slice(*text.span)],
                start=text.span[0],
                end=text.span[1],
                places=text.places,
                cited=tuple(sorted(cited.get(bisect_right(blocks, text.span[1]), ()))),
            )
            for text in texts
        ),
    )


@dataclass(frozen=True, slots=True)
class _Text:
    """What stands between two quotation marks of an answer, and where it was found."""

    span: Extent
    places: tuple[Place, ...]


def _texts(answer: str, code: Iterable[Extent], citations: Sequence[Citation]) -> Iterator[_Text]:
    for span in quoted(answer, code):
        if not re.search(r"\w", answer[slice(*span)]):
            continue
        found = places(answer[slice(*span)], citations)
        marked = None if found else _LAST_MARKERS.search(answer, *span)
        if marked and marked.start() > span[0]:
            # "Rings are ice. [1]": the marker inside the marks is the answer's.
            span = trimmed(answer, span[0], marked.start())
            found = places(answer[slice(*span)], citations)
        if found or not is_name(answer[slice(*span)], citations):
            yield _Text(span, found)


def _markers(
    answer: str, elsewhere: Iterable[Extent], citations: Sequence[Citation]
) -> Iterator[Marker]:
    """The answer's own markers: not those that stand in code or in what it quotes."""
    known = [citation.number for citation in citations]
    for match in outside(_MARKER.finditer(answer), elsewhere):
        for number in _numbers(match[0], known):
            found = number in known
            yield Marker(number=number, start=match.start(), end=match.end(), found=found)


def _numbers(marker: str, known: Iterable[int]) -> list[int]:
    """Those of ``[1]``, ``[1, 2]`` or ``[1-3]``; within a range, those that passages have."""
    numbers: set[int] = set()
    for part in re.split("[,;]", marker.strip("[]")):
        ends = [int(number) for number in re.split("[–-]", part)]
        numbers.update((*ends, *(n for n in known if min(ends) <= n <= max(ends))))
    return sorted(numbers)
