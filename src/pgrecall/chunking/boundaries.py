"""Where a text can be cut, and how good a place each is: compiled patterns over the whole text.

A place is the offset of the first character of a unit (paragraph, list item, line, sentence); its level says
what begins there. Everything that the levels mean for packing is in their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from pgrecall.chunking.code import definitions
from pgrecall.types import Markup

IntArray = npt.NDArray[np.int64]
Points = npt.NDArray[np.uint8] | npt.NDArray[np.uint32]

_END = re.Match.end
#: Room for all levels.
_LEVEL_BITS = 4
_LINE_BREAK = ord("\n")


class Level(IntEnum):
    """What begins at a place, from the worst to the best place for a cut."""

    INSIDE = 0  # inside a grapheme cluster
    CHARACTER = 1
    WORD = 2
    CLAUSE = 3
    LINE = 4
    SENTENCE = 5
    NESTED = 6
    ITEM = 7
    BLOCK = 8
    SECTION = 9  # a heading of the lowest rank; those of higher rank have higher levels


@dataclass(frozen=True, slots=True)
class Places:
    """Candidates for cuts: ascending offsets (shape (n,)) and their levels (shape (n,))."""

    offsets: IntArray
    levels: IntArray


# Possessive where nothing else could match: that is a third faster.
_PARAGRAPH = re.compile(r"\n[ \t\r]*+\n\s*+")
_AFTER_COLON = re.compile(r":[ \t\r]*+\n\s*+")
_AFTER_WIDE_COLON = re.compile(r"：[ \t\r]*+\n\s*+")
_ITEM = re.compile(r"\n[ \t]*+(?=(?:[-*+•]|\d{1,9}+[.)])[ \t])")
_LINE = re.compile(r"\n\s*+")
# It never fails once it has begun: else empty lines at the end would cost their square.
_CODE_BLOCK = re.compile(r"\n(?:[ \t\r\f]*+\n)++([ \t]*+)")
_STOPS = ".!?…؟۔"
# Not after initials and the abbreviations that a capital or a number follows; a lower-case letter begins no
# sentence.
_NEW_SENTENCE = (
    r"(?=[\s\"'”’»)\]*_])(?<!\b[A-Z]\.)(?<!\b(?:Mr|Ms|Dr|St|Jr|Sr|vs|No|pp|al|Co|ca|cf|Lt)\.)"
    r"(?<!\b(?:Mrs|Inc|Ltd|Fig|fig|Eqs|Sec|Vol|Gen|Col|Rev|e\.g|i\.e|z\.B|d\.h|bzw)\.)"
    r"(?<!\b(?:Prof|Capt|Corp|Figs|Dept|Univ|usw\.)\.)"
    r"[\"'”’»)\]*_]*\s+(?![a-zß-öø-ÿа-я])"
)
#: One for each stop: a single character is found much faster than one of a set.
_SENTENCES = {stop: re.compile(re.escape(stop) + _NEW_SENTENCE) for stop in _STOPS}
_CLOSERS = tuple(")]}")
_FULL_STOPS = "。！？｡।॥"
_SPACES = "".join(filter(str.isspace, map(chr, range(0x3001))))
#: Characters that decide together, however many of them stand side by side: spaces, the ends of sentences and
#: what closes behind them, flags.
RUNS = (
    _SPACES
    + _FULL_STOPS
    + _STOPS
    + "\"'”’»)]*_」』”’）】》"
    + "".join(map(chr, range(0x1F1E6, 0x1F200)))
)
_FULL_STOP = re.compile(rf"[{_FULL_STOPS}]+[」』”’）】》\"']*\s*")


def code_points(text: str) -> Points:
    """The text as an array: shape (len(text),)."""
    if text.isascii():
        return np.frombuffer(text.encode("ascii"), np.uint8)
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def places(text: str, markup: Markup) -> Places:
    """The places of a text by its paragraphs, lists, lines and sentences.

    Headings and tables come from ``pgrecall.chunking.markdown``.
    """
    lined = "\n" + text  # so that the first line begins like all others
    found = _code(lined) if markup == "code" else _prose(lined, markup)
    offsets, levels = (
        np.concatenate(column) - shift
        for column, shift in zip(zip(*found, strict=True), (1, 0), strict=True)
    )
    return merged(offsets, levels, len(text))


def merged(offsets: IntArray, levels: IntArray, length: int) -> Places:
    """Places in order, each once with its best level, without those at the text's start and end."""
    # One number for both sorts much faster than two keys.
    both = np.sort((offsets << _LEVEL_BITS) | levels)
    offsets = both >> _LEVEL_BITS
    last = np.append(offsets[1:] != offsets[:-1], True) if len(offsets) else np.empty(0, bool)
    last &= (offsets > 0) & (offsets < length)
    return Places(offsets[last], both[last] & ((1 << _LEVEL_BITS) - 1))


