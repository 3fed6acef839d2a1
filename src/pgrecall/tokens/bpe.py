"""Byte-pair encodings of tiktoken."""

from __future__ import annotations

import re
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pgrecall.errors import InvalidArgument
from pgrecall.tokens.base import (
    KEPT,
    SHORT,
    Ids,
    Offsets,
    last_seam,
    scalar_values,
    token_starts,
    truncate_with,
)

if TYPE_CHECKING:
    import tiktoken

#: A letter of a word's head or tail, in o200k_base: capitals first, small letters after them.
_HEAD, _TAIL = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#: Encodings whose files ship with pgrecall, and how they cut a text into words; from
#: tiktoken_ext.openai_public (MIT licence).
BUNDLED: Mapping[str, str] = MappingProxyType(
    {
        "cl100k_base": (
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+"
            r"| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
        ),
        "o200k_base": (
            rf"[^\r\n\p{{L}}\p{{N}}]?{_HEAD}*{_TAIL}+{_CONTRACTION}"
            rf"|[^\r\n\p{{L}}\p{{N}}]?{_HEAD}+{_TAIL}*{_CONTRACTION}|\p{{N}}{{1,3}}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        ),
    }
)
#: Put in front of the last of several blanks, where the next word begins. A control character that hardly any
#: text has, and a token of its own.
_GAP = "\x16"
#: The same words in texts with gaps so marked. Nothing has to be looked ahead at, ``(?!\S)``, so tiktoken finds
#: them with an automaton that never goes back, and encodes a text in half the time.
_MARKED_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "cl100k_base": (
            r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
            r"| ?[^\s\p{L}\p{N}\x16]+[\r\n]*|\x16|\s+$|\s*[\r\n]|\s+"
        ),
        "o200k_base": (
            rf"[^\r\n\p{{L}}\p{{N}}]?{_HEAD}*{_TAIL}+{_CONTRACTION}"
            rf"|[^\r\n\p{{L}}\p{{N}}]?{_HEAD}+{_TAIL}*{_CONTRACTION}|\p{{N}}{{1,3}}"
            r"| ?[^\s\p{L}\p{N}\x16]+[\r\n/]*|\x16|\s*[\r\n]+|\s+"
        ),
    }
)
#: White space but for line breaks and the space itself, as tiktoken's patterns know it.
_BLANKS = (
    "\t\x0b\x0c\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_TWO_SPACES = re.compile(rf"  (?=[^ \r\n{_BLANKS}])")
_TWO_BLANKS = re.compile(rf"[ {_BLANKS}]{{2}}(?=[^ \r\n{_BLANKS}])")
#: Every encoding of tiktoken ends a word after a letter or digit that one of these characters follows, and
#: before a space.
_SEAMS = re.compile(
    r"(?<=[0-9A-Za-zÀ-ÖØ-öø-ʯΑ-ΡΣ-ωА-яא-תぁ-ゖァ-ヺ一-鿿가-힣])(?=[ \n\r\t,.;:!?()\[\]，。、；：！？])"
    r"|(?<=\S)(?=[ \t])"
)
#: Longest slice (characters) that is encoded at once.
_SLICE = 1 << 20
#: The width of a token that was not met yet.
_UNKNOWN = -(1 << 15)


def encoding_of(model: str) -> str | None:
    """The encoding that a model of OpenAI reads with, e.g. ``o200k_base`` of ``gpt-4o``; None if unknown."""
    from tiktoken.model import encoding_name_for_model

    try:
        encoding = encoding_name_for_model(model.removeprefix("openai/"))
    except KeyError:
        return None
    # The same words and ranks; they differ in special tokens, which a text has none of.
    return "o200k_base" if encoding == "o200k_harmony" else encoding


def open_encoding(name: str) -> TiktokenTokenizer:
    """An encoding that tiktoken knows; what does not ship is tiktoken's to download or to have cached."""
    import tiktoken

    if name not in tiktoken.list_encoding_names():
        raise InvalidArgument(
            f"There is no tokenizer {name!r}: use 'wordllama', the path of a tokenizer.json, a model such "
            f"as 'gpt-4o', or one of {', '.join(tiktoken.list_encoding_names())}."
        )
    tokenizer = TiktokenTokenizer(name)
    if name not in BUNDLED:
        tokenizer.count("a")  # a failing download is told here, not in the middle of a run
    return tokenizer


class TiktokenTokenizer:
    """An encoding of tiktoken. Opening is free; the ranks are read at first use."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count_short = lru_cache(maxsize=KEPT)(self._count)

    @property
    def name(self) -> str:
        """Name of the encoding."""
        return self._name

    @property
    def seams(self) -> re.Pattern[str]:
        """See ``pgrecall.tokens.Separable``."""
        return _SEAMS

    def count(self, text: str) -> int:
        """Number of tokens."""
        return self._count_short(text) if len(text) <= SHORT else self._count(text)

    def _count(self, text: str) -> int:
        return sum(map(len, self._arrays(text)))

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens in the text are ordinary text."""
        return [token for ids in self._arrays(text) for token in ids.tolist()]

    def truncate(self, text: str, max_tokens: int) -> str:
        """The longest prefix that ends where a token does and has at most max_tokens tokens."""
        return truncate_with(self, text, max_tokens)

    def starts(self, text: str) -> Offsets:
        """Offset of each token, shape (count(text),)."""
        arrays = list(self._arrays(text))
        ids = arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, np.int32), *arrays])
        return token_starts(self._widths_of(ids))

    def _arrays(self, text: str) -> Iterator[Ids]:
        """The ids, slice by slice: without the list of numbers that ``encode_ordinary`` makes of them."""
        text = scalar_values(text)
        start = 0
        while start < len(text):
            end = _slice_end(text, start)
            yield self._slice_ids(text[start:end])
            start = end

    def _slice_ids(self, text: str) -> Ids:
        if self._name not in _MARKED_WORDS:
            return _encoded(self._encoding, text)
        if _GAP in text:
            return _encoded(self._unmarked, text)
        marked = _with_gaps(text)
        ids = _encoded(self._encoding, marked)
        return ids if marked is text else ids[ids != self._gap]

    def _widths_of(self, ids: Ids) -> npt.NDArray[np.int16]:
        """The width of each token; those met for the first time are looked up. All of them take 0.1 s."""
        widths = self._widths[ids]
        unknown = widths == _UNKNOWN
        if unknown.any():
            new = np.unique(ids[unknown])
            self._widths[new] = list(map(_width, self._encoding.decode_tokens_bytes(new.tolist())))
            widths = self._widths[ids]
        return widths

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        """Of a bundled encoding, the one that finds words where gaps are marked."""
        name = self._name
        marked = _MARKED_WORDS.get(name)
        return bundled_encoding(name, marked) if marked else _tiktoken_encoding(name)

    @cached_property
    def _unmarked(self) -> tiktoken.Encoding:
        """For the rare text in which a gap cannot be marked. It takes some MB, and its time to be read."""
        return bundled_encoding(self._name)

    @cached_property
    def _gap(self) -> int:
        return self._encoding.encode_single_token(_GAP)

    @cached_property
    def _widths(self) -> npt.NDArray[np.int16]:
        """Width of each token as ``token_starts`` wants it, indexed by token id, as far as known."""
        return np.full(self._encoding.max_token_value + 1, _UNKNOWN, np.int16)


