"""How documents are cut."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from pgrecall.errors import InvalidArgument

#: Room for a shortened header and the longest single character of any tokenizer (one token per byte).
_SMALLEST = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkConfig:
    """Sizes and manners of chunking. Tokens are those of the embedder's own tokenizer."""

    #: No chunk is longer, its header included.
    max_tokens: int = 256
    #: At most so much of the chunk before is repeated: whole sentences where they fit; 0 for none.
    overlap_tokens: int = 32
    #: Sections (from one heading to the next) that are shorter are joined with their neighbours.
    min_tokens: int = 32
    #: A section of at least min_tokens is not mixed with the next one.
    respect_headings: bool = True
    #: Put a line of title and headings in front of the content that is embedded and indexed.
    include_header: bool = True

    def __post_init__(self) -> None:
        for name in ("max_tokens", "overlap_tokens", "min_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise InvalidArgument(
                    f"ChunkConfig.{name} must be a whole number of tokens, not {value!r}."
                )
        for name in ("respect_headings", "include_header"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidArgument(
                    f"ChunkConfig.{name} must be True or False, not {getattr(self, name)!r}."
                )
        if self.max_tokens < _SMALLEST:
            raise InvalidArgument(
                f"ChunkConfig.max_tokens must be at least {_SMALLEST}, not {self.max_tokens}."
            )
        if self.overlap_tokens > self.max_tokens // 2:
            raise InvalidArgument(
                f"ChunkConfig.overlap_tokens ({self.overlap_tokens}) must be at most half of "
                f"ChunkConfig.max_tokens ({self.max_tokens})."
            )

    @classmethod
    def within(cls, limit: int) -> Self:
        """The usual sizes, or smaller ones for a model that takes less."""
        return cls().narrowed(limit)

    def narrowed(self, limit: int) -> Self:
        """The same, or all sizes in proportion for a model that takes less."""
        size = max(_SMALLEST, min(self.max_tokens, limit))
        if size >= self.max_tokens:
            return self
        return replace(
            self,
            max_tokens=size,
            overlap_tokens=self.overlap_tokens * size // self.max_tokens,
            min_tokens=self.min_tokens * size // self.max_tokens,
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that ``to_dict`` wrote; raises InvalidArgument for a key that is not known."""
        known = [field.name for field in fields(cls)]
        if unknown := sorted(map(str, values.keys() - set(known))):
            raise InvalidArgument(
                f"The chunking configuration has no {', '.join(unknown)}; it has {', '.join(known)}."
            )
        return cls(**values)
