"""What every embedder checks of the texts it is given and of the vectors it hands back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pgrecall.errors import EmbeddingError, InvalidArgument
from pgrecall.types import FloatArray

Lengths: TypeAlias = npt.NDArray[np.int64]


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list; raises InvalidArgument that names the first unusable one."""
    if isinstance(texts, str):
        raise InvalidArgument("Pass a list of texts, not one string; embed_query takes one string.")
    for position, text in enumerate(texts):
        if (complaint := _complaint(text)) is not None:
            raise InvalidArgument(f"{_subject(position)} {complaint}.")
    return list(texts)


def checked_query(text: str) -> str:
    """The query as it is; raises InvalidArgument if it cannot be embedded."""
    if (complaint := _complaint(text)) is not None:
        raise InvalidArgument(f"{_subject(None)} {complaint}.")
    return text


def check_lengths(lengths: Lengths, max_tokens: int, *, first: int | None = 0) -> None:
    """Raise InvalidArgument that names the first text with more than max_tokens tokens.

    ``first`` is the position of the first text, None for a query. Nothing is ever truncated: a
    vector that stands for half of a text would be found for the wrong reasons.
    """
    too_long = np.flatnonzero(lengths > max_tokens)
    if too_long.size:
        position = int(too_long[0])
        raise InvalidArgument(
            f"{_subject(first, position)} has {lengths[position]:,} tokens, and the model takes "
            f"at most {max_tokens:,}; make it shorter."
        )


def normalised(vectors: FloatArray, *, first: int | None = 0) -> FloatArray:
    """Scale each row to length 1, in place; shape (n, dimensions).

    ``first`` is the position of the first row's text, None for a query. Raises EmbeddingError for
    a row that has no direction: NaN, infinite or zero.
    """
    lengths = _lengths(vectors)
    bad = np.flatnonzero(~_usable(lengths))
    if bad.size:
        raise EmbeddingError(no_direction(None if first is None else first + int(bad[0])))
    vectors /= lengths[:, np.newaxis]
    return vectors


def has_direction(vectors: FloatArray) -> npt.NDArray[np.bool_]:
    """Which rows can be normalised: shape (n,)."""
    return _usable(_lengths(vectors))


def no_direction(position: int | None) -> str:
    """What to say of a text whose vector cannot be normalised; None for the query."""
    return (
        f"{_subject(position)} was answered with a vector that is zero, infinite or not a number, "
        "and so cannot be compared; check the model."
    )


def _lengths(vectors: FloatArray) -> npt.NDArray[np.float64]:
    # float64: the square of a large float32 would overflow.
    lengths: npt.NDArray[np.float64] = np.sqrt(
        np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    )
    return lengths


def _usable(lengths: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    return np.isfinite(lengths) & (lengths > 0)


def _subject(first: int | None, offset: int = 0) -> str:
    return "The query" if first is None else f"Text {first + offset}"


def _complaint(text: object) -> str | None:
    if not isinstance(text, str):
        return f"is not a string but of type {type(text).__name__}"
    if not text or text.isspace():
        return "is empty"
    if not text.isascii() and not _is_unicode(text):
        return "holds half of a surrogate pair, which is no valid Unicode"
    return None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
