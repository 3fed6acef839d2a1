"""An embedder's name, limits and tokenizer without the embedder: what a plan needs of it."""

from __future__ import annotations

from collections.abc import Sequence

from pgrecall.embed.base import Embedder, takes_images
from pgrecall.embed.models import CAUTIOUS_TOKENIZER, known_model
from pgrecall.embed.registry import open_embedder
from pgrecall.errors import CredentialsMissing, EmbeddingError, InvalidArgument, MissingExtra
from pgrecall.tokens import Tokenizer, open_tokenizer
from pgrecall.types import FloatArray

#: Vendors whose models bring their tokenizers.
_BRING = ("static", "sentence-transformers")
#: Opens an embedder that is never asked anything.
_NO_KEY = "not-needed-for-a-plan"


class Offline:
    """Counts as the embedder counts, and embeds nothing: whoever holds it cannot spend anything."""

    def __init__(self, embedder: Embedder, dimensions: int) -> None:
        self._embedder = embedder
        #: As the caller knows them: the embedder might ask its server.
        self.dimensions = dimensions

    @property
    def name(self) -> str:
        """The embedder's."""
        return self._embedder.name

    @property
    def max_tokens(self) -> int:
        """The embedder's."""
        return self._embedder.max_tokens

    @property
    def tokenizer(self) -> Tokenizer:
        """The embedder's."""
        return self._embedder.tokenizer

    @property
    def takes_images(self) -> bool:
        """The embedder's."""
        return takes_images(self._embedder)

    def embed_images(self, images: Sequence[bytes]) -> FloatArray:
        """Raises EmbeddingError."""
        raise EmbeddingError("A plan asks no provider.")

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Raises EmbeddingError."""
        raise EmbeddingError("A plan asks no provider.")

    def embed_query(self, text: str) -> FloatArray:
        """Raises EmbeddingError."""
        raise EmbeddingError("A plan asks no provider.")


def offline(embedder: str | Embedder, dimensions: int = 0) -> Offline:
    """An embedder, or the one of a name, as a plan needs it; no API key is needed.

    Raises InvalidArgument for an unknown name, MissingExtra.
    """
    try:
        opened = open_embedder(embedder)
    except CredentialsMissing:
        opened = open_embedder(embedder, api_key=_NO_KEY)
    return Offline(opened, dimensions or _told(opened))


def own_tokenizer(name: str) -> Tokenizer:
    """What the embedder of that name counts tokens with, whatever options it was opened with.

    Raises InvalidArgument where only options tell, which the name does not keep, or nothing does; MissingExtra.
    """
    known = known_model(name)
    if known is not None and known.tokenizer not in (None, CAUTIOUS_TOKENIZER):
        return open_tokenizer(known.tokenizer)
    opened = offline(name, dimensions=1)
    if name.partition(":")[0] not in _BRING:
        raise InvalidArgument(
            "its name does not say which tokenizer it was opened with; pass it to verify(embedders=[...])"
        )
    return opened.tokenizer


def sees(name: str) -> bool:
    """Whether the embedder of that name takes images; no API key is needed for that.

    It is opened only if it is in no table; false for one that cannot be opened here.
    """
    known = known_model(name)
    if known is not None:
        return known.images
    try:
        return offline(name, dimensions=1).takes_images
    except (InvalidArgument, MissingExtra):
        return False


def _told(embedder: Embedder) -> int:
    """Length of its vectors if it need not ask anybody for that, else 0."""
    asks = hasattr(embedder, "recall_dimensions") and known_model(embedder.name) is None
    return 0 if asks else embedder.dimensions
