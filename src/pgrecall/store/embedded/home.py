"""The home folder of an embedded server: where its files are, and who uses it."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from pgrecall.errors import EmbeddedServerError
from pgrecall.store.embedded import guardian

MAJOR = 18


def default_home() -> Path:
    """``PGRECALL_HOME``, else the user's data folder."""
    if given := os.environ.get("PGRECALL_HOME"):
        return Path(given).expanduser()
    return Path(platformdirs.user_data_dir("pgrecall"))


@dataclass(frozen=True, slots=True)
class Home:
    """The places inside a home folder."""

    folder: Path

    @classmethod
    def at(cls, folder: Path | None) -> Home:
        """The home folder that was given, or the default one; nothing is created."""
        return cls(Path(folder or default_home()).expanduser().resolve())

    @property
    def data(self) -> Path:
        """The data folder of Postgres."""
        return self.folder / f"postgres-{MAJOR}"

    @property
    def log(self) -> Path:
        """What Postgres and its guardian say."""
        return self.folder / "server.log"

    @property
    def alive(self) -> Path:
        """Locked as long as any process of the server lives."""
        return self.folder / guardian.ALIVE

    @property
    def kept(self) -> Path:
        """Exists while the server shall outlive its users."""
        return self.folder / guardian.KEPT

    def create(self) -> None:
        """Make the folder, for this user alone."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o711 if os.geteuid() == 0 else 0o700)
        (self.folder / guardian.USERS).mkdir(exist_ok=True, mode=0o700)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else starts or stops this server meanwhile."""
        descriptor = guardian.flock(str(self.folder / guardian.LOCK))
        assert descriptor is not None  # it waits
        try:
            yield
        finally:
            os.close(descriptor)

    def register(self) -> int:
        """Become a user, holding :meth:`locked`; closing the descriptor ends that.

        A forked child inherits the descriptor and is a user too, until it ends.
        """
        name = f"{os.getpid()}-{time.monotonic_ns()}"
        descriptor = guardian.flock(str(self.folder / guardian.USERS / name))
        assert descriptor is not None
        return descriptor

    def users(self, *, forget: bool = False) -> int:
        """How many use the server now; see :func:`guardian.users` for ``forget``."""
        if not (self.folder / guardian.USERS).is_dir():
            return 0
        return len(guardian.users(str(self.folder), forget=forget))

    def has_processes(self) -> bool:
        """Whether any process of the server is there, ready or not."""
        try:
            descriptor = guardian.flock(str(self.alive), shared=True, wait=False, create=False)
        except FileNotFoundError:
            return False
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is None


@contextmanager
def explained(home: Home) -> Iterator[None]:
    """Raise what the operating system refuses as an EmbeddedServerError that says what to do."""
    try:
        yield
    except OSError as exc:
        raise EmbeddedServerError(_remedy(home, exc)) from exc


def _remedy(home: Home, exc: OSError) -> str:
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_space(home)
    elsewhere = "set PGRECALL_HOME to a folder of your own, or PGRECALL_DATABASE_URL to a server"
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOENT):
        place = exc.filename or home.folder
        return f"The embedded Postgres cannot write {place} ({exc.strerror}): {elsewhere}."
    return f"The embedded Postgres cannot use {home.folder} ({exc}): {elsewhere}."


def no_space(home: Home) -> str:
    """What to do about a full disk."""
    return (
        f"The disk that holds {home.folder} is full: free some space, "
        "or set PGRECALL_HOME to a folder on another disk."
    )


def socket_folder(home: Home) -> Path:
    """Where the socket goes: the data folder, or a short one if its path cannot be a socket's.

    It cannot if it is too long for the kernel (``sun_path``: 108 bytes on Linux, 104 on macOS, with
    the closing zero), or has a comma, at which libpq would split it into two hosts. Raises
    EmbeddedServerError if neither will do.
    """
    digest = hashlib.sha256(os.fsencode(home.data)).hexdigest()[:12]
    short = f"pgrecall-{os.geteuid()}-{digest}"
    for folder in (home.data, Path(tempfile.gettempdir(), short), Path("/tmp", short)):
        if len(os.fsencode(folder / ".s.PGSQL.5432")) < 104 and "," not in str(folder):
            return folder
    raise EmbeddedServerError(
        f"The path {home.data} is too long for a Unix socket, and so is the temporary folder's: "
        "set PGRECALL_HOME or TMPDIR to a shorter path."
    )
