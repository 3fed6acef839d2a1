"""Vectors on the wire: pgvector's binary format of halfvec, without asking the server for type numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pgrecall.errors import InvalidArgument
from pgrecall.types import FloatArray

#: Dimensions and an unused word, both big endian, before the elements (pgvector, halfvec_send).
HEADER = struct.Struct(">HH")
#: Sums of squares between which no number is beyond the largest half, 65,504, and with up to 4,000 dimensions
#: at least one is above the smallest, 6e-8.
SMALLEST, LARGEST = 1e-6, 65_504.0**2


@dataclass(frozen=True, slots=True)
class Halfvec:
    """One vector as halfvec_recv reads it."""

    wire: bytes


def encode(vector: FloatArray) -> Halfvec:
    """A query embedding, shape (dimensions,). Raises InvalidArgument as ``encode_all`` does."""
    single = np.asarray(vector, dtype=np.float32)
    # One multiplication says of nearly all vectors that each number fits a half, and not all vanish.
    if single.ndim != 1 or not SMALLEST < float(single @ single) < LARGEST:
        _check(single)
    return Halfvec(HEADER.pack(len(single), 0) + single.astype(">f2").tobytes())


def _check(single: FloatArray) -> None:
    with np.errstate(over="ignore"):
        half = single.astype(np.float16)
    if half.ndim != 1 or not np.isfinite(half).all() or not half.any():
        raise InvalidArgument(
            "An embedding of a question is one row of numbers, not all zero, none NaN or infinite."
        )


def encode_all(vectors: FloatArray) -> list[bytes]:
    """Embeddings, shape (n, dimensions), one wire form a row.

    Raises InvalidArgument for what the column or the cosine cannot take: NaN, infinities beyond
    half precision, zero vectors.
    """
    if vectors.ndim != 2:
        raise InvalidArgument(f"Embeddings have the shape (n, dimensions), not {vectors.shape}.")
    with np.errstate(over="ignore"):
        halves = vectors.astype(">f2")
    bad = ~np.isfinite(halves).all(axis=1) | ~halves.any(axis=1)
    if bad.any():
        raise InvalidArgument(
            f"Embedding {int(bad.argmax())} is zero or holds NaN or infinity; embed its text again."
        )
    header = HEADER.pack(vectors.shape[1], 0)
    return [header + row.tobytes() for row in halves]


def storable(vector: FloatArray) -> bool:
    """Whether ``encode_all`` takes it."""
    with np.errstate(over="ignore"):
        half = np.asarray(vector, dtype=np.float32).astype(np.float16)
    return bool(np.isfinite(half).all() and half.any())


def decode_all(wires: Sequence[bytes]) -> FloatArray:
    """The inverse of ``encode_all``: shape (n, dimensions)."""
    rows = [np.frombuffer(wire, dtype=">f2", offset=HEADER.size) for wire in wires]
    return np.array(rows, dtype=np.float32)
