"""Tokenizers: count, encode and truncate with the tokenizer that belongs to the model."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt


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
