"""Byte-pair encodings of tiktoken."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pgrecall.errors import InvalidArgument
from pgrecall.tokens.base import Offsets, last_seam, scalar_values, token_starts, truncate_with

if TYPE_CHECKING:
    import tiktoken

#: The encoding that ships with pgrecall.
BUNDLED = "cl100k_base"
#: How cl100k_base cuts a text into words; from tiktoken_ext.openai_public (MIT licence).
_CL100K_WORDS = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
#: Every encoding of tiktoken ends a word after a letter or digit that one of these characters follows, and
#: before a space.
_SEAMS = re.compile(
    r"(?<=[0-9A-Za-zÀ-ÖØ-öø-ʯΑ-ΡΣ-ωА-яא-תぁ-ゖァ-ヺ一-鿿가-힣])(?=[ \n\r\t,.;:!?()\[\]，。、；：！？])"
    r"|(?<=\S)(?=[ \t])"
)
#: Longest slice (characters) that is encoded at once: a list of ids takes some 40 bytes per token.
_SLICE = 1 << 20


def open_encoding(name: str) -> TiktokenTokenizer:
    """An encoding that tiktoken knows; tiktoken downloads it, or takes it from its own cache."""
    import tiktoken

    if name not in tiktoken.list_encoding_names():
        raise InvalidArgument(
            f"There is no tokenizer {name!r}: use 'wordllama', the path of a tokenizer.json, or one of "
            f"{', '.join(tiktoken.list_encoding_names())}."
        )
    tokenizer = TiktokenTokenizer(name)
    tokenizer.count("")  # a failing download is told here, not in the middle of a run
    return tokenizer


class TiktokenTokenizer:
    """An encoding of tiktoken. Opening is free; the ranks are read at first use."""

    def __init__(self, name: str) -> None:
        self._name = name

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
        if len(text) <= _SLICE:
            return len(self._encoding.encode_ordinary(scalar_values(text)))
        return sum(map(len, self._pieces(text)))

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens in the text are ordinary text."""
        return [token for piece in self._pieces(text) for token in piece]

    def truncate(self, text: str, max_tokens: int) -> str:
        """The longest prefix that ends where a token does and has at most max_tokens tokens."""
        return truncate_with(self, text, max_tokens)

    def starts(self, text: str) -> Offsets:
        """Offset of each token, shape (count(text),)."""
        pieces = [np.array(piece, dtype=np.int32) for piece in self._pieces(text)]
        return token_starts(np.concatenate(pieces or [np.empty(0, np.int32)]), self._widths)

    def _pieces(self, text: str) -> Iterator[list[int]]:
        encode = self._encoding.encode_ordinary
        text = scalar_values(text)
        if len(text) <= _SLICE:
            yield encode(text)
            return
        start = 0
        while start < len(text):
            end = _slice_end(text, start)
            yield encode(text[start:end])
            start = end

    @cached_property
    def _encoding(self) -> tiktoken.Encoding:
        return bundled_encoding() if self._name == BUNDLED else _tiktoken_encoding(self._name)

    @cached_property
    def _widths(self) -> npt.NDArray[np.int16]:
        """Width of each token as ``token_starts`` wants it, indexed by token id."""
        widths = np.zeros(self._encoding.max_token_value + 1, np.int16)
        for token in self._encoding.token_byte_values():
            width = sum(byte & 0xC0 != 0x80 for byte in token)
            inside = token[0] & 0xC0 == 0x80
            widths[self._encoding.encode_single_token(token)] = -1 - width if inside else width
        return widths


def _slice_end(text: str, start: int) -> int:
    """Where the slice that begins at start ends: at a seam if its last 64 k characters have one."""
    end = start + _SLICE
    if end >= len(text):
        return len(text)
    found = last_seam(_SEAMS).match(text, end - (1 << 16), end + 1)
    return found.end() if found else end


def bundled_encoding() -> tiktoken.Encoding:
    """cl100k_base, read from the file that ships with pgrecall."""
    import tiktoken

    lines = resources.files("pgrecall").joinpath(f"data/{BUNDLED}.tiktoken").read_bytes().split()
    ranks = {
        base64.b64decode(token): int(rank)
        for token, rank in zip(lines[::2], lines[1::2], strict=True)
    }
    return tiktoken.Encoding(
        BUNDLED, pat_str=_CL100K_WORDS, mergeable_ranks=ranks, special_tokens={}
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
