"""A number for each place that depends on nothing but the text around it."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from pgrecall.chunking.boundaries import IntArray, Points, code_points

#: Characters before and after the place that take part. The text before is short: an edit changes the places
#: behind it, and so the cuts, as little as possible.
BEFORE, AFTER = 24, 104
#: An odd number without pattern, and its inverse modulo 2**64.
_BASE = 0x9E3779B97F4A7C15
_INVERSE = pow(_BASE, -1, 1 << 64)
_BLOCK = 1 << 16


def fingerprints(text: str, offsets: IntArray) -> IntArray:
    """For each offset a hash of the characters around it, 0 <= hash < 2**30; offsets ascend.

    The hash is the value of the polynomial whose coefficients are the characters, at _BASE, modulo 2**64
    (Rabin and Karp): one running sum over the text gives that of any window.
    """
    result = np.empty(len(offsets), np.int64)
    for start in range(0, len(text), _BLOCK):
        first, last = np.searchsorted(offsets, (start, start + _BLOCK))
        if first < last:
            origin = max(start - BEFORE, 0)
            window = code_points(text[origin : start + _BLOCK + AFTER])
            result[first:last] = _hashes(window, offsets[first:last] - origin)
    return result


def _hashes(points: Points, offsets: IntArray) -> IntArray:
    powers, inverses = _powers()
    sums = np.zeros(len(points) + 1, np.uint64)
    np.cumsum(points * powers[: len(points)], out=sums[1:])
    low = np.maximum(offsets - BEFORE, 0)
    high = np.minimum(offsets + AFTER, len(points))
    value = (sums[high] - sums[low]) * inverses[low]
    value ^= value >> np.uint64(32)
    value *= np.uint64(_BASE)
    return (value >> np.uint64(34)).astype(np.int64)


@cache
def _powers() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    size = _BLOCK + BEFORE + AFTER
    base, inverse = (np.full(size, number, np.uint64) for number in (_BASE, _INVERSE))
    base[0] = inverse[0] = 1
    return np.cumprod(base), np.cumprod(inverse)
