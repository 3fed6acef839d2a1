"""One user's hold on the embedded server."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from pgrecall.errors import EmbeddedServerError
from pgrecall.store.embedded import cluster, lifecycle, programs
from pgrecall.store.embedded.cluster import Postmaster
from pgrecall.store.embedded.home import Home, explained

DATABASE = "pgrecall"


class EmbeddedServer:
    """One user's hold on the embedded server of a home folder; a context manager.

    Several holds, in one process or in many, share one server. A hold ends by :meth:`release`, at
    interpreter exit, or when its process dies in whatever way; the server stops when the last one
    has ended. A forked child inherits the hold.
    """

    def __init__(self, home: Home, user: int, url: str) -> None:
        self.url = url
        self._home = home
        self._user: int | None = user
        self._mutex = threading.Lock()
        atexit.register(self.release)

    @classmethod
    def start(
        cls, home: Path | None = None, *, settings: Mapping[str, str] | None = None
    ) -> EmbeddedServer:
        """Join the server of ``home``, or start it; returns when it takes connections.

        ``settings`` are added if this call starts the server (tests: ``{"fsync": "off"}``).
        Raises EmbeddedServerError if it cannot run.
        """
        place = Home.at(home)
        with explained(place):
            who = programs.account()
            place.create()
            with place.locked():
                user = place.register()
                try:
                    running = lifecycle.join(place) or lifecycle.launch(place, who, settings or {})
                    _prepare(place, running)
                except BaseException:
                    os.close(user)
                    raise
        return cls(place, user, url_of(running))

    def release(self) -> None:
        """End this hold; the last one to leave stops the server and waits until it has stopped."""
        with self._mutex:
            user, self._user = self._user, None
        if user is None:
            return
        atexit.unregister(self.release)
        os.close(user)
        if not self._home.folder.exists():
            return  # deleted meanwhile: the guardian stops the server
        with explained(self._home), self._home.locked():
            if not self._home.users(forget=True) and not self._home.kept.exists():
                lifecycle.shut_down(self._home)

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def url_of(running: Postmaster, database: str = DATABASE) -> str:
    """The address of a database on a running server, for libpq; the port shields it from PGPORT."""
    folder = quote(str(running.socket), safe="/")
    return f"postgresql://{cluster.SUPERUSER}@/{database}?host={folder}&port={cluster.PORT}"


def _prepare(home: Home, running: Postmaster) -> None:
    """Make the database and the extension if they are missing; bring the extension up to date."""
    import psycopg

    try:
        with psycopg.connect(url_of(running, "postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE])
            if not known.rowcount:
                connection.execute(f"CREATE DATABASE {DATABASE}")
        with psycopg.connect(url_of(running), autocommit=True) as connection:
            row = connection.execute(_EXTENSION).fetchone()
            if row is not None and row[0] is None:
                connection.execute("CREATE EXTENSION vector")
            elif row is not None and row[0] != row[1]:
                connection.execute("ALTER EXTENSION vector UPDATE")
    except psycopg.Error as exc:
        problem = f"the database {DATABASE} cannot be prepared"
        raise EmbeddedServerError(cluster.complaint(home, problem, str(exc))) from exc


_EXTENSION = """
    SELECT installed_version, default_version FROM pg_available_extensions WHERE name = 'vector'
"""
