"""Embeddings from Cohere, or from any server that speaks its protocol: ``POST /v2/embed``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cohere
import httpx
import numpy as np
from cohere.core import ApiError

from pgrecall.embed.bisect import Refused
from pgrecall.embed.clients import Clients
from pgrecall.embed.endpoints import Endpoint, Vendor
from pgrecall.embed.models import known_model
from pgrecall.embed.options import RemoteOptions, parsed
from pgrecall.embed.remote import RemoteEmbedder
from pgrecall.embed.retry import TransientError
from pgrecall.embed.service import Reply, Request
from pgrecall.embed.statuses import Asked, Status, status_error
from pgrecall.embed.throttle import shared_throttle
from pgrecall.errors import EmbeddingError
from pgrecall.types import FloatArray

COHERE = Vendor(
    name="Cohere",
    url="https://api.cohere.com",
    url_variable="CO_API_URL",
    key_variable="CO_API_KEY",
    example="http://localhost:8000",
)
#: Texts of one request: https://docs.cohere.com/reference/embed
MAX_TEXTS = 96
#: Tokens of one request. Cohere names no such limit but that of one text; this keeps requests short.
MAX_TOKENS = 128_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CohereOptions(RemoteOptions):
    """How a server is reached."""

    #: ``None``: CO_API_URL, else Cohere itself.
    base_url: str | None = None
    #: ``None``: CO_API_KEY. A server at another base_url may need none.
    api_key: str | None = field(default=None, repr=False)


def open_cohere(model: str, options: Mapping[str, Any]) -> CohereEmbedder:
    """The embedder for ``MODEL[@DIMENSIONS]``; options are fields of CohereOptions."""
    return CohereEmbedder(*parsed(CohereOptions, model, options))


class CohereEmbedder(RemoteEmbedder):
    """Sends texts to ``POST /v2/embed``, questions and passages each as what they are."""

    def __init__(self, model: str, options: CohereOptions | None = None) -> None:
        """Raises InvalidArgument for dimensions the model cannot have, CredentialsMissing."""
        options = options or CohereOptions()
        self.model = model
        known = known_model(f"cohere:{model}")
        shown = options.named(model, known)
        at = COHERE.endpoint(options.base_url, options.api_key)
        service = CohereService(
            Asked(at=at, model=model, key_variable=COHERE.key_variable), options
        )
        key = (at.url, hash(at.key), model)
        throttle = shared_throttle(key, most=options.concurrency, rpm=options.rpm, tpm=options.tpm)
        super().__init__(f"cohere:{shown}", service, throttle, options, known)


class _Client:
    """The SDK's client, and the connections that it borrows."""

    def __init__(self, at: Endpoint) -> None:
        self._http = httpx.Client()
        self.sdk = cohere.ClientV2(api_key=at.key, base_url=at.url, httpx_client=self._http)

    def close(self) -> None:
        self._http.close()


class _AsyncClient:
    """The same for an event loop."""

    def __init__(self, at: Endpoint) -> None:
        self._http = httpx.AsyncClient()
        self.sdk = cohere.AsyncClientV2(api_key=at.key, base_url=at.url, httpx_client=self._http)

    async def close(self) -> None:
        await self._http.aclose()


class CohereService:
    """One model at one server; see ``pgrecall.embed.service.Service``."""

    max_items = MAX_TEXTS
    max_request_tokens = MAX_TOKENS

    def __init__(self, asked: Asked, options: CohereOptions) -> None:
        self._asked = asked
        self._options = options
        self._clients = Clients(lambda: _Client(asked.at), lambda: _AsyncClient(asked.at))
        self.host = asked.host

    def charged(self, text: str, tokens: int) -> int:
        """Tokens that count against limits."""
        return tokens

    def send(self, request: Request) -> Reply:
        """Blocking."""
        with self._errors():
            sdk = self._clients.sync.sdk
            raw = sdk.with_raw_response.embed(**self._body(request))
            return Reply(vectors=_vectors(raw.data, len(request.texts)), headers=raw.headers)

    async def send_async(self, request: Request) -> Reply:
        """Awaiting."""
        with self._errors():
            sdk = self._clients.of_running_loop().sdk
            raw = await sdk.with_raw_response.embed(**self._body(request))
            return Reply(vectors=_vectors(raw.data, len(request.texts)), headers=raw.headers)

    def _body(self, request: Request) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._asked.model,
            "texts": list(request.texts),
            "input_type": "search_query" if request.query else "search_document",
            "embedding_types": ["float"],
            # A text that is too long is refused; the default would be to cut it off.
            "truncate": "NONE",
            "request_options": {"timeout_in_seconds": request.timeout, "max_retries": 0},
        }
        if self._options.dimensions is not None:
            body["output_dimension"] = self._options.dimensions
        return body

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise the SDK's errors, and those of its HTTP client, as ours."""
        host = self.host
        try:
            yield
        except ApiError as exc:
            if exc.status_code is None or exc.status_code < 300:
                raise _unreadable(host) from exc
            raise status_error(_status(exc), self._asked) from exc
        except httpx.TimeoutException as exc:
            raise TransientError(f"{host} did not answer in time") from exc
        except httpx.HTTPError as exc:
            reason = str(exc).rstrip(".") or type(exc).__name__
            raise TransientError(f"The connection to {host} failed: {reason}") from exc
        except (
            TypeError,
            ValueError,
        ) as exc:  # a body that is no JSON, or not what the SDK expects
            raise _unreadable(host) from exc

    def close(self) -> None:
        """Close the connections for threads."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop, and those for threads."""
        await self._clients.aclose()


def _unreadable(host: str) -> EmbeddingError:
    return EmbeddingError(f"The answer of {host} cannot be read; check the base_url.")


def _status(exc: ApiError) -> Status:
    message = exc.body.get("message") if isinstance(exc.body, dict) else None
    headers = {name.lower(): value for name, value in (exc.headers or {}).items()}
    return Status(code=exc.status_code or 0, headers=headers, message=str(message or ""))


def _vectors(answer: object, count: int) -> FloatArray:
    """The vectors of an answer, as received: shape (count, dimensions)."""
    rows = getattr(getattr(answer, "embeddings", None), "float_", None)
    if not isinstance(rows, list):
        raise EmbeddingError("The answer is no list of embeddings; check the base_url.")
    if len(rows) != count:
        raise Refused(
            f"The server answered {count} texts with {len(rows)} vectors; check the model."
        )
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1:
        raise EmbeddingError(f"The vectors of one answer have different lengths: {lengths}.")
    return np.array(rows, dtype=np.float32)
