"""What a provider's own protocol comes down to: a request goes out, a reply or an error comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pgrecall.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Texts to embed in one go; prompts are in them already."""

    texts: Sequence[str]
    #: Whether these are questions, for providers that treat both sides differently.
    query: bool
    #: Seconds that it may take.
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """The vectors as they came, shape (len(texts), n), and the headers with lower-case names."""

    vectors: FloatArray
    headers: Mapping[str, str] = field(default_factory=dict)


class Service(Protocol):
    """One model at one server. Safe to share between threads and event loops.

    ``send`` raises TransientError for what may pass by itself, Refused for what one text of the
    request may be the reason of, and EmbeddingError or CredentialsMissing for the rest.
    """

    @property
    def host(self) -> str:
        """Host and port, for messages."""

    @property
    def max_items(self) -> int:
        """Texts of one request, at most."""

    @property
    def max_request_tokens(self) -> int:
        """Tokens of one request, at most, as ``charged`` counts them."""

    def charged(self, text: str, tokens: int) -> int:
        """Tokens that count against limits for a text that has ``tokens``."""

    def send(self, request: Request) -> Reply:
        """Blocking."""

    async def send_async(self, request: Request) -> Reply:
        """Awaiting."""

    def close(self) -> None:
        """Close the connections of ``send``; another call opens new ones."""

    async def aclose(self) -> None:
        """Close the connections that belong to this event loop, and those of ``send``."""


@dataclass(frozen=True, slots=True)
class Send:
    """A request as a step of a flow."""

    service: Service
    request: Request

    def perform(self, session: object) -> Reply:
        """Blocking."""
        return self.service.send(self.request)

    async def perform_async(self, session: object) -> Reply:
        """Awaiting."""
        return await self.service.send_async(self.request)
