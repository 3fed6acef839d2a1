"""Reranking by Cohere, or by any server that speaks its protocol: ``POST /v2/rerank``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import cohere
import httpx
import numpy as np
from cohere.core import ApiError

from pgrecall.errors import CredentialsMissing, InvalidArgument, RerankingError
from pgrecall.types import FloatArray

_COHERE = "https://api.cohere.com"
#: Sent to a server that needs no key; the SDK insists on one.
_NO_KEY = "no-key-needed"
#: Texts of one request, as Cohere's API reference of "Rerank" recommends.
MAX_TEXTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class CohereOptions:
    """How a server is reached."""

    #: ``None``: CO_API_URL, else Cohere itself.
    base_url: str | None = None
    #: ``None``: CO_API_KEY. A server at another base_url may need none.
    api_key: str | None = field(default=None, repr=False)
    #: Tokens of a text that are read; None: the server's own limit (4,096).
    max_tokens_per_doc: int | None = None
    #: Seconds to connect, and to wait for an answer. Somebody waits, and there is an order without it.
    timeout: float = 10.0
    #: Attempts beyond the first, with the pauses of Cohere's SDK (a second, or what the server asks for).
    retries: int = 0

    def __post_init__(self) -> None:
        if self.timeout <= 0 or self.retries < 0:
            raise InvalidArgument("The option timeout has to be positive, and retries at least 0.")


def open_cohere(model: str, options: Mapping[str, Any]) -> CohereReranker:
    """The reranker of a model; options are fields of CohereOptions. Raises InvalidArgument for others."""
    known = [option.name for option in fields(CohereOptions)]
    if unknown := sorted(options.keys() - set(known)):
        raise InvalidArgument(
            f"There is no option {', '.join(unknown)}; there are: {', '.join(known)}."
        )
    return CohereReranker(model, CohereOptions(**options))


class CohereReranker:
    """Sends question and texts to a server. Safe to share between threads and event loops.

    A connection lives as long as a call, so that none has to be closed and none goes stale.
    """

    def __init__(self, model: str, options: CohereOptions | None = None) -> None:
        """Raises InvalidArgument for an address that is none, CredentialsMissing."""
        self.model = model
        self._options = options or CohereOptions()
        self._url, self._key = _endpoint(self._options)

    def __repr__(self) -> str:
        return f"CohereReranker({self.model!r}, host={self._host!r})"

    @property
    def name(self) -> str:
        """E.g. ``cohere:rerank-v3.5``."""
        return f"cohere:{self.model}"

    def rerank(self, question: str, texts: Sequence[str]) -> FloatArray:
        """The relevance of each text, 0 to 1: shape (len(texts),). Raises RerankingError."""
        with httpx.Client(**self._http) as http, self._errors():
            client = cohere.ClientV2(httpx_client=http, **self._client)
            answers = [
                _scores(client.rerank(**self._request(question, part)), len(part))
                for part in _parts(texts)
            ]
        return _joined(answers)

    async def rerank_async(self, question: str, texts: Sequence[str]) -> FloatArray:
        """As ``rerank``."""
        async with httpx.AsyncClient(**self._http) as http:
            with self._errors():
                client = cohere.AsyncClientV2(httpx_client=http, **self._client)
                answers = [
                    _scores(await client.rerank(**self._request(question, part)), len(part))
                    for part in _parts(texts)
                ]
        return _joined(answers)

    @property
    def _host(self) -> str:
        """Host and port, for messages; without what else the address may hold, e.g. a password."""
        return urlsplit(self._url).netloc.rpartition("@")[2]

    @cached_property
    def _http(self) -> dict[str, Any]:
        # Reading the certificates takes 20 ms or more, so once.
        return {"timeout": self._options.timeout, "verify": httpx.create_ssl_context()}

    @property
    def _client(self) -> dict[str, Any]:
        return {
            "api_key": self._key,
            "base_url": self._url,
            "timeout": self._options.timeout,
            "max_retries": self._options.retries,
        }

    def _request(self, question: str, texts: Sequence[str]) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.model, "query": question, "documents": texts}
        if self._options.max_tokens_per_doc is not None:
            request["max_tokens_per_doc"] = self._options.max_tokens_per_doc
        return request

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise the SDK's errors, and those of its HTTP client, as ours."""
        try:
            yield
        except ApiError as exc:
            raise RerankingError(self._refusal(exc)) from exc
        except httpx.TimeoutException as exc:
            raise RerankingError(f"{self._host} did not answer in time.") from exc
        except httpx.HTTPError as exc:
            raise RerankingError(f"The connection to {self._host} failed: {exc}.") from exc

    def _refusal(self, exc: ApiError) -> str:
        if exc.status_code == 401:
            return f"{self._host} refuses the API key; check CO_API_KEY."
        if exc.status_code == 404:
            return f"{self._host} has no model {self.model}; check its name and the base_url."
        message = exc.body.get("message") if isinstance(exc.body, dict) else None
        said = " ".join(str(message or "no reason given").split())[:300].rstrip(".")
        return f"{self._host} answered {exc.status_code}: {said.replace(self._key, '***')}."


def _endpoint(options: CohereOptions) -> tuple[str, str]:
    """Address and key: the options, else the environment, else Cohere."""
    url = (options.base_url or os.environ.get("CO_API_URL", "")).strip().rstrip("/")
    if url and not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
        raise InvalidArgument("The base_url has to be like http://localhost:8000.")
    key = (options.api_key or os.environ.get("CO_API_KEY", "")).strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidArgument("The API key holds characters that no key has; check CO_API_KEY.")
    if not (key or url):
        raise CredentialsMissing(
            "Cohere needs an API key: set CO_API_KEY or pass api_key; or pass base_url for a server "
            "that needs none."
        )
    return url or _COHERE, key or _NO_KEY


def _parts(texts: Sequence[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), MAX_TEXTS):
        yield list(texts[start : start + MAX_TEXTS])


def _scores(answer: object, count: int) -> FloatArray:
    """The scores of an answer, in the order of the texts."""
    results = getattr(answer, "results", None)
    found = {
        getattr(item, "index", None): getattr(item, "relevance_score", None)
        for item in (results if isinstance(results, list) else [])
    }
    if found.keys() != set(range(count)) or None in found.values():
        raise RerankingError(
            f"The server did not answer {count} texts with as many scores; check the base_url."
        )
    return np.array([found[index] for index in range(count)], dtype=np.float32)


def _joined(parts: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)
