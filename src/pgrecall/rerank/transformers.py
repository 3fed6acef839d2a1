"""Models that run here, with sentence-transformers: cross-encoders and token encoders (ColBERT)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
from sentence_transformers import CrossEncoder, MultiVectorEncoder

from pgrecall.errors import InvalidArgument
from pgrecall.rerank.maxsim import MaxSim
from pgrecall.types import FloatArray


class CrossEncoderReranker:
    """A model that reads question and text together. Safe to share between threads, which take turns."""

    def __init__(self, model: str, **options: Any) -> None:
        """``model`` is a name on the hub or a folder; options are those of CrossEncoder.

        Raises InvalidArgument if there is no such model, or if it answers with more than one number.
        """
        self.model = model
        self._encoder = _opened(CrossEncoder, model, options)
        # Its tokenizer refuses two threads at a time.
        self._turn = Lock()
        if self._encoder.num_labels != 1:
            raise InvalidArgument(
                f"{model} answers with {self._encoder.num_labels} numbers a text; a reranker has one."
            )

    def __repr__(self) -> str:
        return f"CrossEncoderReranker({self.model!r})"

    @property
    def name(self) -> str:
        """E.g. ``cross-encoder:cross-encoder/ms-marco-MiniLM-L6-v2``."""
        return f"cross-encoder:{self.model}"

    def rerank(self, question: str, texts: Sequence[str]) -> FloatArray:
        """The model's score for each text, past its own activation: shape (len(texts),)."""
        if not texts:
            return np.empty(0, dtype=np.float32)
        with self._turn:
            scores = self._encoder.predict(
                [(question, text) for text in texts], show_progress_bar=False
            )
        return np.asarray(scores, dtype=np.float32)


class TransformerTokens:
    """The TokenEncoder of a multi-vector model. Safe to share between threads, which take turns."""

    def __init__(self, model: str, **options: Any) -> None:
        """``model`` is a name on the hub or a folder; options are those of MultiVectorEncoder.

        Raises InvalidArgument if there is no such model.
        """
        self.name = model
        self._encoder = _opened(MultiVectorEncoder, model, options)
        self._turn = Lock()

    def __repr__(self) -> str:
        return f"TransformerTokens({self.name!r})"

    def encode_query(self, text: str) -> FloatArray:
        """The vectors of a question: shape (tokens, dimensions)."""
        with self._turn:
            (vectors,) = self._encoder.encode_query(
                [text], convert_to_numpy=True, show_progress_bar=False
            )
        return np.asarray(vectors, dtype=np.float32)

    def encode_documents(self, texts: Sequence[str]) -> list[FloatArray]:
        """The vectors of passages, one array a text: shape (tokens, dimensions)."""
        with self._turn:
            found = self._encoder.encode_document(
                list(texts), convert_to_numpy=True, show_progress_bar=False
            )
        return [np.asarray(vectors, dtype=np.float32) for vectors in found]


def open_cross_encoder(model: str, options: Mapping[str, Any]) -> CrossEncoderReranker:
    """The reranker of a cross-encoder."""
    return CrossEncoderReranker(model, **options)


def open_late_interaction(model: str, options: Mapping[str, Any]) -> MaxSim:
    """The reranker of a multi-vector model."""
    return MaxSim(TransformerTokens(model, **options))


def _opened(kind: Any, model: str, options: Mapping[str, Any]) -> Any:
    try:
        return kind(model, **options)
    except (OSError, TypeError, ValueError) as exc:
        raise InvalidArgument(f"The model {model!r} cannot be opened: {exc}") from exc
