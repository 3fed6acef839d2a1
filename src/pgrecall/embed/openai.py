"""Embeddings from OpenAI, from Azure, or from any server that speaks OpenAI's protocol."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import openai

from pgrecall.embed import openai_wire as wire
from pgrecall.embed.clients import Clients
from pgrecall.embed.endpoints import Endpoint, Vendor
from pgrecall.embed.models import known_model
from pgrecall.embed.options import RemoteOptions, parsed
from pgrecall.embed.remote import RemoteEmbedder
from pgrecall.embed.service import Reply, Request
from pgrecall.embed.statuses import Asked
from pgrecall.embed.throttle import Throttle, shared_throttle
from pgrecall.errors import InvalidArgument

OPENAI = Vendor(
    name="OpenAI",
    url="https://api.openai.com/v1",
    url_variable="OPENAI_BASE_URL",
    key_variable="OPENAI_API_KEY",
    example="http://localhost:11434/v1",
)
AZURE = Vendor(
    name="Azure",
    url=None,
    url_variable="AZURE_OPENAI_ENDPOINT",
    key_variable="AZURE_OPENAI_API_KEY",
    example="https://NAME.openai.azure.com",
)
#: The last version of Azure's interface that is neither preview nor without one.
AZURE_VERSION = "2024-10-21"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIOptions(RemoteOptions):
    """How a server is reached."""

    #: ``None``: OPENAI_BASE_URL, else OpenAI itself.
    base_url: str | None = None
    #: ``None``: OPENAI_API_KEY. A server at another base_url may need none.
    api_key: str | None = field(default=None, repr=False)
    #: Both can be read; base64 is a quarter of the size. For servers that know only the other.
    encoding_format: Literal["base64", "float"] = "base64"
    #: Texts of one request, at most: servers of one's own often take fewer than OpenAI (TEI: 32).
    batch_size: int = wire.MAX_ITEMS_PER_REQUEST

    def __post_init__(self) -> None:
        # Not super(): a dataclass with slots is another class than the one this was written in.
        RemoteOptions.__post_init__(self)
        if self.encoding_format not in ("base64", "float"):
            raise InvalidArgument("The option encoding_format is either base64 or float.")
        if self.batch_size < 1:
            raise InvalidArgument("The option batch_size has to be positive.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AzureOptions(OpenAIOptions):
    """How a resource is reached: base_url (AZURE_OPENAI_ENDPOINT) and api_key (AZURE_OPENAI_API_KEY)."""

    #: Which model the deployment runs. ``None``: the one it is named after.
    model: str | None = None
    #: ``None``: OPENAI_API_VERSION, else the last stable one.
    api_version: str | None = None
    #: Instead of a key: hands out tokens of Microsoft Entra.
    azure_ad_token_provider: Callable[[], str] | None = field(default=None, repr=False)


class OpenAIEmbedder(RemoteEmbedder):
    """Sends texts to ``POST /embeddings``. Safe to share between threads and event loops."""

    def __init__(self, model: str, options: OpenAIOptions | None = None) -> None:
        """Raises InvalidArgument for dimensions the model cannot have, CredentialsMissing."""
        options = options or OpenAIOptions()
        self.model = model
        known = known_model(f"openai:{model}")
        shown = options.named(model, known)
        at = OPENAI.endpoint(options.base_url, options.api_key)
        settings: dict[str, Any] = {"api_key": at.key, "base_url": at.url, "max_retries": 0}
        clients = Clients(
            partial(openai.OpenAI, **settings), partial(openai.AsyncOpenAI, **settings)
        )
        asked = Asked(at=at, model=model, key_variable=OPENAI.key_variable)
        service = OpenAIService(clients, asked, options)
        super().__init__(f"openai:{shown}", service, _throttle(at, model, options), options, known)


class AzureEmbedder(RemoteEmbedder):
    """Sends texts to a deployment of Azure OpenAI. Safe to share between threads and event loops."""

    def __init__(self, deployment: str, options: AzureOptions | None = None) -> None:
        """Raises InvalidArgument for dimensions the model cannot have, CredentialsMissing."""
        options = options or AzureOptions()
        model = options.model or deployment
        known = known_model(f"azure:{model}")
        more = {} if model == deployment else {"model": model}
        shown = options.named(deployment, known, **more)
        at = AZURE.endpoint(options.base_url, options.api_key)
        settings: dict[str, Any] = {
            "azure_endpoint": at.url,
            "azure_deployment": deployment,
            "api_version": options.api_version
            or os.environ.get("OPENAI_API_VERSION")
            or AZURE_VERSION,
            "max_retries": 0,
        }
        if options.azure_ad_token_provider is not None:
            settings["azure_ad_token_provider"] = options.azure_ad_token_provider
        else:
            settings["api_key"] = at.key
        clients = Clients(
            partial(openai.AzureOpenAI, **settings), partial(openai.AsyncAzureOpenAI, **settings)
        )
        asked = Asked(at=at, model=deployment, key_variable=AZURE.key_variable)
        service = OpenAIService(clients, asked, options, shortens=wire.shortens(model))
        throttle = _throttle(at, deployment, options)
        super().__init__(f"azure:{shown}", service, throttle, options, known)


def open_openai(model: str, options: Mapping[str, Any]) -> OpenAIEmbedder:
    """The embedder for ``MODEL[@DIMENSIONS]``; options are fields of OpenAIOptions."""
    return OpenAIEmbedder(*parsed(OpenAIOptions, model, options))


def open_azure(deployment: str, options: Mapping[str, Any]) -> AzureEmbedder:
    """The embedder for ``DEPLOYMENT[@DIMENSIONS]``; options are fields of AzureOptions."""
    return AzureEmbedder(*parsed(AzureOptions, deployment, options))


def _throttle(at: Endpoint, model: str, options: OpenAIOptions) -> Throttle:
    key = (at.url, hash(at.key), model)
    return shared_throttle(key, most=options.concurrency, rpm=options.rpm, tpm=options.tpm)


class OpenAIService:
    """One model at one server; see ``pgrecall.embed.service.Service``."""

    def __init__(
        self,
        clients: Clients[Any, Any],
        asked: Asked,
        options: OpenAIOptions,
        *,
        shortens: bool | None = None,
    ) -> None:
        self._clients = clients
        self._asked = asked
        self._options = options
        self._shortens = wire.shortens(asked.model) if shortens is None else shortens
        self.host = asked.host
        self.max_items = options.batch_size
        self.max_request_tokens = wire.MAX_TOKENS_PER_REQUEST

    def charged(self, text: str, tokens: int) -> int:
        """Tokens that count against limits: the real ones or the service's estimate."""
        return wire.charged_tokens(text, tokens)

    def send(self, request: Request) -> Reply:
        """Blocking."""
        with wire.translated_errors(self._asked):
            raw = self._clients.sync.embeddings.with_raw_response.create(**self._body(request))
            return wire.reply(raw.parse(), raw.headers, len(request.texts))

    async def send_async(self, request: Request) -> Reply:
        """Awaiting."""
        with wire.translated_errors(self._asked):
            embeddings = self._clients.of_running_loop().embeddings
            raw = await embeddings.with_raw_response.create(**self._body(request))
            return wire.reply(raw.parse(), raw.headers, len(request.texts))

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._asked.model,
            "input": list(request.texts),
            "encoding_format": self._options.encoding_format,
            "timeout": request.timeout,
        }
        if self._options.dimensions is not None and self._shortens:
            body["dimensions"] = self._options.dimensions
        return body

    def close(self) -> None:
        """Close the connections for threads."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those for threads."""
        await self._clients.aclose()