def _width(token: bytes) -> int:
    width = sum(byte & 0xC0 != 0x80 for byte in token)
    inside = token[0] & 0xC0 == 0x80
    return -1 - width if inside else width


def _encoded(encoding: tiktoken.Encoding, text: str) -> Ids:
    return encoding.encode_to_numpy(text, disallowed_special=()).view(np.int32)


def _with_gaps(text: str) -> str:
    if any(map(text.__contains__, _BLANKS)):
        return _TWO_BLANKS.sub(lambda found: _GAP.join(found[0]), text)
    return _TWO_SPACES.sub(f" {_GAP} ", text)


def _slice_end(text: str, start: int) -> int:
    """Where the slice that begins at start ends: at the last seam of its last 64 k characters, if any."""
    end = start + _SLICE
    if end >= len(text):
        return len(text)
    last = last_seam(_SEAMS).match(text, end - (1 << 16), end + 1)
    return last.end() if last else end


def bundled_encoding(name: str, words: str | None = None) -> tiktoken.Encoding:
    """An encoding of BUNDLED, read from the file that ships with pgrecall; ``words``: another pattern."""
    import tiktoken

    lines = resources.files("pgrecall").joinpath(f"data/{name}.tiktoken").read_bytes().split()
    tokens, ranks = lines[::2], lines[1::2]
    return tiktoken.Encoding(
        name,
        pat_str=words or BUNDLED[name],
        mergeable_ranks=dict(zip(map(a2b_base64, tokens), map(int, ranks), strict=True)),
        # No text becomes it, but with none at all looking for them takes as long as the words.
        special_tokens={"<|endoftext|>": len(ranks)},
    )


def _tiktoken_encoding(name: str) -> tiktoken.Encoding:
    import tiktoken

    try:
        return tiktoken.get_encoding(name)
    except Exception as exc:  # tiktoken passes on whatever its download or cache raises
        raise InvalidArgument(
            f"tiktoken cannot provide the encoding {name!r}: allow it to download the file once, "
            "or put it into the folder that TIKTOKEN_CACHE_DIR names."
        ) from exc
