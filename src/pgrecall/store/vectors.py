"""Vectors on the wire: pgvector's binary formats, without asking the server for type numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pgrecall.errors import InvalidArgument
from pgrecall.types import FloatArray

#: What a halfvec and a vector are made of, big endian as on the wire.
HALF, SINGLE = ">f2", ">f4"
#: Dimensions and an unused word, both big endian, before the elements (pgvector, halfvec_send, vector_send).
HEADER = struct.Struct(">HH")
#: The longest vector that a column takes (pgvector, all types).
LONGEST = 16_000
#: Sums of squares between which no number is beyond the largest half, 65,504, and with up to 16,000 dimensions
#: at least one is above the smallest, 6e-8.
SMALLEST, LARGEST = 1e-6, 65_504.0**2


@dataclass(frozen=True, slots=True)
class Asked:
    """The embedding of a question as vector_recv reads it."""

    wire: bytes


def single_of(numbers: object) -> FloatArray:
    """In single precision, where what is too large is infinite. Raises TypeError and ValueError."""
    if isinstance(numbers, np.ndarray) and numbers.dtype == np.float32:
        return numbers
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(numbers, dtype=np.float32)


def encode(vector: FloatArray, element: str = HALF) -> Asked:
    """A query embedding, shape (dimensions,), to be compared with vectors of this element.

    It is sent in single precision; Postgres rounds it where the vectors are. Raises InvalidArgument as
    ``encode_all`` does.
    """
    single = single_of(vector)
    fits = single.ndim == 1 and len(single) <= LONGEST
    # One multiplication says of nearly all vectors that each number fits a half, and not all vanish.
    with np.errstate(over="ignore", invalid="ignore"):
        usual = fits and SMALLEST < float(single @ single) < LARGEST
    if not fits or (not usual and _unusable(single[None], element).any()):
        raise InvalidArgument(
            "An embedding of a question is one row of up to 16,000 numbers, not all zero, none NaN or infinite."
        )
    return Asked(HEADER.pack(len(single), 0) + single.astype(SINGLE).tobytes())


def encode_all(vectors: FloatArray, element: str = HALF) -> list[bytes]:
    """Embeddings, shape (n, dimensions), one wire form a row, of halfvec or of vector.

    Raises InvalidArgument for what the column or the cosine cannot take: NaN, infinities beyond
    the elements' precision, zero vectors.
    """
    if vectors.ndim != 2:
        raise InvalidArgument(f"Embeddings have the shape (n, dimensions), not {vectors.shape}.")
    bad = _unusable(vectors, element)
    if bad.any():
        raise InvalidArgument(
            f"Embedding {int(bad.argmax())} is zero or holds NaN or infinity; embed its text again."
        )
    header = HEADER.pack(vectors.shape[1], 0)
    return [header + row.tobytes() for row in vectors.astype(element)]


def storable(vector: FloatArray, element: str = HALF) -> bool:
    """Whether ``encode_all`` takes it."""
    return not _unusable(np.asarray(vector, dtype=np.float32)[None], element).any()


def _unusable(vectors: FloatArray, element: str) -> npt.NDArray[np.bool_]:
    """Which rows have no direction once they are stored."""
    with np.errstate(over="ignore", invalid="ignore"):
        stored = vectors.astype(element)
        # pgvector adds squares up in single precision.
        squares = np.square(stored.astype(np.float32)).sum(axis=1)
    usable: npt.NDArray[np.bool_] = np.isfinite(squares) & (squares > 0)
    return ~usable


def recoded(wire: bytes, element: str) -> bytes | None:
    """A vector of single precision in this one; None if it has no place there."""
    if element == SINGLE:
        return wire
    vectors = decode_all([wire], SINGLE)
    return None if _unusable(vectors, element).any() else encode_all(vectors, element)[0]


def columns(wire: bytes, element: str) -> tuple[bytes | None, bytes | None]:
    """A vector as the columns ``embedding`` and ``embedding_full`` hold it: one of them, the other is null."""
    return (None, wire) if element == SINGLE else (wire, None)


def decode_all(wires: Sequence[bytes], element: str = HALF) -> FloatArray:
    """The inverse of ``encode_all``: shape (n, dimensions)."""
    rows = [np.frombuffer(wire, dtype=element, offset=HEADER.size) for wire in wires]
    return np.array(rows, dtype=np.float32)
