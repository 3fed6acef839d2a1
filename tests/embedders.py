"""Small embedders for tests: quick, deterministic, and wrong where a test wants them to be."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Sequence
from functools import cache, cached_property

import numpy as np

from pgrecall.errors import EmbeddingError
from pgrecall.tokens import Tokenizer, open_tokenizer
from pgrecall.types import FloatArray


class TinyEmbedder:
    """A text's vector is the sum of random vectors, one for each of its words."""

    max_tokens = 8192

    def __init__(self, dimensions: int = 32, name: str = "tiny") -> None:
        self.dimensions = dimensions
        self.name = name
        #: Every text that was embedded, in order.
        self.seen: list[str] = []
        self._lock = threading.Lock()

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return open_tokenizer("wordllama")

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        with self._lock:
            self.seen += texts
        return np.array([self.embed_query(text) for text in texts]).reshape(-1, self.dimensions)

    def embed_query(self, text: str) -> FloatArray:
        words = text.lower().split() or [""]
        total = np.sum([_vector(word, self.dimensions) for word in words], axis=0)
        unit: FloatArray = (total / np.linalg.norm(total)).astype(np.float32)
        return unit


class PoisonedEmbedder(TinyEmbedder):
    """Fails with ``error`` whenever one of the texts holds the word "poison"."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        if any("poison" in text for text in texts):
            self.seen += texts
            raise self.error
        return super().embed_documents(texts)


class DeadEmbedder(TinyEmbedder):
    """A provider that is down."""

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        self.seen += texts
        raise EmbeddingError("The provider is down.")


class CarelessEmbedder(TinyEmbedder):
    """Answers with ``answer`` for every text that holds the word "careless"."""

    def __init__(self, answer: float) -> None:
        super().__init__()
        self.answer = answer

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        vectors = super().embed_documents(texts)
        for row, text in enumerate(texts):
            if "careless" in text:
                vectors[row] = self.answer
        return vectors


@cache
def _vector(word: str, dimensions: int) -> FloatArray:
    generator = np.random.default_rng(zlib.crc32(word.encode("utf-8", "replace")))
    return generator.standard_normal(dimensions, dtype=np.float32)
