"""The Tokenizer protocol, and what its implementations share."""

from __future__ import annotations

import re
from functools import cache
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Offsets: TypeAlias = npt.NDArray[np.int64]
Ids: TypeAlias = npt.NDArray[np.int32]

#: Texts of at most SHORT characters come again and again (the words at the borders of chunks); a tokenizer
#: keeps the counts of so many.
SHORT, KEPT = 40, 1 << 13

_SURROGATES = re.compile("[\ud800-\udfff]")


class Tokenizer(Protocol):
    """What chunking, batching and packing need of a tokenizer."""

    @property
    def name(self) -> str:
        """E.g. ``cl100k_base``."""

    def count(self, text: str) -> int:
        """Number of tokens of the text, without special tokens."""

    def encode(self, text: str) -> list[int]:
        """Token ids of the text, without special tokens; never fails on text like ``<|endoftext|>``."""

    def truncate(self, text: str, max_tokens: int) -> str:
        """The longest prefix of the text that has at most max_tokens tokens."""

    def starts(self, text: str) -> npt.NDArray[np.int64]:
        """Offset (code points) at which each token of the text starts, ascending; shape (count(text),)."""


@runtime_checkable
class Separable(Protocol):
    """A tokenizer that knows where a text can be cut without changing its tokens."""

    @property
    def seams(self) -> re.Pattern[str]:
        """Matches, without width, where ``encode(a + b)`` is a's tokens followed by b's, whatever lies around.

        The two characters at the seam decide. Alone, b can have other tokens, if the tokenizer puts something
        in front of a text: the number of its tokens is ``count(a[-1] + b) - count(a[-1])``.
        """


@runtime_checkable
class Traceable(Separable, Protocol):
    """A separable tokenizer that gives the ids of tokens as arrays, so that they can be handed along."""

    def encode_array(self, text: str) -> Ids:
        """As ``encode``: shape (count(text),)."""

    def trace(self, text: str) -> tuple[Ids, Offsets]:
        """``encode_array`` and ``starts`` in one pass."""


@cache
def last_seam(seams: re.Pattern[str]) -> re.Pattern[str]:
    """Matches from where it is asked to up to the last seam; the first character beyond takes part."""
    return re.compile(f"(?s:.*)(?:{seams.pattern})", seams.flags)


def scalar_values(text: str) -> str:
    """The text with U+FFFD for each lone surrogate: same length, and it can be encoded as UTF-8."""
    if text.isascii():  # which the text itself knows
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def token_starts(width: npt.NDArray[np.int16]) -> Offsets:
    """Offset of each token's first character, given the width of each; the array is used up.

    A width counts the characters that begin in a token. Where none is its first byte's, i.e. the token starts
    inside a character, the width is stored as ``-1 - width``, and the token starts where that character does.
    """
    inside = width < 0 if width.min(initial=0) < 0 else None
    if inside is not None:
        width[inside] = -1 - width[inside]
    starts = np.cumsum(width, dtype=np.int64)
    starts -= width
    if inside is not None:
        starts -= inside
    return starts


def truncate_with(tokenizer: Tokenizer, text: str, max_tokens: int) -> str:
    """Implements ``Tokenizer.truncate`` by ``starts`` and ``count``; does not read all of a long text."""
    if max_tokens <= 0:
        return ""
    window = 16 * max_tokens + 64
    starts = tokenizer.starts(text[:window])
    while len(starts) <= max_tokens + 8 and window < len(text):
        window *= 2
        starts = tokenizer.starts(text[:window])
    if len(starts) <= max_tokens:
        return text
    prefix = text[: starts[max_tokens]]
    # A prefix can have more tokens on its own than inside the text, if it ends within a word.
    while tokenizer.count(prefix) > max_tokens:
        prefix = prefix[:-1]
    return prefix
