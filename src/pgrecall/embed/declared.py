"""An embedder of which only the name is at hand: its vectors were made elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pgrecall.embed.models import known_model
from pgrecall.errors import InvalidArgument
from pgrecall.tokens import Tokenizer, open_tokenizer
from pgrecall.types import FloatArray

#: Stands in front of the name of a model that pgrecall cannot open.
GIVEN = "given:"
#: What tokens of texts are counted with where the model's own tokenizer is not at hand, and their limit.
TOKENIZER, MAX_TOKENS = "cl100k_base", 8192


class DeclaredEmbedder:
    """Names the model that made the vectors of a collection, and cannot embed.

    With the name of an embedder that ``open_embedder`` knows (``openai:text-embedding-3-small``), a collection
    is made without a key or package for it; whoever opens the collection later asks it in words. With
    ``given:NAME``, questions are embeddings.
    """

    def __init__(self, name: str, dimensions: int) -> None:
        self.name = name
        self.dimensions = dimensions
        model = known_model(name)
        self.max_tokens = model.max_tokens if model else MAX_TOKENS
        self._tokenizer = (model and model.tokenizer) or TOKENIZER

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own if it comes with pgrecall."""
        return open_tokenizer(self._tokenizer)

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        """Raises InvalidArgument."""
        raise self._refusal("add documents with their vectors (add_chunks)")

    def embed_query(self, text: str) -> FloatArray:
        """Raises InvalidArgument."""
        raise self._refusal('ask with an embedding, or in words with mode="text"')

    def _refusal(self, remedy: str) -> InvalidArgument:
        return InvalidArgument(
            f"{self.name} only names the model that made the vectors of this collection: {remedy}."
        )


def declare_embedder(name: str, dimensions: int) -> DeclaredEmbedder:
    """The model that made vectors elsewhere, for ``create_collection``; nothing is opened or asked.

    Raises InvalidArgument if the name belongs to a model with vectors of another length.
    """
    if not name or dimensions < 1:
        raise InvalidArgument("A declared embedder has a name, and vectors of at least one number.")
    model = known_model(name)
    if model is not None and not model.gives(dimensions):
        raise InvalidArgument(
            f"{name} makes vectors of {model.dimensions} numbers, not {dimensions}: name the embedder "
            f"that made them, or given:NAME@{dimensions}."
        )
    if name.startswith(GIVEN) and not name.endswith(f"@{dimensions}"):
        name = f"{name}@{dimensions}"
    if model is not None and dimensions != model.dimensions and "@" not in name:
        bare, mark, options = name.partition("?")
        name = f"{bare}@{dimensions}{mark}{options}"
    return DeclaredEmbedder(name, dimensions)


def open_given(model: str, options: Mapping[str, object]) -> DeclaredEmbedder:
    """The embedder of ``given:MODEL@DIMENSIONS``. Raises InvalidArgument for another form, or options."""
    name, _, dimensions = model.rpartition("@")
    if options or not name or not dimensions.isdecimal():
        raise InvalidArgument(
            "The name of a model whose vectors were made elsewhere is given:MODEL@DIMENSIONS; it takes "
            "no options."
        )
    return declare_embedder(f"{GIVEN}{model}", int(dimensions))
