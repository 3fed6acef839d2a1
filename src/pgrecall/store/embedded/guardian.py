"""The process that starts Postgres, and stops it when its last user has gone.

It runs as a script in an isolated interpreter (``python -I -S guardian.py``, about 9 MB), so it
imports nothing but the standard library. It is Postgres's parent and lives as long, in a session of
its own. It needs nobody's cooperation: when a user is killed with ``kill -9``, its file lock is
freed, the guardian wakes up, and stops Postgres if that user was the last.

Files in the home folder, locked with ``flock``, which the kernel frees when a process dies:

    server.lock     held while somebody starts or stops the server
    server.users/   one file per user, locked by it as long as it uses the server
    server.alive    locked by Postgres and inherited by all its processes: free when not one is left
    server.kept     exists while the server shall outlive its users
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from types import FrameType
from typing import NoReturn

LOCK, USERS, ALIVE, KEPT = "server.lock", "server.users", "server.alive", "server.kept"


def flock(path: str, *, shared: bool = False, wait: bool = True, create: bool = True) -> int | None:
    """The descriptor of the locked file; None if ``wait`` is False and somebody else holds it.

    Closing the descriptor frees the lock. Without ``create`` it may raise FileNotFoundError.
    """
    descriptor = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600)
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def users(home: str, *, forget: bool) -> list[str]:
    """The names of the users that are alive; ``forget`` removes the files of the others.

    Forgetting needs ``server.lock``: a new user's file is there for a moment before it is locked.
    """
    alive = []
    for name in os.listdir(os.path.join(home, USERS)):
        path = os.path.join(home, USERS, name)
        descriptor = flock(path, shared=True, wait=False, create=False)
        if descriptor is None:
            alive.append(name)
            continue
        if forget:
            os.unlink(path)
        os.close(descriptor)
    return alive


def main() -> None:
    """Start the command that was given, detached from the caller, and guard it."""
    home, alive, uid, gid, *command = sys.argv[1:]
    if os.fork():
        os._exit(0)  # the caller waits for this one only
    signal.signal(signal.SIGCHLD, _leave_with_postgres)
    postgres = _spawn(command, int(uid), int(gid))
    os.close(int(alive))
    _guard(home, postgres)


def _spawn(command: list[str], uid: int, gid: int) -> int:
    child = os.fork()
    if not child:
        _become(command, uid, gid)
    return child


def _become(command: list[str], uid: int, gid: int) -> NoReturn:
    os.setsid()  # no signal of a terminal, or of the guardian's group, reaches Postgres
    if os.geteuid() != uid:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    os.execv(command[0], command)


def _leave_with_postgres(signum: int, frame: FrameType | None) -> None:
    if os.waitpid(-1, os.WNOHANG)[0]:  # it may also have been stopped or continued
        sys.exit(0)


def _guard(home: str, postgres: int) -> NoReturn:
    try:
        while not _unused(home):
            continue
    except FileNotFoundError:
        pass  # the home folder was deleted: nobody can use this server any more
    os.kill(postgres, signal.SIGINT)  # fast shutdown; ends in _leave_with_postgres
    while True:
        time.sleep(1)


def _unused(home: str) -> bool:
    """Wait until the users of this moment have left; True if no others came.

    ``server.lock`` is then held, until this process ends.
    """
    for name in os.listdir(os.path.join(home, USERS)):
        _wait_for(os.path.join(home, USERS, name))
    lock = flock(os.path.join(home, LOCK), create=False)
    if lock is None:
        return False
    if os.path.exists(os.path.join(home, KEPT)):
        sys.exit(0)
    if not users(home, forget=True):
        return True
    os.close(lock)
    return False


def _wait_for(path: str) -> None:
    try:
        descriptor = flock(path, shared=True, create=False)
    except FileNotFoundError:
        return
    if descriptor is not None:
        os.close(descriptor)


if __name__ == "__main__":
    main()
