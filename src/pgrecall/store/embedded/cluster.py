"""A Postgres data folder: made, checked, read. Nothing here starts or stops a server."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pgrecall.errors import EmbeddedServerError
from pgrecall.store.embedded.home import MAJOR, Home, no_space
from pgrecall.store.embedded.programs import Account, binary, clean_environment

SUPERUSER = "postgres"
PORT = 5432

_INCLUDE = """
# What pgrecall writes at each start; lines below this one win.
include_if_exists = 'pgrecall.conf'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postmaster:
    """What ``postmaster.pid`` says about a running server."""

    pid: int
    started_at: datetime
    socket: Path
    ready: bool


def check(home: Home, who: Account) -> bool:
    """Whether there is a data folder; raises EmbeddedServerError if it cannot be used."""
    if not home.data.exists():
        _check_other_majors(home)
        return False
    owner = home.data.stat().st_uid
    if owner != who.uid:
        raise EmbeddedServerError(
            f"The data folder {home.data} belongs to user id {owner}, and this server would run "
            f"as {who.uid}: run as its owner, or set PGRECALL_HOME to another folder."
        )
    try:
        version = (home.data / "PG_VERSION").read_text().strip()
    except FileNotFoundError as exc:
        raise EmbeddedServerError(
            f"{home.data} is no Postgres data folder: move it away, "
            "or set PGRECALL_HOME to another folder."
        ) from exc
    if version != str(MAJOR):
        raise _other_major(home.data, version)
    return True


def _check_other_majors(home: Home) -> None:
    for version in home.folder.glob("postgres-*/PG_VERSION"):
        raise _other_major(version.parent, version.read_text().strip())


def _other_major(folder: Path, version: str) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"{folder} was made by PostgreSQL {version}, and this pgrecall brings {MAJOR}: dump it "
        "with the release of pgrecall that made it, move the folder away, and restore the dump."
    )


def create(home: Home, who: Account, alive: int) -> None:
    """Make the data folder, whole or not at all: in a temporary folder that is then renamed.

    initdb inherits the descriptor ``alive``: while it runs, nobody starts another. Raises EmbeddedServerError.
    """
    draft = home.folder / "initdb.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    if who.name_for_subprocess is not None:
        os.chown(draft, who.uid, who.gid)
    done = subprocess.run(
        [binary("initdb"), "-D", draft, *_INITDB],
        pass_fds=[alive],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,  # Ctrl-C is ours to handle
        user=who.name_for_subprocess,
        group=who.gid if who.name_for_subprocess is not None else None,
        extra_groups=[] if who.name_for_subprocess is not None else None,
        cwd="/",
        env=clean_environment(),
    )
    if done.returncode:
        shutil.rmtree(draft, ignore_errors=True)
        raise EmbeddedServerError(complaint(home, "initdb failed", done.stderr))
    with (draft / "postgresql.conf").open("a") as config:
        config.write(_INCLUDE)
    draft.rename(home.data)


# C.UTF-8 of the builtin provider sorts the same on every machine and knows the letters of all
# scripts; the operating system's own locale (C) is then not asked.
_INITDB = [
    f"--username={SUPERUSER}",
    "--auth=trust",  # the socket's folder lets nobody else in
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--text-search-config=english",
    "--no-instructions",
]


def complaint(home: Home, what: str, output: str) -> str:
    """One sentence from what a program of Postgres printed."""
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return no_space(home)
    lines = output.splitlines() or ["it said nothing"]
    reason = next((line for line in lines if _BAD.search(line)), lines[-1])
    reason = _BAD.split(reason)[-1].strip()
    return f"The embedded Postgres cannot run, {what}: {reason} (its log is {home.log})."


_BAD = re.compile("FATAL:|PANIC:|ERROR:|error:")


def postmaster(home: Home) -> Postmaster | None:
    """What ``postmaster.pid`` says; None if there is none, or it is not all written yet."""
    try:
        lines = (home.data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return None
    if len(lines) < 8:
        return None
    return Postmaster(
        pid=int(lines[0]),
        started_at=datetime.fromtimestamp(int(lines[2]), UTC),
        socket=Path(lines[4]),
        ready=lines[7].strip() == "ready",
    )


def accepting(home: Home) -> Postmaster | None:
    """The server that takes connections now; its socket is asked, since files survive a crash."""
    found = postmaster(home)
    if found is None or not found.ready:
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        try:
            client.connect(str(found.socket / f".s.PGSQL.{PORT}"))
        except OSError:
            return None
    return found
