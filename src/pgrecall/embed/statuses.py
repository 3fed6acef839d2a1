"""What the status of an HTTP answer means, for every provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgrecall.embed.bisect import Refused
from pgrecall.embed.endpoints import Endpoint
from pgrecall.embed.retry import TransientError, retry_after
from pgrecall.errors import CredentialsMissing, EmbeddingError

_TIMEOUT, _CONFLICT, _RATE_LIMIT = 408, 409, 429


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Whom a request went to, for messages."""

    at: Endpoint
    model: str
    key_variable: str

    @property
    def host(self) -> str:
        """Host and port."""
        return self.at.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """An answer that is no success."""

    code: int
    #: With lower-case names.
    headers: Mapping[str, str] = field(default_factory=dict)
    #: What the server said, in its own words.
    message: str = ""
    #: OpenAI's name of the error.
    reason: str | None = None


def status_error(status: Status, asked: Asked) -> EmbeddingError:
    """The error to raise: a TransientError for what may pass by itself, Refused for these texts."""
    host = asked.host
    if status.code == 401:
        return CredentialsMissing(f"{host} refuses the API key; check {asked.key_variable}.")
    if status.code == 403:
        return EmbeddingError(f"{host} does not allow this API key to use the model {asked.model}.")
    if status.code == 404:
        return EmbeddingError(
            f"{host} has no model {asked.model}; check its name and the base_url."
        )
    if status.reason == "insufficient_quota":
        return EmbeddingError(f"The quota at {host} is used up; check the plan and its billing.")
    said = _one_line(status.message, asked.at.key)
    if _may_pass(status):
        return TransientError(
            f"{host} answered {status.code}: {said}",
            retry_after=retry_after(status.headers),
            answered_by_server=status.code >= 500,
        )
    return Refused(f"{host} refuses the request ({status.code}): {said}.")


def _may_pass(status: Status) -> bool:
    # OpenAI's own header, which knows better than the status.
    should = status.headers.get("x-should-retry")
    if should in ("true", "false"):
        return should == "true"
    return status.code >= 500 or status.code in (_TIMEOUT, _CONFLICT, _RATE_LIMIT)


def _one_line(said: str, key: str) -> str:
    """Short, and without the key."""
    line = " ".join((said or "no reason given").split())
    return line.replace(key, "***")[:300].rstrip(".")
