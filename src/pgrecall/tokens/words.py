"""SentencePiece-like byte-pair encodings without pre-tokenizer (Llama 2, wordllama), made fast and kept exact.

Such a tokenizer runs its merges over the whole text at once, which is slow and grows faster than the text.
But a merge can only join two characters that stand side by side in some token of the vocabulary. Where the
two characters at a place do so in none, the tokens on the left do not depend on those on the right. So the
vocabulary itself says how a text falls into words: here after every digit and ideograph, between letters and
punctuation, and before every space. Words repeat: their tokens are kept, and only words that were not seen
before are encoded.

Texts are looked at as they are, and spaces become SentencePiece's marks only in words that are encoded: with
marks, every text and every word that is kept would take two bytes a character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pgrecall.tokens.base import (
    KEPT,
    SHORT,
    Ids,
    Offsets,
    scalar_values,
    token_starts,
    truncate_with,
)
from pgrecall.tokens.cache import WordCache

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

#: SentencePiece's mark of a space.
MARK = "\u2581"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
#: Characters whose words are found together: a list of words takes some twenty times the memory of its text,
#: and leaves the processor's cache.
_BLOCK = 1 << 12


class WordTokenizer:
    """A byte-pair encoding whose words can be told from its vocabulary, as ``fits`` says."""

    def __init__(self, name: str, backend: Backend) -> None:
        vocabulary = backend.get_vocab(with_added_tokens=False)
        self._name = name
        self._model = backend
        self._model.normalizer = None
        self._widths = _widths(vocabulary)
        sets = list(_joinable(_plain_tokens(vocabulary, _special_tokens(backend))))
        self._words = re.compile(
            rf"[ {MARK}]*+(?:{'|'.join(f'[{chars}]+' for chars in sets)})|[ {MARK}]+|.", re.DOTALL
        )
        # Lone surrogates are encoded as another character, which may be in a set.
        self._seams = re.compile(rf"(?<=[^ {MARK}])(?=[ \n]|[^{MARK}{''.join(sets)}\ud800-\udfff])")
        self._count_short = lru_cache(maxsize=KEPT)(self._count)
        self._cache = WordCache(self._encode_word)

    @staticmethod
    def fits(backend: Backend) -> bool:
        """True if no token has a space after another character, and the text is prepared as this class does."""
        special = _special_tokens(backend)
        trial = "a  b\u2581c\n d\u00e9\tE\ufb01\x01" + "".join(special)
        return (
            backend.pre_tokenizer is None
            and type(backend.model).__name__ == "BPE"
            and backend.normalizer is not None
            and backend.normalizer.normalize_str(trial) == _marked(trial)
            and not special & (found := set(_tokens(backend, trial)))
            and "<0x01>" in found
            and not any(
                MARK in token.lstrip(MARK)
                for token in _plain_tokens(backend.get_vocab(with_added_tokens=False), special)
            )
        )

    @property
    def name(self) -> str:
        """Name or path it was opened with."""
        return self._name

    @property
    def seams(self) -> re.Pattern[str]:
        """See ``pgrecall.tokens.Separable``."""
        return self._seams

    def count(self, text: str) -> int:
        """Number of tokens."""
        return self._count_short(text) if len(text) <= SHORT else self._count(text)

    def _count(self, text: str) -> int:
        return len(self._encode(text)) // 4

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens in the text are ordinary text."""
        return list(memoryview(self._encode(text)).cast("i"))

    def encode_ragged(
        self, texts: Sequence[str]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Token ids of all texts, one after the other, and the number of tokens of each text.

        Shapes: (sum of the lengths,) and (len(texts),).
        """
        encoded = list(map(self._encode, texts))
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded)) // 4
        return np.frombuffer(b"".join(encoded), np.int32), lengths

    def truncate(self, text: str, max_tokens: int) -> str:
        """The longest prefix that ends where a token does and has at most max_tokens tokens."""
        return truncate_with(self, text, max_tokens)

    def starts(self, text: str) -> Offsets:
        """Offset of each token, shape (count(text),)."""
        return self.trace(text)[1]

    def encode_array(self, text: str) -> Ids:
        """Token ids, shape (count(text),)."""
        return np.frombuffer(self._encode(text), np.int32)

    def trace(self, text: str) -> tuple[Ids, Offsets]:
        """Token ids and the offset of each token, shape (count(text),) each."""
        ids = self.encode_array(text)
        # The mark in front of the text is not one of its characters.
        starts = token_starts(self._widths[ids])
        starts -= 1
        starts[:1] = 0
        return ids, starts

    def _encode(self, text: str) -> bytes:
        """The ids as the bytes of an int32 array: joining those is the fastest way."""
        if not text:
            return b""
        text = " " + scalar_values(text)
        if len(text) <= _BLOCK:
            return self._cache.tokens(self._words.findall(text))
        blocks = map(self._words.findall, self._blocks(text))
        return b"".join(map(self._cache.tokens, blocks))

    def _blocks(self, text: str) -> Iterator[str]:
        """A text in pieces that words do not cross: mostly ASCII, and faster then, even if the whole is not."""
        start = 0
        while (found := self._seams.search(text, start + _BLOCK)) is not None:
            yield text[start : found.start()]
            start = found.start()
        yield text[start:]

    def _encode_word(self, word: str) -> Sequence[int]:
        # One by one: a batch has threads, which keep memory of their own.
        ids: list[int] = self._model.encode(word.replace(" ", MARK), add_special_tokens=False).ids
        return ids


def _marked(text: str) -> str:
    return MARK + text.replace(" ", MARK) if text else ""


def _tokens(backend: Backend, text: str) -> list[str]:
    return backend.encode(text, add_special_tokens=False).tokens


def _special_tokens(backend: Backend) -> set[str]:
    return {token.content for token in backend.get_added_tokens_decoder().values()}


def _plain_tokens(vocabulary: dict[str, int], special: set[str]) -> list[str]:
    """The tokens that merges can make: neither bytes nor special tokens, nor those with a space, now a mark."""
    tokens = vocabulary.keys() - special
    return [token for token in tokens if not _BYTE_TOKEN.fullmatch(token) and " " not in token]


def _widths(vocabulary: dict[str, int]) -> npt.NDArray[np.int16]:
    widths = np.zeros(max(vocabulary.values()) + 1, np.int16)
    for token, index in vocabulary.items():
        byte = _BYTE_TOKEN.fullmatch(token)
        inside = byte is not None and int(byte[1], 16) & 0xC0 == 0x80
        widths[index] = -1 if inside else 1 if byte else len(token)
    return widths


def _joinable(tokens: Iterable[str]) -> Iterator[str]:
    """Sets of characters, each the inside of a regular expression's set, that can meet within a token.

    Characters that stand side by side in a token are in one set; a character in none is always a token.
    Small sets are joined: the words get longer, not wrong, and are found faster.
    """
    groups: dict[str, set[str]] = {}
    for token in tokens:
        chars = set(token.lstrip(MARK))
        # Nearly all tokens say what is known already; the union of large sets is slow.
        if len(token) > 1 and not chars.issubset(groups.get(token[-1], ())):
            joined = chars.union(*(groups.get(char, ()) for char in chars))
            groups.update(dict.fromkeys(joined, joined))
    distinct = sorted(
        {id(group): group for group in groups.values()}.values(), key=len, reverse=True
    )
    for group in (*distinct[:2], set().union(*distinct[2:])):
        yield "".join(map(re.escape, sorted(group)))
