"""From a name to a reranker. The one place that knows which there are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from pgrecall.errors import InvalidArgument, MissingExtra
from pgrecall.rerank.base import Reranker


class Vendor(NamedTuple):
    """Where a kind of reranker lives, and what it needs."""

    module: str
    opener: str
    extra: str
    #: What the extra brings, as Python imports it.
    packages: tuple[str, ...]


#: The part of a name before the colon -> its vendor. A module is imported only when it is asked for.
VENDORS: Mapping[str, Vendor] = {
    "cohere": Vendor("cohere", "open_cohere", "cohere", ("cohere", "httpx")),
    "cross-encoder": Vendor(
        "transformers", "open_cross_encoder", "sentence-transformers", ("sentence_transformers",)
    ),
    "late-interaction": Vendor(
        "transformers", "open_late_interaction", "sentence-transformers", ("sentence_transformers",)
    ),
}


def open_reranker(name: str | Reranker, **options: object) -> Reranker:
    """The reranker of that name.

    ``cohere:MODEL``            Cohere, or a server that speaks its protocol
    ``cross-encoder:MODEL``     a cross-encoder of sentence-transformers, by name or folder
    ``late-interaction:MODEL``  a multi-vector model (ColBERT) of sentence-transformers

    Options of ``cohere:`` are the fields of ``pgrecall.rerank.cohere.CohereOptions``, e.g. base_url and
    api_key; those of the others go to CrossEncoder and MultiVectorEncoder. An object that has the members of
    ``Reranker`` is handed back as it is.

    Raises InvalidArgument for an unknown name or option, MissingExtra if a package is not installed,
    CredentialsMissing if an API key is needed and there is none.
    """
    if not isinstance(name, str):
        return _checked(name, options)
    kind, _, model = name.partition(":")
    if kind not in VENDORS or not model:
        known = ", ".join(f"{vendor}:MODEL" for vendor in VENDORS)
        raise InvalidArgument(f"There is no reranker {name!r}; there are: {known}.")
    reranker: Reranker = getattr(_module(kind), VENDORS[kind].opener)(model, options)
    return reranker


def _checked(reranker: Reranker, options: Mapping[str, object]) -> Reranker:
    if options:
        raise InvalidArgument("Options belong to the name of a reranker, not to a ready one.")
    missing = [member for member in ("name", "rerank") if not hasattr(reranker, member)]
    if missing:
        raise InvalidArgument(
            f"{type(reranker).__name__} cannot serve as a reranker: it has no "
            f"{', '.join(missing)} (see pgrecall.rerank.Reranker)."
        )
    return reranker


def _module(kind: str) -> Any:
    vendor = VENDORS[kind]
    try:
        return import_module(f"pgrecall.rerank.{vendor.module}")
    except ModuleNotFoundError as exc:
        if exc.name not in vendor.packages:
            raise
        raise MissingExtra(f"The reranker {kind}:", vendor.extra) from exc
