"""Whether the words of a quote stand in a passage, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pgrecall.context.quotation import ANY_MARK, LETTER, Extent
from pgrecall.context.verification import Place
from pgrecall.types import Citation

_ELLIPSIS = re.compile(r"[\[(]\s*(?:…|\.{3,}|\. \. \.)\s*[\])]|…|\.{3,}|\. \. \.")


def places(quote: str, citations: Iterable[Citation]) -> tuple[Place, ...]:
    """Where the quote stands word for word, but for what its ellipses leave out: a place a passage."""
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


def _find(pieces: Sequence[re.Pattern[str]], text: str) -> Extent | None:
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
    parts = re.split(rf"(\s+|{ANY_MARK})", piece)
    matched = (
        r"\s+" if part.isspace() else ANY_MARK if re.fullmatch(ANY_MARK, part) else re.escape(part)
        for part in parts
    )
    before = f"(?<!{LETTER})" if re.match(LETTER, piece) else ""
    after = f"(?!{LETTER})" if re.match(LETTER, piece[-1]) else ""
    return re.compile(f"{before}{''.join(matched)}{after}")


def is_name(text: str, citations: Iterable[Citation]) -> bool:
    """Whether that is the title of a passage, or a heading above one."""
    pattern = _pattern(text)
    names = (name for item in citations for name in (item.title, *item.headings))
    return any(name and pattern.fullmatch(name.strip()) for name in names)
