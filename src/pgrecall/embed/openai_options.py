"""How an OpenAI embedder is named and reached: options, API key and address."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pgrecall.embed.retry import Backoff
from pgrecall.errors import CredentialsMissing, InvalidArgument

_OPENAI = "https://api.openai.com/v1"
#: Sent to a server that needs no key; the SDK insists on one.
_NO_KEY = "no-key-needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIOptions:
    """How a server is reached. Times are in seconds."""

    #: ``None``: the model's own. Other lengths are for models that can shorten (text-embedding-3).
    dimensions: int | None = None
    #: ``None``: OPENAI_BASE_URL, else OpenAI itself.
    base_url: str | None = None
    #: ``None``: OPENAI_API_KEY. A server at another base_url may need none.
    api_key: str | None = field(default=None, repr=False)
    #: Longest text the model takes; to be set for other vendors' models.
    max_tokens: int = 8191
    #: Both can be read; base64 is a quarter of the size. For servers that know only the other.
    encoding_format: Literal["base64", "float"] = "base64"
    #: Requests under way at a time, for one call.
    concurrency: int = 4
    #: For one attempt.
    timeout: float = 60.0
    #: For one request with all its attempts.
    deadline: float = 300.0
    #: The same for a query, where someone waits.
    query_deadline: float = 30.0
    backoff: Backoff = field(default_factory=Backoff)

    def __post_init__(self) -> None:
        for name in ("max_tokens", "concurrency", "timeout", "deadline", "query_deadline"):
            if getattr(self, name) <= 0:
                raise InvalidArgument(f"The option {name} has to be positive.")
        if self.encoding_format not in ("base64", "float"):
            raise InvalidArgument("The option encoding_format is either base64 or float.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The address of a server and the key for it."""

    url: str
    key: str = field(repr=False)

    @property
    def host(self) -> str:
        """Host and port, for messages; without what else the address may hold, e.g. a password."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def client_settings(self) -> dict[str, Any]:
        """Arguments for the SDK's clients. Retries are ours: see pgrecall.embed.retry."""
        return {"api_key": self.key, "base_url": self.url, "max_retries": 0}


def parsed(model: str, options: Mapping[str, Any]) -> tuple[str, OpenAIOptions]:
    """Model and options from ``MODEL[@DIMENSIONS]`` and a mapping; raises InvalidArgument."""
    known = [option.name for option in fields(OpenAIOptions)]
    if unknown := sorted(options.keys() - set(known)):
        raise InvalidArgument(
            f"There is no option {', '.join(unknown)}; there are: {', '.join(known)}."
        )
    name, at, digits = model.partition("@")
    chosen = OpenAIOptions(**options)
    if not at:
        return name, chosen
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidArgument(f"After @ comes a number of dimensions, like @1024; got {digits!r}.")
    if chosen.dimensions not in (None, int(digits)):
        raise InvalidArgument(
            f"The name asks for {digits} dimensions and the option for {chosen.dimensions}; "
            "leave one of them out."
        )
    return name, replace(chosen, dimensions=int(digits))


def endpoint(options: OpenAIOptions) -> Endpoint:
    """Where to send requests: the options, else the environment, else OpenAI.

    Raises InvalidArgument for an address that is none, CredentialsMissing if OpenAI itself is
    meant and there is no key.
    """
    url = options.base_url or os.environ.get("OPENAI_BASE_URL", "").strip()
    if url and not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
        raise InvalidArgument("The base_url has to be like http://localhost:11434/v1.")
    key = (options.api_key or os.environ.get("OPENAI_API_KEY", "")).strip()
    if not (key.isascii() and key.isprintable()):
        # The SDK would quote the key in its complaint.
        raise InvalidArgument("The API key holds characters that no key has; check OPENAI_API_KEY.")
    if not (key or url):
        raise CredentialsMissing(
            "OpenAI needs an API key: set OPENAI_API_KEY or pass api_key; or pass base_url for a "
            "server that needs none."
        )
    return Endpoint(url=url or _OPENAI, key=key or _NO_KEY)
