"""From a name to an embedder. The one place that knows which vendors there are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any

from pgrecall.embed.base import Embedder
from pgrecall.embed.function import EmbeddingFunction, FunctionEmbedder
from pgrecall.errors import InvalidArgument, MissingExtra

_MEMBERS = ("name", "dimensions", "max_tokens", "tokenizer", "embed_documents", "embed_query")


def open_embedder(name: str | Embedder | EmbeddingFunction, /, **options: Any) -> Embedder:
    """The embedder of that name.

    ``static``                                     the bundled model: 256 dimensions, no network
    ``openai:MODEL[@DIMENSIONS]``                  OpenAI, or a server that speaks its protocol
    ``azure:DEPLOYMENT[@DIMENSIONS]``              a deployment of Azure OpenAI
    ``cohere:MODEL[@DIMENSIONS]``                  Cohere
    ``sentence-transformers:MODEL[@DIMENSIONS]``   a model of the hub or in a folder, on this machine
    ``given:MODEL@DIMENSIONS``                     none: vectors were made elsewhere, questions are embeddings

    Options are the fields of ``pgrecall.embed.openai.OpenAIOptions``, ``AzureOptions``,
    ``pgrecall.embed.cohere.CohereOptions`` and ``pgrecall.embed.transformers.TransformerOptions``; those
    that are text or numbers can be written in the name too, as in ``openai:MODEL?rpm=500``.

    An object that has the members of ``Embedder`` is handed back as it is. A function from texts to
    vectors becomes one: its options are those of ``pgrecall.embed.function.FunctionEmbedder``, and it
    needs a name.

    Raises InvalidArgument for an unknown name or option, MissingExtra if the vendor's package is
    not installed, CredentialsMissing if an API key is needed and there is none.
    """
    if not isinstance(name, str):
        return _own(name, options)
    vendor, _, model = name.partition(":")
    if vendor not in VENDORS:
        known = ", ".join(usage for usage, _ in VENDORS.values())
        raise InvalidArgument(f"There is no embedder {name!r}; there are: {known}.")
    usage, open_vendor = VENDORS[vendor]
    if bool(model) != (":" in usage):
        raise InvalidArgument(f"{name!r} is not the name of an embedder: write {usage}.")
    return open_vendor(model, options)


def reopen_embedder(name: str, dimensions: int) -> Embedder:
    """The embedder of a collection, which has kept how long its vectors are: nobody is asked again."""
    embedder = open_embedder(name)
    if hasattr(embedder, "recall_dimensions"):
        embedder.recall_dimensions(dimensions)
    return embedder


def _own(given: Any, options: Mapping[str, Any]) -> Embedder:
    """An embedder or a function of the caller's."""
    if callable(given) and not any(_has(given, member) for member in _MEMBERS[1:]):
        if "name" not in options:
            raise InvalidArgument(
                "A function needs a name that its vectors are kept under: "
                'open_embedder(function, name="my-model", dimensions=768).'
            )
        return FunctionEmbedder(given, **options)
    return _checked(given, options)


def _checked(embedder: Embedder, options: Mapping[str, object]) -> Embedder:
    if options:
        raise InvalidArgument("Options belong to the name of an embedder, not to a ready one.")
    missing = [member for member in _MEMBERS if not _has(embedder, member)]
    if missing:
        raise InvalidArgument(
            f"{type(embedder).__name__} cannot serve as an embedder: it has no "
            f"{', '.join(missing)} (see pgrecall.embed.Embedder)."
        )
    return embedder


def _has(embedder: object, member: str) -> bool:
    # Looked up statically first: reading a property could ask a server for the answer.
    found = inspect.getattr_static(embedder, member, None) is not None
    return found or hasattr(embedder, member)


def _open_static(_: str, options: Mapping[str, object]) -> Embedder:
    if options:
        raise InvalidArgument(f"The static embedder takes no options; got {', '.join(options)}.")
    from pgrecall.embed.static import StaticEmbedder

    return StaticEmbedder()


def _open_openai(model: str, options: Mapping[str, object]) -> Embedder:
    vendor = _vendor("pgrecall.embed.openai", extra="openai", packages=("openai",))
    embedder: Embedder = vendor.open_openai(model, options)
    return embedder


def _open_azure(deployment: str, options: Mapping[str, object]) -> Embedder:
    vendor = _vendor("pgrecall.embed.openai", extra="openai", packages=("openai",))
    embedder: Embedder = vendor.open_azure(deployment, options)
    return embedder


def _open_cohere(model: str, options: Mapping[str, object]) -> Embedder:
    vendor = _vendor("pgrecall.embed.cohere", extra="cohere", packages=("cohere", "httpx"))
    embedder: Embedder = vendor.open_cohere(model, options)
    return embedder


def _open_transformer(model: str, options: Mapping[str, object]) -> Embedder:
    packages = ("sentence_transformers", "torch", "transformers")
    extra = "sentence-transformers"
    vendor = _vendor("pgrecall.embed.transformers", extra=extra, packages=packages)
    embedder: Embedder = vendor.open_transformer(model, options)
    return embedder


def _open_given(model: str, options: Mapping[str, object]) -> Embedder:
    from pgrecall.embed.declared import open_given

    return open_given(model, options)


def _vendor(module: str, *, extra: str, packages: Collection[str]) -> Any:
    """Import the module that speaks to a vendor; raises MissingExtra if a package is absent."""
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name not in packages:
            raise
        raise MissingExtra(f"The embedder {extra}:", extra) from exc


#: Vendor -> how its names are written, and what opens one. Each imports its module only when asked.
VENDORS: Mapping[str, tuple[str, Callable[[str, Mapping[str, Any]], Embedder]]] = MappingProxyType(
    {
        "static": ("static", _open_static),
        "openai": ("openai:MODEL[@DIMENSIONS]", _open_openai),
        "azure": ("azure:DEPLOYMENT[@DIMENSIONS]", _open_azure),
        "cohere": ("cohere:MODEL[@DIMENSIONS]", _open_cohere),
        "sentence-transformers": (
            "sentence-transformers:MODEL[@DIMENSIONS]",
            _open_transformer,
        ),
        "given": ("given:MODEL@DIMENSIONS", _open_given),
    }
)
