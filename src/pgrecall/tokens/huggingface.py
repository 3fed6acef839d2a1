"""Tokenizers in the ``tokenizer.json`` format of Hugging Face."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pgrecall.errors import InvalidArgument
from pgrecall.tokens.base import Offsets, Tokenizer, scalar_values, truncate_with
from pgrecall.tokens.words import WordTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

_WORDLLAMA_FILE = "tokenizers/l2_supercat_tokenizer_config.json"


class HuggingFaceTokenizer:
    """Any ``tokenizer.json``, through the ``tokenizers`` package."""

    def __init__(self, name: str, backend: Backend) -> None:
        self._name = name
        self._backend = backend

    @property
    def name(self) -> str:
        """Name or path it was opened with."""
        return self._name

    def count(self, text: str) -> int:
        """Number of tokens."""
        return len(self.encode(text))

    def encode(self, text: str) -> list[int]:
        """Token ids; special tokens in the text are ordinary text."""
        return self._backend.encode(scalar_values(text), add_special_tokens=False).ids

    def truncate(self, text: str, max_tokens: int) -> str:
        """The longest prefix that ends where a token does and has at most max_tokens tokens."""
        return truncate_with(self, text, max_tokens)

    def starts(self, text: str) -> Offsets:
        """Offset of each token, shape (count(text),)."""
        encoding = self._backend.encode(scalar_values(text), add_special_tokens=False)
        starts = np.array([start for start, _ in encoding.offsets], dtype=np.int64)
        return np.maximum.accumulate(starts) if len(starts) else starts


def open_file(path: Path, name: str) -> Tokenizer:
    """The tokenizer of a ``tokenizer.json``: the fast kind where its vocabulary allows it."""
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_file(str(path))
    except Exception as exc:  # the package raises plain Exception
        raise InvalidArgument(
            f"{str(path)!r} is not a tokenizer that can be read: give the path of a Hugging Face "
            "tokenizer.json."
        ) from exc
    return _prepared(name, backend)


def adapted(name: str, backend: Backend) -> Tokenizer:
    """The tokenizer that another package has read; that one is left as it is."""
    return _prepared(name, type(backend).from_str(backend.to_str()))


def _prepared(name: str, backend: Backend) -> Tokenizer:
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return (
        WordTokenizer(name, backend)
        if WordTokenizer.fits(backend)
        else HuggingFaceTokenizer(name, backend)
    )


def wordllama_file() -> Path:
    """The tokenizer inside the wordllama package, which is not imported: doing so configures logging."""
    spec = find_spec("wordllama")
    if spec is None or spec.origin is None:
        raise InvalidArgument(
            "The tokenizer 'wordllama' comes with a package: pip install wordllama"
        )
    return Path(spec.origin).parent / _WORDLLAMA_FILE
