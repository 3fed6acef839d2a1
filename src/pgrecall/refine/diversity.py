"""Maximal marginal relevance: what is like the hits above it comes later.

The next hit is the one with the largest (1 - d) * relevance - d * similarity, where the similarity is
the largest cosine to a hit above it, and d the diversity, i.e. 1 - lambda (Carbonell and Goldstein,
1998, https://doi.org/10.1145/290941.291025). The relevance is the score, from 0 for the lowest among the
candidates to 1 for the highest; a cosine below 0 counts as 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pgrecall.refine.scale import min_max
from pgrecall.types import FloatArray, Hit


def diversified(hits: Sequence[Hit], vectors: FloatArray, diversity: float) -> Iterator[Hit]:
    """The hits in order of their marginal relevance, each chosen when it is asked for.

    ``vectors`` has the shape (len(hits), dimensions); a row of zeros is like nothing else.
    ``diversity`` 0 leaves the order as it is.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(lengths > 0, lengths, 1)
    relevance = (1 - diversity) * min_max([hit.score for hit in hits])
    nearest = np.zeros(len(hits))
    for _ in hits:
        # Of equals the first, which is the better one.
        chosen = int(np.argmax(relevance - diversity * nearest))
        yield hits[chosen]
        relevance[chosen] = -np.inf
        np.maximum(nearest, units @ units[chosen], out=nearest)
