"""Near-identical passages: only the best of each group stays.

Two texts are compared by their resemblance, the share of word triples that they have in common
(Broder, 1997, https://doi.org/10.1109/SEQUEN.1997.666900), whatever their case and punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from pgrecall.types import Hit

#: Words of a shingle.
WIDTH = 3

Shingle: TypeAlias = tuple[str, ...]

# Scripts that put no spaces between words (Thai, Lao, Burmese, Khmer, kana, Han): a character is a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[^\W{_UNSPACED}]+|[{_UNSPACED}]")


def deduplicated(hits: Iterable[Hit], resemblance: float) -> Iterator[Hit]:
    """The hits, without those that resemble one above them that much (0 to 1) or more."""
    # Which of the hits that stay hold a shingle, and how many shingles each of them has. Those that
    # stay have little in common, so that the lists are short.
    holders: defaultdict[Shingle, list[int]] = defaultdict(list)
    sizes: list[int] = []
    for hit in hits:
        found = shingles(hit.text)
        common = Counter(number for shingle in found for number in holders.get(shingle, ()))
        if any(
            shared >= resemblance * (len(found) + sizes[number] - shared)
            for number, shared in common.items()
        ):
            continue
        for shingle in found:
            holders[shingle].append(len(sizes))
        sizes.append(len(found))
        yield hit


def shingles(text: str) -> frozenset[Shingle]:
    """The runs of three words of a text; of a shorter one all its words, as one shingle.

    A text without any word is its own shingle.
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold()) or [text]
    starts = range(max(1, len(words) - WIDTH + 1))
    return frozenset(tuple(words[start : start + WIDTH]) for start in starts)
