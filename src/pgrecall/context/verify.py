"""Hold an answer against the passages that it was written from: its markers and its quotes."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from pgrecall.types import Citation

#: Characters of a quote that a sentence about it repeats.
_SHOWN = 80

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
# Marks within a quote are as good as each other: who quotes turns double ones into single ones.
_ANY_MARK = "[\"'“”„‟«»‹›‘’‚‛「」『』]"
_ELLIPSIS = re.compile(r"[\[(]\s*(?:…|\.{3,}|\. \. \.)\s*[\])]|…|\.{3,}|\. \. \.")
_MARKER = re.compile(r"\[\s*\d{1,9}(?:\s*[,;–-]\s*\d{1,9})*\s*\]")
_LAST_MARKERS = re.compile(rf"(?:{_MARKER.pattern}\s*)+\Z")
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.S)
# Between paragraphs, and before the items of a list.
_BLOCK = re.compile(r"\n[ \t]*\n|\n(?=[ \t]*(?:[-*+•]|\d{1,9}[.)])[ \t])")
# A letter or digit of a script that parts its words: those without spaces begin with Thai.
_LETTER = r"[^\W\u0e00-\U0010ffff]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a quote stands: ``document_text[start:end]``, in the passage of that number."""

    number: int
    uri: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """One number of a marker such as ``[1]`` or ``[2, 3]``, which is ``answer[start:end]``."""

    number: int
    start: int
    end: int
    #: Whether a passage of the context has that number.
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Text in quotation marks: ``answer[start:end] == text``."""

    text: str
    start: int
    end: int
    #: The passages that hold it, and where; none if it is no quote of any.
    places: tuple[Place, ...]
    #: Numbers of the passages that are cited in its paragraph.
    cited: tuple[int, ...]

    @property
    def found(self) -> bool:
        """Whether it stands in a passage that its paragraph cites; in any, where it cites none."""
        numbers = {place.number for place in self.places}
        return bool(numbers.intersection(self.cited) if self.cited else numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every marker and every quote of an answer, in its order."""

    markers: tuple[Marker, ...] = ()
    quotes: tuple[Quote, ...] = ()

    @property
    def ok(self) -> bool:
        """True if each marker names a passage and each quote stands where it should."""
        return not self._wrong

    @property
    def problems(self) -> list[str]:
        """A sentence for each marker and each quote that does not match its source."""
        return [_problem(part) for part in sorted(self._wrong, key=lambda part: part.start)]

    @property
    def _wrong(self) -> list[Marker | Quote]:
        parts: list[Marker | Quote] = [*self.markers, *self.quotes]
        return [part for part in parts if not part.found]


def verify(answer: str, citations: Sequence[Citation]) -> Verification:
    """Look up each marker and each quote of an answer among the passages that it was given.

    A quote has to stand in its passage word for word. Only blanks and line breaks, the form of
    quotation marks and apostrophes, and words left out where an ellipsis says so may differ. What
    is in quotation marks and is the name of a passage (title, heading) is no quote; nor is code.
    """
    code = [match.span() for match in _CODE.finditer(answer)]
    texts = list(_texts(answer, code, citations))
    quoted = [text.span for text in texts if text.places]
    markers = list(_markers(answer, [*code, *quoted], citations))
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

    span: tuple[int, int]
    places: tuple[Place, ...]


def _texts(
    answer: str, code: Iterable[tuple[int, int]], citations: Sequence[Citation]
) -> Iterator[_Text]:
    for opened, closed in _outermost(_pairs(answer, code)):
        span = _trimmed(answer, opened + 1, closed)
        if not re.search(r"\w", answer[slice(*span)]):
            continue
        places = _places(answer[slice(*span)], citations)
        marked = None if places else _LAST_MARKERS.search(answer, *span)
        if marked and marked.start() > span[0]:
            # "Rings are ice. [1]": the marker inside the marks is the answer's.
            span = _trimmed(answer, span[0], marked.start())
            places = _places(answer[slice(*span)], citations)
        if places or not _is_name(answer[slice(*span)], citations):
            yield _Text(span, places)


