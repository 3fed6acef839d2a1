"""Late interaction: each token of the question looks for its best match among those of a text.

MaxSim is the sum, over the tokens of the question, of the largest cosine to a token of the text (Khattab and
Zaharia, 2020, https://arxiv.org/abs/2004.12832). Here it is their mean, which gives the same order and does
not grow with the question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pgrecall.rerank.base import TokenEncoder
from pgrecall.types import FloatArray


class MaxSim:
    """Reranks with the token vectors of any encoder. As safe to share between threads as that is."""

    def __init__(self, encoder: TokenEncoder) -> None:
        self.encoder = encoder

    def __repr__(self) -> str:
        return f"MaxSim({self.encoder!r})"

    @property
    def name(self) -> str:
        """E.g. ``late-interaction:lightonai/GTE-ModernColBERT-v1``."""
        return f"late-interaction:{self.encoder.name}"

    def rerank(self, question: str, texts: Sequence[str]) -> FloatArray:
        """A score from -1 to 1 for each text: shape (len(texts),)."""
        query = self.encoder.encode_query(question)
        return maxsim(query, self.encoder.encode_documents(texts) if texts else [])


def maxsim(query: FloatArray, documents: Sequence[FloatArray]) -> FloatArray:
    """The mean of the largest cosines: shape (len(documents),).

    ``query`` and each document have the shape (tokens, dimensions), of any length. -1 where there is no token.
    """
    wanted = _units(query)
    scores = np.full(len(documents), -1.0, dtype=np.float32)
    for row, document in enumerate(documents):
        if len(document) and len(wanted):
            scores[row] = (wanted @ _units(document).T).max(axis=1).mean()
    return scores


def _units(vectors: FloatArray) -> FloatArray:
    """Rows of length 1; a row of zeros stays one."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    lengths[lengths == 0] = 1
    units: FloatArray = rows / lengths.astype(np.float32)[:, np.newaxis]
    return units
