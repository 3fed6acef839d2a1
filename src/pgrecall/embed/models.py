"""What is known of embedding models without asking anybody: one table, with sources and a date.

A model that is not in it works as well: it is asked once for the length of its vectors, and the
collection keeps the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType

#: When the sources were read. Prices change; the vendor's page is what counts.
AS_OF = date(2026, 11, 21)

#: Counts more tokens of almost any text than the models' own tokenizers do (it has 32,000 tokens,
#: they have 30,000 of whole English words, or 100,000 and more), and comes with the default embedder.
#: A limit that is kept in its tokens is therefore kept in theirs.
CAUTIOUS_TOKENIZER = "wordllama"

_OPENAI = "https://developers.openai.com/api/docs/models/"
_COHERE = "https://docs.cohere.com/docs/cohere-embed"
_HUB = "https://huggingface.co/"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """Facts of one model, from its vendor's documentation."""

    #: Without vendor, dimensions and options: ``text-embedding-3-small``.
    name: str
    #: Whose it is: "openai", "cohere", "hub" (weights that anybody can run) or "static".
    owner: str
    #: Length of its vectors.
    dimensions: int
    #: Shorter lengths that it was trained to be cut to (Matryoshka), ascending. Empty: none.
    shorter: Sequence[int] = ()
    #: Longest text, in tokens, special tokens included.
    max_tokens: int
    #: What ``pgrecall.tokens.open_tokenizer`` finds its tokenizer by; one that counts at least as many
    #: where its own is not in a package. ``None``: it comes with the weights.
    tokenizer: str | None = None
    #: List price in US dollars per million tokens; ``None`` if it runs on the user's own machine.
    price: float | None = None
    #: What is put in front of a question, and of a passage. Those of passages are part of what the
    #: model's stored vectors mean: they are never changed for a name that was released.
    query_prompt: str = ""
    passage_prompt: str = ""
    #: What is put in front of a question that comes with an instruction, ``{instruction}`` in it.
    #: ``None``: the model was not trained to follow instructions.
    instruction: str | None = None
    #: Whether it embeds pictures, too.
    images: bool = False
    #: Where this was read, and the price.
    source: str
    price_source: str | None = None
    as_of: date = AS_OF

    def gives(self, dimensions: int) -> bool:
        """Whether its vectors can have that length."""
        return dimensions == self.dimensions or dimensions in self.shorter


def known_model(name: str) -> KnownModel | None:
    """The model of an embedder's name, e.g. ``openai:text-embedding-3-large@1024``; None if unknown.

    Works with and without vendor; ``@DIMENSIONS`` and ``?OPTIONS`` do not matter.
    """
    vendor, colon, model = name.partition(":")
    if colon and vendor not in _SERVED_BY:
        return None
    found = _MODELS.get(_bare(model if colon else name).lower())
    if found is None or (colon and found.owner not in _SERVED_BY[vendor]):
        return None
    return found


def known_models() -> Sequence[KnownModel]:
    """All of the table, in its order."""
    return tuple({id(model): model for model in _MODELS.values()}.values())


#: Vendor in the name of an embedder -> whose models it serves. A server that speaks OpenAI's protocol
#: (Ollama, vLLM, TEI) mostly serves those of the hub.
_SERVED_BY = MappingProxyType(
    {
        "openai": ("openai", "hub"),
        "azure": ("openai",),
        "cohere": ("cohere",),
        "sentence-transformers": ("hub",),
    }
)


def _bare(model: str) -> str:
    """Without dimensions and options."""
    return re.sub(r"@\d+$", "", model.partition("?")[0])


def _openai() -> Iterator[KnownModel]:
    small = KnownModel(
        name="text-embedding-3-small",
        owner="openai",
        dimensions=1536,
        shorter=range(1, 1536),
        max_tokens=8191,
        tokenizer="cl100k_base",
        price=0.02,
        source=_OPENAI + "text-embedding-3-small",
    )
    yield small
    large = "text-embedding-3-large"
    yield replace(
        small,
        name=large,
        dimensions=3072,
        shorter=range(1, 3072),
        price=0.13,
        source=_OPENAI + large,
    )
    ada = "text-embedding-ada-002"
    yield replace(small, name=ada, shorter=(), price=0.10, source=_OPENAI + ada)


def _cohere() -> Iterator[KnownModel]:
    fourth = KnownModel(
        name="embed-v4.0",
        owner="cohere",
        dimensions=1536,
        shorter=(256, 512, 1024),
        max_tokens=128_000,
        tokenizer=CAUTIOUS_TOKENIZER,
        price=0.12,
        source=_COHERE,
        price_source="https://cohere.com/pricing",
    )
    yield fourth
    for kind, price in (("pro", 0.12), ("fast", 0.08)):
        yield replace(
            fourth,
            name=f"embed-v5.0-{kind}",
            dimensions=2048,
            shorter=(256, 512, 768, 1024, 1536),
            price=price,
        )
    # Cohere's page no longer lists prices for these; before, it had one for all of them, as quoted here.
    for language in ("english", "multilingual"):
        for kind, dimensions in (("", 1024), ("-light", 384)):
            yield KnownModel(
                name=f"embed-{language}{kind}-v3.0",
                owner="cohere",
                dimensions=dimensions,
                max_tokens=512,
                tokenizer=CAUTIOUS_TOKENIZER,
                price=0.10,
                source=_COHERE,
                price_source="https://github.com/casibase/casibase/blob/v1.79.0/embedding/cohere.go",
            )


