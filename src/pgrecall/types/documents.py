"""Documents and chunks: what goes in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: float32 embeddings: shape (n, dimensions), or (dimensions,) for one query.
FloatArray: TypeAlias = "npt.NDArray[np.float32]"
#: How the text of a document is structured: what the chunker may rely on.
Markup: TypeAlias = Literal["plain", "markdown", "code"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DocumentFields:
    """What goes in under a name: a text (``Document``), or chunks with their vectors (``EmbeddedDocument``)."""

    #: The name under which the document is known; the same uri again is a new version of it.
    uri: str
    text: str | None = None
    title: str | None = None
    #: Anything JSON can hold. Chunks carry a copy, so that searches can filter on it.
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tenant_id: str = ""
    mime_type: str = "text/plain"
    #: ``None``: taken from the uri's suffix and the mime type.
    markup: Markup | None = None
    #: The text search configuration of Postgres that splits it into words, such as "german".
    #: ``None``: the collection's.
    language: str | None = None
    #: Offset at which each page starts; page n (from 1) starts at ``pages[n - 1]``. Empty: no pages.
    pages: tuple[int, ...] = ()
    #: What loading had to change, for the report, e.g. "removed 2 NUL characters".
    notes: tuple[str, ...] = ()
    #: A picture (PNG, JPEG, WebP or GIF): embedded instead of the text, which says what it shows. It is
    #: stored as it is, so give a small one; loading an image file makes a thumbnail.
    media: bytes | None = field(default=None, repr=False)
    #: Where it was found: the uri of its file, its sitemap, or the name of its table. ``None`` for one that
    #: was given. Runs that stay in step with a source remove documents of that source only.
    source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document(DocumentFields):
    """A text with a name, as it goes in."""

    text: str


#: Bytes (UTF-8) of the longest uri, and of the longest tenant_id: an index entry has a largest size.
LONGEST_URI = 2_000
LONGEST_TENANT = 500


@dataclass(frozen=True, slots=True)
class Image:
    """A picture to search with."""

    #: Path of a file, or its content.
    source: str | PathLike[str] | bytes

    def read(self) -> bytes:
        """The content; raises OSError."""
        return self.source if isinstance(self.source, bytes) else Path(self.source).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A slice of a document's text: ``text[start:end] == content``."""

    ordinal: int
    start: int
    end: int
    content: str
    #: The headings above the chunk, outermost first.
    headings: tuple[str, ...] = ()
    #: Title and headings as one line, embedded and indexed in front of the content; "" for none.
    header: str = ""
    #: Tokens of ``embedded_text``, in the tokenizer of the embedder.
    tokens: int = 0
    #: Their ids, where they were asked for: int32, shape (tokens,). They are not stored.
    token_ids: npt.NDArray[np.int32] | None = field(default=None, repr=False, compare=False)

    @property
    def embedded_text(self) -> str:
        """What is given to the embedder: the header, an empty line, the content."""
        return f"{self.header}\n\n{self.content}" if self.header else self.content
