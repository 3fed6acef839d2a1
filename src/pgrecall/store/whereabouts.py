"""Which database a session is on, as far as its connections say: nobody is asked."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg

from pgrecall.flow import Step
from pgrecall.store.session import AsyncSession, Session, translated

#: Host or folder of the socket, port, and name of a database.
Whereabouts: TypeAlias = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Locate:
    """Look at a connection; no round trip."""

    def perform(self, session: Session) -> Whereabouts:
        """Blocking."""
        with session.connection() as connection:
            return _of(connection.info)

    async def perform_async(self, session: AsyncSession) -> Whereabouts:
        """Awaiting."""
        async with session.connection() as connection:
            return _of(connection.info)


def _of(info: psycopg.ConnectionInfo) -> Whereabouts:
    try:
        return info.host, info.port, info.dbname
    except psycopg.Error as exc:
        raise translated(exc) from exc


def whereabouts() -> Generator[Step, Any, Whereabouts]:
    """Sessions of one process that have the same are on one database."""
    found: Whereabouts = yield Locate()
    return found
