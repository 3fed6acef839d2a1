"""Reaching a Postgres: the embedded one, one that a URL names, or one behind a lent connection."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pgrecall import errors
from pgrecall.chunking import ChunkConfig
from pgrecall.creating import Described, Wanted, foreseen
from pgrecall.embed.base import Embedder
from pgrecall.embed.offline import offline
from pgrecall.flow import Flow
from pgrecall.store import migrate
from pgrecall.store.embedded import EmbeddedServer
from pgrecall.store.storage import Storage, StorageType, chosen
from pgrecall.target import Target


class Settled:
    """What is known of a database before anything is asked of it."""

    def __init__(self, url: str) -> None:
        # pydantic takes longer to import than everything else that a search needs.
        from pgrecall.settings import Settings

        self.settings = Settings()
        self.url = url

    def release(self) -> None:
        """Whoever lends a connection keeps the database."""

    def planned(self, name: str, options: Described) -> Flow[Target]:
        """The collection of that name, or what would be created under it."""
        return foreseen(name, replace(self.wanted(**options), opened=offline))

    def wanted(
        self,
        *,
        embedder: str | Embedder | None = None,
        chunking: ChunkConfig | None = None,
        language: str = "english",
        text_search: str | None = None,
        storage: Storage | StorageType | None = None,
    ) -> Wanted:
        """What a caller asks of a collection, with the settings' defaults."""
        return Wanted(
            embedder=embedder,
            default_embedder=self.settings.embedder,
            chunking=chunking,
            language=language,
            text_search=text_search,
            storage=chosen(storage),
        )


class Opened(Settled):
    """A database that answers and has our tables, and the embedded server if it is that one."""

    def __init__(self, url: str | None, home: Path | None) -> None:
        super().__init__("")
        self.server: EmbeddedServer | None = None
        address = url or self.settings.database_url
        if address is None:
            self.server = EmbeddedServer.start(home or self.settings.home)
            address = self.server.url
        self.url = migrate.libpq_url(address)
        try:
            self._check()
        except BaseException:
            self.release()
            raise

    def _check(self) -> None:
        try:
            migrate.check(self.url)
        except (errors.SchemaMissing, errors.SchemaOutdated):
            # Nobody else looks after the embedded server; a server of their own, users upgrade.
            if self.server is None:
                raise
            migrate.upgrade(self.url)

    def release(self) -> None:
        """Leave the embedded server; the last user to leave stops it."""
        if self.server is not None:
            self.server.release()

    @property
    def pool_options(self) -> dict[str, Any]:
        """One connection at first, more on demand; each statement its own transaction."""
        return {
            "conninfo": self.url,
            "min_size": 1,
            "max_size": self.settings.pool_size,
            "open": False,
            "name": "pgrecall",
            "kwargs": {
                "autocommit": True,
                "application_name": "pgrecall",
                "prepare_threshold": 5 if self.settings.prepare else None,
            },
        }