def _pairs(answer: str, code: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Where quotation marks open and close; one that is never closed is passed over."""
    opened: dict[str, list[int]] = {mark: [] for mark in _CLOSING}
    for match in _outside(_MARK.finditer(answer), code):
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
    after_word = re.match(_LETTER, answer[at - 1 : at])
    return not after_word and (answer[at] in "“«" or not _blank(answer, at + 1))


def _may_close(answer: str, at: int) -> bool:
    """A mark that turns both ways closes where no word begins, unless it can only open."""
    if answer[at] not in _TURNS_BOTH_WAYS:
        return True
    before_word = re.match(_LETTER, answer[at + 1 : at + 2])
    only_opens = _blank(answer, at - 1) and not _blank(answer, at + 1)
    return not before_word and (answer[at] in "”»" or not only_opens)


def _blank(text: str, at: int) -> bool:
    """Whether a blank stands there, or nothing."""
    return at < 0 or not text[at : at + 1].strip()


def _outermost(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for pair in sorted(pairs):
        if not found or pair[0] > found[-1][1]:
            found.append(pair)
    return found


def _outside(
    matches: Iterable[re.Match[str]], spans: Iterable[tuple[int, int]]
) -> Iterator[re.Match[str]]:
    ordered = sorted(spans)
    starts = [start for start, _ in ordered]
    ends = list(accumulate((end for _, end in ordered), max))
    for match in matches:
        before = bisect_right(starts, match.start())
        if not before or match.start() >= ends[before - 1]:
            yield match


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    inner = text[start:end]
    first = start + len(inner) - len(inner.lstrip())
    return first, max(first, start + len(inner.rstrip()))


def _markers(
    answer: str, elsewhere: Iterable[tuple[int, int]], citations: Sequence[Citation]
) -> Iterator[Marker]:
    """The answer's own markers: not those that stand in code or in what it quotes."""
    known = [citation.number for citation in citations]
    for match in _outside(_MARKER.finditer(answer), elsewhere):
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


def _places(quote: str, citations: Iterable[Citation]) -> tuple[Place, ...]:
    patterns = [_pattern(piece.strip()) for piece in _ELLIPSIS.split(quote) if piece.strip()]
    found = ((citation, _find(patterns, citation.quote)) for citation in citations)
    return tuple(
        Place(
            number=citation.number,
            uri=citation.uri,
            start=citation.start + span[0],
            end=citation.start + span[1],
        )
        for citation, span in found
        if span
    )


def _find(pieces: Sequence[re.Pattern[str]], text: str) -> tuple[int, int] | None:
    """Where the pieces stand, one after another. The first place of each is as good as any other."""
    first, end = None, 0
    for piece in pieces:
        match = piece.search(text, end)
        if match is None:
            return None
        first, end = match.start() if first is None else first, match.end()
    return None if first is None else (first, end)


def _pattern(piece: str) -> re.Pattern[str]:
    """Matches the words of a quote where they are whole words, with any blanks and quotation marks."""
    parts = re.split(rf"(\s+|{_ANY_MARK})", piece)
    matched = (
        r"\s+"
        if part.isspace()
        else _ANY_MARK
        if re.fullmatch(_ANY_MARK, part)
        else re.escape(part)
        for part in parts
    )
    before = f"(?<!{_LETTER})" if re.match(_LETTER, piece) else ""
    after = f"(?!{_LETTER})" if re.match(_LETTER, piece[-1]) else ""
    return re.compile(f"{before}{''.join(matched)}{after}")


def _is_name(text: str, citations: Iterable[Citation]) -> bool:
    pattern = _pattern(text)
    names = (name for item in citations for name in (item.title, *item.headings))
    return any(name and pattern.fullmatch(name.strip()) for name in names)


def _problem(part: Marker | Quote) -> str:
    if isinstance(part, Marker):
        return f"[{part.number}] names no passage."
    line = " ".join(part.text.split())
    shown = line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
    if not part.places:
        return f'"{shown}" stands in no passage.'
    there = "".join(f"[{place.number}]" for place in part.places)
    cited = "".join(f"[{number}]" for number in part.cited)
    return f'"{shown}" stands in {there}, not in {cited}.'
