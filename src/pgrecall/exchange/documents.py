"""A document with chunks and vectors that were made elsewhere, and how it becomes one of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from pgrecall.errors import InvalidArgument
from pgrecall.types import Chunk, Document, DocumentFields, FloatArray

#: Stands between the chunks where they make the text of their document.
BETWEEN = "\n\n"
#: The largest number of half precision.
LARGEST = 65_504.0
#: How much of its length a vector may lose by being stored. Where its numbers are neither too large nor too
#: small for half precision, rounding takes less: 2 ** -11.
LOSS = 2.0**-10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedChunk:
    """A piece of a document, and its vector: float, shape (dimensions,)."""

    content: str
    embedding: FloatArray | Sequence[float]
    #: Where it begins in the document's text; None: where it is found first, after the chunk before it.
    start: int | None = None
    #: Title and headings as one line, if that was embedded in front of the content.
    header: str = ""
    headings: tuple[str, ...] = ()
    #: In the tokenizer of the model; None: they are counted.
    tokens: int | None = None
    #: What errors call it, e.g. "row 7"; None: its number in the document.
    place: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedDocument(DocumentFields):
    """A document with its chunks. Without a text, the chunks' contents, one after the other, are it."""

    chunks: Sequence[EmbeddedChunk]

    @property
    def place(self) -> str:
        """What errors call it."""
        return (self.chunks[0].place if self.chunks else None) or "The document"

    @property
    def size(self) -> int:
        """Characters that it holds in memory."""
        held = len(self.text or "") + len(self.media or b"")
        return held + sum(len(chunk.content) for chunk in self.chunks)

    def document(self) -> Document:
        """It without its chunks."""
        said = {field.name: getattr(self, field.name) for field in fields(DocumentFields)}
        if self.text is None:
            said["text"] = BETWEEN.join(chunk.content for chunk in self.chunks)
        return Document(**said)


def placed(given: EmbeddedDocument, text: str, count: Callable[[str], int]) -> list[Chunk]:
    """The chunks, each a slice of ``text``; ``count`` counts tokens.

    Raises InvalidArgument that names the chunk which is empty or does not stand in the text.
    """
    if not given.chunks:
        raise InvalidArgument("The document has no chunks; give it at least one.")
    chunks = []
    for ordinal, (chunk, start) in enumerate(zip(given.chunks, _starts(given, text), strict=True)):
        piece = Chunk(
            ordinal=ordinal,
            start=start,
            end=start + len(chunk.content),
            content=chunk.content,
            header=chunk.header,
            headings=chunk.headings,
        )
        tokens = count(piece.embedded_text) if chunk.tokens is None else chunk.tokens
        # A picture has no tokens.
        chunks.append(replace(piece, tokens=tokens if given.media else max(1, tokens)))
    return chunks


def _starts(given: EmbeddedDocument, text: str) -> Iterator[int]:
    last = -1
    joined = 0
    for number, chunk in enumerate(given.chunks):
        name = named(chunk, number)
        if not given.media and (not chunk.content or chunk.content.isspace()):
            raise InvalidArgument(f"{name} has no content.")
        if given.text is None:
            start, joined = joined, joined + len(chunk.content) + len(BETWEEN)
        elif chunk.start is None:
            # Chunks may overlap, and two of them do not begin at one place.
            start = text.find(chunk.content, last + 1)
            if start < 0:
                raise InvalidArgument(f"{name} does not stand in the document's text.")
        else:
            start = chunk.start
            if start < 0 or not text.startswith(chunk.content, start):
                raise InvalidArgument(
                    f"{name} is not what stands in the document's text at {start:,}; offsets count "
                    "characters (code points), not bytes."
                )
        last = start
        yield start


def vectors(
    given: EmbeddedDocument, dimensions: int, *, metric: str, precision: npt.DTypeLike
) -> FloatArray:
    """Shape (chunks, dimensions), to be stored in numbers of that precision.

    The cosine does not mind the length, so a vector that would lose by its own is scaled to 1. Raises
    InvalidArgument that names the chunk whose vector is unusable.
    """
    rows = [
        _vector(chunk, named(chunk, number), dimensions)
        for number, chunk in enumerate(given.chunks)
    ]
    made = np.stack(rows)
    if metric == "cosine":
        lengths = np.linalg.norm(made.astype(np.float64), axis=1)
        odd = ~(np.linalg.norm(_stored(made, precision) - made, axis=1) <= LOSS * lengths)
        made[odd] /= lengths[odd, np.newaxis]
    kept = _stored(made, precision)
    unfit = ~np.isfinite(kept).all(axis=1) | ~kept.any(axis=1)
    if unfit.any():
        number = int(unfit.argmax())
        raise InvalidArgument(
            f"{named(given.chunks[number], number)} has a vector whose numbers half precision cannot hold "
            f"(all below 6e-8, or one above {LARGEST:,.0f}); scale the vectors."
        )
    return made


def _stored(made: FloatArray, precision: npt.DTypeLike) -> npt.NDArray[np.float64]:
    """As it comes back from numbers of that precision."""
    with np.errstate(over="ignore", under="ignore"):
        return made.astype(precision).astype(np.float64)


def _vector(chunk: EmbeddedChunk, name: str, dimensions: int) -> FloatArray:
    if chunk.embedding is None:
        raise InvalidArgument(f"{name} has no vector.")
    try:
        vector = np.array(chunk.embedding, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as exc:
        raise InvalidArgument(f"{name} has a vector that is not a row of numbers.") from exc
    if vector.ndim != 1:
        raise InvalidArgument(
            f"{name} has a vector of shape {vector.shape}, not one row of numbers."
        )
    if len(vector) != dimensions:
        raise InvalidArgument(
            f"{name} has a vector of {len(vector):,} dimensions, and the collection has {dimensions:,}."
        )
    if not np.isfinite(vector).all():
        raise InvalidArgument(f"{name} has a vector with NaN or infinity in it.")
    if not vector.any():
        raise InvalidArgument(f"{name} has a vector of zeros, which has no direction.")
    return vector


def named(chunk: EmbeddedChunk, number: int) -> str:
    """What errors call a chunk."""
    return chunk.place or f"Chunk {number}"