def _open(name: str, dimensions: int, max_tokens: int, **facts: object) -> KnownModel:
    """A model whose weights are on the hub; the source is its card.

    Where its configuration says something else, that counts: all-MiniLM-L12-v2 cuts off at 128 tokens, not
    at 256. Compared with the metadata in https://github.com/embeddings-benchmark/mteb.
    """
    return KnownModel(
        name=name,
        owner="hub",
        dimensions=dimensions,
        max_tokens=max_tokens,
        source=_HUB + name,
        **facts,  # type: ignore[arg-type]
    )


def _sentence_transformers() -> Iterator[KnownModel]:
    home = "sentence-transformers/"
    yield _open(home + "all-MiniLM-L6-v2", 384, 256)
    yield _open(home + "all-MiniLM-L12-v2", 384, 128)
    yield _open(home + "all-mpnet-base-v2", 768, 384)
    yield _open(home + "multi-qa-MiniLM-L6-cos-v1", 384, 512)
    yield _open(home + "paraphrase-multilingual-MiniLM-L12-v2", 384, 128)
    yield _open(home + "paraphrase-multilingual-mpnet-base-v2", 768, 128)


def _bge() -> Iterator[KnownModel]:
    prompt = "Represent this sentence for searching relevant passages: "
    for size, dimensions in (("small", 384), ("base", 768), ("large", 1024)):
        yield _open(f"BAAI/bge-{size}-en-v1.5", dimensions, 512, query_prompt=prompt)
    yield _open("BAAI/bge-m3", 1024, 8192)
    shorter = (64, 128, 256, 512)
    yield _open(
        "mixedbread-ai/mxbai-embed-large-v1", 1024, 512, query_prompt=prompt, shorter=shorter
    )


def _e5() -> Iterator[KnownModel]:
    prompts = {"query_prompt": "query: ", "passage_prompt": "passage: "}
    for size, dimensions in (("small", 384), ("base", 768), ("large", 1024)):
        yield _open(f"intfloat/e5-{size}-v2", dimensions, 512, **prompts)
        yield _open(f"intfloat/multilingual-e5-{size}", dimensions, 512, **prompts)
    task = "Given a web search query, retrieve relevant passages that answer the query"
    template = "Instruct: {instruction}\nQuery: "
    yield _open(
        "intfloat/multilingual-e5-large-instruct",
        1024,
        512,
        query_prompt=template.format(instruction=task),
        instruction=template,
    )


def _others() -> Iterator[KnownModel]:
    for size, dimensions in (("small", 384), ("base", 768), ("large", 1024)):
        yield _open(f"thenlper/gte-{size}", dimensions, 512)
    yield _open(
        "nomic-ai/nomic-embed-text-v1.5",
        768,
        8192,
        shorter=(64, 128, 256, 512),
        query_prompt="search_query: ",
        passage_prompt="search_document: ",
    )
    yield _open(
        "google/embeddinggemma-300m",
        768,
        2048,
        shorter=(128, 256, 512),
        query_prompt="task: search result | query: ",
        passage_prompt="title: none | text: ",
        instruction="task: {instruction} | query: ",
    )
    task = "Given a web search query, retrieve relevant passages that answer the query"
    template = "Instruct: {instruction}\nQuery:"
    for size, dimensions in (("0.6B", 1024), ("4B", 2560), ("8B", 4096)):
        yield _open(
            f"Qwen/Qwen3-Embedding-{size}",
            dimensions,
            32_768,
            shorter=range(32, dimensions),
            query_prompt=template.format(instruction=task),
            instruction=template,
        )


def _pictures() -> Iterator[KnownModel]:
    home = "sentence-transformers/"
    for name, dimensions in (("B-32", 512), ("B-16", 512), ("L-14", 768)):
        yield _open(f"{home}clip-ViT-{name}", dimensions, 77, images=True)
    # For texts alone, in more than 50 languages: its vectors lie where those of clip-ViT-B-32 do.
    yield _open(home + "clip-ViT-B-32-multilingual-v1", 512, 128)


def _code() -> Iterator[KnownModel]:
    yield _open("jinaai/jina-embeddings-v2-base-code", 768, 8192)
    prompt = "Represent this query for searching relevant code: "
    yield _open("nomic-ai/CodeRankEmbed", 768, 8192, query_prompt=prompt)


def _table() -> Iterator[tuple[str, KnownModel]]:
    static = KnownModel(
        name="static",
        owner="static",
        dimensions=256,
        max_tokens=65_536,
        tokenizer="wordllama",
        source="https://github.com/dleemiller/WordLlama",
    )
    for models in (
        (static,),
        _openai(),
        _cohere(),
        _sentence_transformers(),
        _bge(),
        _e5(),
        _others(),
        _pictures(),
        _code(),
    ):
        for model in models:
            yield model.name.lower(), model
            # sentence-transformers finds its own models without the organisation.
            if model.name.startswith("sentence-transformers/"):
                yield model.name.partition("/")[2].lower(), model


_MODELS = MappingProxyType(dict(_table()))
