"""Which language model answers, and where it is reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from pgrecall.errors import InvalidArgument, LanguageModelUnset, MissingExtra
from pgrecall.tokens.bpe import encoding_of

_OPENAI = "https://api.openai.com/v1"
#: Sent to a server that needs no key; the SDK insists on one.
_NO_KEY = "no-key-needed"
#: For models whose tokenizer is not known: never far off, for texts in English.
_USUAL_ENCODING = "cl100k_base"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageModel:
    """A model behind an endpoint that speaks OpenAI's chat protocol.

    Raises InvalidArgument for an address that is none, LanguageModelUnset if OpenAI itself is meant and
    there is no key, MissingExtra.
    """

    #: As its server calls it: "gpt-4o-mini", "llama3.1:8b".
    name: str
    #: None: OpenAI's own.
    base_url: str | None = None
    #: A server at another base_url may need none.
    api_key: str | None = field(default=None, repr=False)
    #: Seconds without a sign of the server.
    timeout: float = 60.0
    #: How often a request that was refused or lost is sent again, before the first word of the answer.
    retries: int = 2

    def __post_init__(self) -> None:
        if find_spec("openai") is None:
            raise MissingExtra("Asking a language model", "openai")
        url, key = self.base_url, self.api_key or ""
        if url and not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
            raise InvalidArgument(
                "The address of a language model has to be like http://localhost:11434/v1."
            )
        if not (key.isascii() and key.isprintable()):
            # The SDK would quote the key in its complaint.
            raise InvalidArgument(
                "The API key holds characters that no key has; check OPENAI_API_KEY."
            )
        if not (key or url):
            raise LanguageModelUnset(
                f"{self.name} needs an API key: set OPENAI_API_KEY or PGRECALL_LLM_API_KEY, or "
                "PGRECALL_LLM_BASE_URL for a server that needs none."
            )

    @property
    def host(self) -> str:
        """Host and port, for messages; without what else the address may hold, e.g. a password."""
        return urlsplit(self.base_url or _OPENAI).netloc.rpartition("@")[2]

    @property
    def tokenizer(self) -> str:
        """The encoding that a context for it is counted with; a usual one if its own is not known."""
        return encoding_of(self.name) or _USUAL_ENCODING

    def client_settings(self) -> dict[str, Any]:
        """Arguments for the SDK's clients."""
        return {
            "api_key": self.api_key or _NO_KEY,
            "base_url": self.base_url or _OPENAI,
            "timeout": self.timeout,
            "max_retries": self.retries,
        }


def language_model(name: str | None = None, *, base_url: str | None = None) -> LanguageModel:
    """The model that is named, else that of the settings: PGRECALL_LLM_MODEL, and what belongs to it.

    Raises LanguageModelUnset, which says what to set, and what LanguageModel raises.
    """
    from pgrecall.settings import Settings

    settings = Settings()
    chosen = name or settings.llm_model
    if not chosen:
        raise LanguageModelUnset
    key = settings.llm_api_key
    return LanguageModel(
        name=chosen,
        base_url=base_url or settings.llm_base_url or None,
        api_key=key.get_secret_value().strip() if key else None,
    )
