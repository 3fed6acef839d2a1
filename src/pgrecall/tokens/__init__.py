"""Tokenizers: count, encode and truncate with the tokenizer that belongs to the model."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pgrecall.tokens.base import Ids, Separable, Tokenizer, Traceable, last_seam, scalar_values

__all__ = [
    "Ids",
    "Separable",
    "Tokenizer",
    "Traceable",
    "last_seam",
    "open_tokenizer",
    "scalar_values",
]


@cache
def open_tokenizer(name: str) -> Tokenizer:
    """Open a tokenizer by name; the same name gives the same object, which threads may share.

    A model's name such as ``gpt-4o`` stands for its encoding. ``cl100k_base`` and ``o200k_base`` ship with
    pgrecall, ``wordllama`` with the default embedder; older encodings (``r50k_base`` ...) tiktoken downloads
    once. A path of a Hugging Face ``tokenizer.json`` works too.

    Raises InvalidArgument for a name or file that is unknown or cannot be read.
    """
    from pgrecall.tokens import bpe, huggingface

    if name == "wordllama":
        return huggingface.open_file(huggingface.wordllama_file(), name)
    if Path(name).is_file():
        return huggingface.open_file(Path(name), name)
    encoding = bpe.encoding_of(name) or name
    return open_tokenizer(encoding) if encoding != name else bpe.open_encoding(name)
