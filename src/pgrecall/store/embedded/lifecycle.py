"""Starting, joining and stopping the server's processes; every caller holds the home's lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from pgrecall.errors import EmbeddedServerError
from pgrecall.store.embedded import cluster, guardian, programs
from pgrecall.store.embedded.cluster import Postmaster
from pgrecall.store.embedded.home import Home, socket_folder
from pgrecall.store.embedded.programs import Account
from pgrecall.store.embedded.tuning import rendered, tuned

START_LIMIT = 900.0  # seconds; recovery after a crash replays up to max_wal_size
STOP_LIMIT = 120.0
_PAUSE = 0.005


def shut_down(home: Home) -> None:
    """Stop the server, which ends its connections; the caller holds the lock of ``home``.

    Raises EmbeddedServerError if it does not stop.
    """
    running = cluster.postmaster(home)
    if running is not None and _is_postgres_of(running.pid, home):
        os.kill(running.pid, signal.SIGINT)  # fast shutdown
    deadline = time.monotonic() + STOP_LIMIT
    while home.has_processes():
        _end_orphans(home)
        if time.monotonic() > deadline:
            raise EmbeddedServerError(
                f"The embedded Postgres in {home.folder} does not stop: look into {home.log}."
            )
        time.sleep(_PAUSE)
    home.kept.unlink(missing_ok=True)


def join(home: Home) -> Postmaster | None:
    """The running server, once it is ready; None if not one process of it is left."""
    deadline = time.monotonic() + START_LIMIT
    while home.has_processes():
        if running := cluster.accepting(home):
            return running
        _end_orphans(home)
        if time.monotonic() > deadline:
            raise _not_ready(home)
        time.sleep(_PAUSE)
    return None


def _end_orphans(home: Home) -> None:
    """Kill what is left of a server whose postmaster was killed: it can do no more useful work."""
    known = cluster.postmaster(home)
    if known is None or _is_postgres_of(known.pid, home):
        return
    for process in psutil.process_iter(["name"]):
        if process.info["name"] == "postgres" and _is_postgres_of(process.pid, home):
            process.kill()


def _is_postgres_of(pid: int, home: Home) -> bool:
    """Whether that process works in this data folder: process ids are used again."""
    try:
        process = psutil.Process(pid)
        return bool(process.name() == "postgres" and process.cwd() == str(home.data))
    except psutil.Error:
        return False


def launch(home: Home, who: Account, settings: Mapping[str, str]) -> Postmaster:
    """Start the server, making its data folder first if there is none."""
    alive = guardian.flock(str(home.alive), wait=False)
    if alive is None:
        raise _not_ready(home)
    try:
        programs.let_enter(home.data, who)
        programs.let_enter(programs.binary("postgres"), who)
        if not cluster.check(home, who):
            cluster.create(home, who, alive)
        (home.data / "postmaster.pid").unlink(missing_ok=True)  # stale: not one process is alive
        home.kept.unlink(missing_ok=True)
        _configure(home, settings)
        began = _run_guardian(home, who, alive)
    finally:
        os.close(alive)
    return _wait_until_ready(home, began)


def _configure(home: Home, settings: Mapping[str, str]) -> None:
    file = home.data / "pgrecall.conf"
    file.write_text(rendered({**tuned(home.data), **settings}))
    file.chmod(0o644)  # written by root, read by its deputy


def _run_guardian(home: Home, who: Account, alive: int) -> int:
    """Start the guardian, which starts Postgres; returns where in the log this start begins."""
    sockets = socket_folder(home)
    _own_socket_folder(sockets, home, who)
    quoted = str(sockets).replace('"', '""')
    command = [sys.executable, "-I", "-S", guardian.__file__, home.folder, alive, who.uid, who.gid]
    postgres = [programs.binary("postgres"), "-D", home.data, "-p", cluster.PORT]
    options = ["-c", "listen_addresses=", "-c", f'unix_socket_directories="{quoted}"']
    if home.log.exists() and home.log.stat().st_size > 10_000_000:
        home.log.replace(home.log.with_suffix(".log.old"))
    with home.log.open("ab") as log:
        began = log.tell()
        subprocess.run(
            [str(part) for part in (*command, *postgres, *options)],
            check=True,
            pass_fds=[alive],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=programs.clean_environment(),
        )
    return began


def _own_socket_folder(folder: Path, home: Home, who: Account) -> None:
    if folder == home.data:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid == os.geteuid() != who.uid:
        os.chown(folder, who.uid, who.gid, follow_symlinks=False)
    state = folder.lstat()
    if folder.is_symlink() or state.st_uid != who.uid or state.st_mode & 0o077:
        raise EmbeddedServerError(
            f"The socket folder {folder} is not safe, somebody else made it: remove it, "
            "or set PGRECALL_HOME to a shorter path, which needs no such folder."
        )


def _wait_until_ready(home: Home, began: int) -> Postmaster:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        if running := cluster.accepting(home):
            return running
        if not home.has_processes():
            with home.log.open("rb") as log:
                log.seek(began)
                output = log.read().decode(errors="replace")
            raise EmbeddedServerError(cluster.complaint(home, "it ended at once", output))
        time.sleep(_PAUSE)
    raise _not_ready(home)


def _not_ready(home: Home) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"The embedded Postgres in {home.folder} is running but does not become ready: look into "
        f"{home.log}; if it runs in another container, stop it there."
    )
