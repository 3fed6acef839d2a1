"""Where a provider is reached, and with which key: an option, else the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pgrecall.errors import CredentialsMissing, InvalidArgument

#: Sent to a server that needs no key; the vendors' packages insist on one.
_NO_KEY = "no-key-needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The address of a server and the key for it."""

    url: str
    key: str = field(repr=False)

    @property
    def host(self) -> str:
        """Host and port, for messages; without what else the address may hold, e.g. a password."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A provider's own address, and the variables that name another and the key."""

    name: str
    #: ``None``: there is no common one.
    url: str | None
    url_variable: str
    key_variable: str
    #: What an address looks like, for messages.
    example: str

    def endpoint(self, base_url: str | None, api_key: str | None) -> Endpoint:
        """Raises InvalidArgument for an address that is none, CredentialsMissing if a key is needed."""
        url = (base_url or os.environ.get(self.url_variable, "")).strip()
        if url and not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
            raise InvalidArgument(f"The base_url has to be like {self.example}.")
        key = (api_key or os.environ.get(self.key_variable, "")).strip()
        if not (key.isascii() and key.isprintable()):
            # The vendor's package would quote the key in its complaint.
            raise InvalidArgument(
                f"The API key holds characters that no key has; check {self.key_variable}."
            )
        if not url and self.url is None:
            raise InvalidArgument(
                f"{self.name} needs an address: set {self.url_variable} or pass base_url, like "
                f"{self.example}."
            )
        if not (key or url):
            raise CredentialsMissing(
                f"{self.name} needs an API key: set {self.key_variable} or pass api_key; or pass "
                "base_url for a server that needs none."
            )
        return Endpoint(url=url or self.url or "", key=key or _NO_KEY)