def lowered(found: Places, offsets: IntArray, level: Level) -> Places:
    """The places, with the first one at or after each offset lowered to the level."""
    index = np.searchsorted(found.offsets, offsets)
    index = index[index < len(found.offsets)]
    levels = found.levels.copy()
    levels[index] = np.minimum(levels[index], level)
    return Places(found.offsets, levels)


def _prose(text: str, markup: Markup) -> list[tuple[IntArray, IntArray]]:
    lines, sentences = _ends(_LINE, text), _sentences(text)
    items = _ends(_ITEM, text)
    found = [
        _at(_ends(_PARAGRAPH, text), Level.BLOCK),
        _at(lines, Level.LINE),
        _at(sentences, Level.SENTENCE),
        (items, np.where(_flush(text, items), Level.ITEM, Level.NESTED)),
    ]
    if markup == "plain":
        found.append(_at(_common(sentences, lines), Level.NESTED))
    return found


def _sentences(text: str) -> IntArray:
    """Where sentences begin, ascending."""
    patterns = [pattern for stop, pattern in _SENTENCES.items() if stop in text]
    if any(stop in text for stop in _FULL_STOPS):
        patterns.append(_FULL_STOP)
    return np.sort(np.concatenate([offsets_of(()), *(_ends(each, text) for each in patterns)]))


def _code(text: str) -> list[tuple[IntArray, IntArray]]:
    blocks = [(m.end(), len(m[1].expandtabs(4))) for m in _CODE_BLOCK.finditer(text)]
    lines = _ends(_LINE, text)
    flush = _flush(text, lines)
    dedents = lines[1:][flush[1:] & ~flush[:-1]]
    starts = list(definitions(text))
    return [
        _at([start for start, indent in starts if indent == 0], Level.BLOCK),
        _at([start for start, indent in starts if 0 < indent <= 4], Level.ITEM),
        _at([start for start, indent in starts if indent > 4], Level.NESTED),
        _at([end for end, indent in blocks if indent == 0], Level.ITEM),
        _at([end for end, indent in blocks if 0 < indent <= 4], Level.NESTED),
        _at([end for end, indent in blocks if indent > 4], Level.SENTENCE),
        _at(
            [end for end in dedents.tolist() if text[end : end + 1] not in _CLOSERS], Level.SENTENCE
        ),
        _at(lines, Level.LINE),
    ]


def after_colon(text: str) -> IntArray:
    """Where something begins that a colon at the end of the line before announces."""
    found = [_ends(_AFTER_COLON, text)]
    if "：" in text:
        found.append(_ends(_AFTER_WIDE_COLON, text))
    return np.concatenate(found)


def _ends(pattern: re.Pattern[str], text: str) -> IntArray:
    # Not by way of a list: its numbers would take more memory than a long text.
    return np.fromiter(map(_END, pattern.finditer(text)), np.int64)


def _flush(text: str, offsets: IntArray) -> npt.NDArray[np.bool_]:
    """Which of the offsets begin a line that is not indented."""
    if text.isascii() and len(offsets):
        flush: npt.NDArray[np.bool_] = code_points(text)[offsets - 1] == _LINE_BREAK
        return flush
    return np.array([text[offset - 1] == "\n" for offset in offsets.tolist()], bool)


def _common(some: IntArray, others: IntArray) -> IntArray:
    """What is in both; they ascend."""
    index = np.minimum(others.searchsorted(some), len(others) - 1)
    both: IntArray = some[others[index] == some]
    return both


def _at(offsets: IntArray | list[int], level: Level) -> tuple[IntArray, IntArray]:
    array = np.asarray(offsets, np.int64)
    return array, np.full(len(array), level, np.int64)


def offsets_of(values: Iterable[int]) -> IntArray:
    """Offsets as an array."""
    return np.fromiter(values, np.int64)
