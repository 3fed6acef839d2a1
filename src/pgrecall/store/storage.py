"""How vectors are kept, indexed and compared; refused before any table is made where it does not fit.

What Postgres does for each of them (columns, operators, the expression in the index, scores and rescoring)
is written in one file, ``functions/storage_v1.sql``; here are pgvector's limits, and what Python sends.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from pgrecall.errors import InvalidArgument
from pgrecall.store.vectors import HALF, LONGEST, SINGLE, columns

StorageType: TypeAlias = Literal["halfvec", "vector", "bit"]
Metric: TypeAlias = Literal["cosine", "ip", "l2"]

#: The most dimensions that an HNSW index takes of each type (pgvector, hnsw limits).
INDEXED = {"halfvec": 4_000, "vector": 2_000, "bit": LONGEST}
#: Bytes up to which a vector stays in its row (8 KiB pages), where exact searches read it without a detour.
INLINE = 3_072


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """How a collection keeps, indexes and compares its vectors.

    ``type`` is "halfvec" (2 bytes a dimension), "vector" (4 bytes), or "bit": halfvec in the table and its
    signs in the index. None takes halfvec, or bit where the index would take no vector that long.
    ``metric`` is "cosine", "ip" (inner product) or "l2" (Euclidean distance). ``prefix`` puts that many of
    the first dimensions into the index, for models trained for it (Matryoshka). What a short prefix or signs
    find is compared again, exactly, with the whole vectors.
    """

    type: StorageType | None = None
    metric: Metric = "cosine"
    prefix: int | None = None

    def __post_init__(self) -> None:
        if self.type is not None and self.type not in get_args(StorageType):
            raise InvalidArgument(f'storage is "halfvec", "vector" or "bit", not {self.type!r}.')
        if self.metric not in get_args(Metric):
            raise InvalidArgument(f'The metric is "cosine", "ip" or "l2", not {self.metric!r}.')
        if self.prefix is not None and (
            isinstance(self.prefix, bool) or not isinstance(self.prefix, int) or self.prefix < 1
        ):
            raise InvalidArgument(
                f"A prefix is a whole number of dimensions from 1, not {self.prefix!r}."
            )

    def __str__(self) -> str:
        prefix = f", prefix {self.prefix}" if self.prefix else ""
        return f"{self.type}, {self.metric}{prefix}"

    @property
    def column(self) -> str:
        """Where the chunks of such a generation have their vectors; the other column is null."""
        return "embedding_full" if self.type == "vector" else "embedding"

    @property
    def element(self) -> str:
        """One number of a stored vector on the wire (``store.vectors``)."""
        return SINGLE if self.type == "vector" else HALF

    def columns(self, wire: bytes) -> tuple[bytes | None, bytes | None]:
        """A vector as a chunk's ``embedding`` and ``embedding_full``."""
        return columns(wire, self.element)

    def inline(self, dimensions: int) -> bool:
        """Whether so long a vector stays in its row."""
        return dimensions * int(self.element[-1]) <= INLINE

    def node(self, dimensions: int) -> int:
        """Bytes of a vector in the index."""
        indexed = self.prefix or dimensions
        return -(-indexed // 8) if self.type == "bit" else indexed * int(self.element[-1])

    def of(self, dimensions: int, embedder: str) -> Storage:
        """The same with its type decided. Raises InvalidArgument for what pgvector could not index."""
        if not 1 <= dimensions <= LONGEST:
            raise InvalidArgument(
                f"{embedder} makes {dimensions:,} dimensions, and Postgres stores at most {LONGEST:,}: "
                "ask the model for fewer (NAME@DIMENSIONS)."
            )
        if self.prefix is not None and self.prefix >= dimensions:
            raise InvalidArgument(
                f"A prefix of {self.prefix:,} dimensions is no part of the {dimensions:,} that {embedder} "
                "makes: make it shorter, or leave it away."
            )
        indexed = self.prefix or dimensions
        if self.type is None:
            return replace(self, type="halfvec" if indexed <= INDEXED["halfvec"] else "bit")
        if indexed > INDEXED[self.type]:
            raise InvalidArgument(
                f"An index of {self.type} takes at most {INDEXED[self.type]:,} dimensions, not {indexed:,}: "
                + ("shorten the prefix." if self.prefix else 'give a prefix, or choose "bit".')
            )
        return self


def kept(storage: Storage, dimensions: int, embedder: str, *, before: int) -> Storage:
    """The same for another model, whose vectors have so many dimensions, not ``before``.

    A type that was chosen stays if the index takes such vectors; where their length decided it, it does so
    again. A prefix stays if it is shorter than they are.
    """
    undecided = replace(storage, type=None)
    wanted = undecided if storage == undecided.of(before, embedder) else storage
    if wanted.prefix is not None and wanted.prefix >= dimensions:
        wanted = replace(wanted, prefix=None)
    try:
        return wanted.of(dimensions, embedder)
    except InvalidArgument:
        return replace(wanted, type=None).of(dimensions, embedder)


def chosen(storage: Storage | StorageType | None) -> Storage | None:
    """What a caller gives, as a Storage; None if it is left to us."""
    if storage is None or isinstance(storage, Storage):
        return storage
    return Storage(type=storage)
