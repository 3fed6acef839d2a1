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
#: All bits of a half's exponent are set in infinities and NaN, and in nothing else (IEEE 754).
EXPONENT = np.uint16(0x7C00)


@dataclass(frozen=True, slots=True)
class Halfvec:
    """One vector as halfvec_recv reads it."""

    wire: bytes


def encode(vector: FloatArray) -> Halfvec:
    """A query embedding, shape (dimensions,). Raises InvalidArgument as ``encode_all`` does."""
    with np.errstate(over="ignore"):
        half = np.asarray(vector, dtype=np.float32).astype(np.float16)
    bits = half.view(np.uint16)
    if half.ndim != 1 or ((bits & EXPONENT) == EXPONENT).any() or not half.any():
        raise InvalidArgument(
            "An embedding of a question is one row of numbers, not all zero, none NaN or infinite."
        )
    return Halfvec(HEADER.pack(len(half), 0) + bits.astype(">u2").tobytes())


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


def decode_all(wires: Sequence[bytes]) -> FloatArray:
    """The inverse of ``encode_all``: shape (n, dimensions)."""
    rows = [np.frombuffer(wire, dtype=">f2", offset=HEADER.size) for wire in wires]
    return np.array(rows, dtype=np.float32)
