"""The Embedder protocol: what pgrecall needs of whatever turns texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard, runtime_checkable

from pgrecall.tokens import Ids, Tokenizer
from pgrecall.types import FloatArray


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors. Any object with these members will do.

    Vectors are float32, one row per text; no texts give shape (0, dimensions). All embedders of ours
    normalise them to length 1. They are stored as they come: lengths mean nothing to the metric cosine,
    and count with ip and l2.
    Implementations cut a long list into requests themselves; callers may pass any number of texts.
    One that can embed several questions in one request may have ``embed_queries(texts)`` too, shape
    (len(texts), dimensions), and ``embed_queries_async``.
    A text that is empty or too long is refused with ``pgrecall.errors.InvalidArgument``, never
    truncated; whatever fails otherwise is a ``pgrecall.errors.EmbeddingError``, which may carry what was
    ``answered`` before, so that it is kept and not asked for again, and which texts are ``refused``,
    where the rest would go through (positions in the list that was given).
    Its name stands for its vectors, which are reused by it: two embedders of one name and length give
    one text the same vector. What changes vectors belongs in the name.
    One whose model follows instructions takes ``instruction=`` in its methods for questions.
    One whose model sees, too, has ``embed_images(images)``: files as bytes (PNG, JPEG, WebP, GIF) to vectors
    of the same space, shape (len(images), dimensions); and ``takes_images``, false if its model does not.
    One that does not know the length of its vectors without asking may have
    ``recall_dimensions(dimensions)``: it is told what a collection has kept.
    One that waits for others rather than compute may have ``concurrency``: how many calls of its methods may
    be under way at a time, from threads and tasks. Without it, an ingestion makes one call after the other.
    One that computes by itself may have ``embed_token_ids(ids)`` too, and is then given the ids that chunking
    has made (``TakesTokenIds``).
    """

    @property
    def name(self) -> str:
        """What ``pgrecall.open_embedder`` finds it by: ``openai:text-embedding-3-small``."""

    @property
    def dimensions(self) -> int:
        """Length of each vector."""

    @property
    def max_tokens(self) -> int:
        """Longest text that is taken, in tokens of ``tokenizer``."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer; chunk sizes are counted with it."""

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Embed passages: shape (len(texts), dimensions)."""

    def embed_query(self, text: str) -> FloatArray:
        """Embed one question: shape (dimensions,)."""


@runtime_checkable
class AsyncEmbedder(Embedder, Protocol):
    """An embedder that can also be awaited, without threads."""

    async def embed_documents_async(self, texts: Sequence[str]) -> FloatArray:
        """As ``embed_documents``."""

    async def embed_query_async(self, text: str) -> FloatArray:
        """As ``embed_query``."""


@runtime_checkable
class TakesTokenIds(Protocol):
    """What an embedder has, if it spares itself the tokenizing; that one is ``pgrecall.tokens.Traceable``."""

    def embed_token_ids(self, ids: Sequence[Ids]) -> FloatArray:
        """As ``embed_documents``, given the token ids of each text: int32, shape (tokens,)."""


def can_await(embedder: Embedder) -> TypeGuard[AsyncEmbedder]:
    """Whether it is an AsyncEmbedder.

    ``isinstance`` would read every property in Python 3.11, and ``dimensions`` may ask a server.
    """
    return hasattr(embedder, "embed_documents_async") and hasattr(embedder, "embed_query_async")


def takes_images(embedder: object) -> bool:
    """Whether it has ``embed_images``, and a model that sees."""
    return hasattr(embedder, "embed_images") and bool(getattr(embedder, "takes_images", True))


def concurrency_of(embedder: object) -> int:
    """How many of its calls may be under way at a time: 1 for one that does not say."""
    return int(getattr(embedder, "concurrency", 1))
