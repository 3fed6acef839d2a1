"""Bringing scores to one scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def min_max(scores: Sequence[float]) -> npt.NDArray[np.float64]:
    """From 0 for the lowest to 1 for the highest; all 1 where all are equal. Shape (len(scores),)."""
    values = np.asarray(scores, dtype=np.float64)
    if not values.size:
        return values
    lowest, highest = values.min(), values.max()
    if lowest == highest:
        return np.ones_like(values)
    # Halved, because the range of two huge numbers may not be a number.
    scaled: npt.NDArray[np.float64] = (values / 2 - lowest / 2) / (highest / 2 - lowest / 2)
    return scaled
