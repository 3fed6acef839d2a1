"""Following files: what changes is taken in, what goes is removed, and an outage is waited out."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

from pgrecall.errors import DatabaseUnavailable, EmbeddingError, UnreadableSource
from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest.chains import ingest, ingest_async
from pgrecall.ingest.job import Ingestion
from pgrecall.ingest.outage import Outage
from pgrecall.ingest.stages import refused
from pgrecall.load import LoadOptions
from pgrecall.load.discover import StrPath, is_url, split_glob
from pgrecall.load.only import Only
from pgrecall.load.scope import Sync, scopes
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import IngestReport

#: How often the watch wakes up, in milliseconds: it is how long stopping takes at most.
WAKE = 500
#: Seconds after which everything is looked at again: systems drop events when they come too fast, and
#: have none for what is behind a link or on another computer.
RESCAN = 3600.0
#: More changed paths than this are everything.
MANY = 1_000

Changes = set[tuple[Any, str]]


class Watched:
    """What is followed, and what of it is to be looked at next."""

    def __init__(
        self, sources: Sequence[StrPath], options: LoadOptions, *, allow_empty: bool = False
    ) -> None:
        self.sources = sources
        self.options = options
        self._allow_empty = allow_empty
        self.roots = _roots(sources)
        #: Nothing but files named one by one: what is below their folders does not matter.
        self.recursive = any(_is_tree(os.fsdecode(source)) for source in sources)
        self._paths: set[str] = set()
        self._all = True
        self._outage = Outage()
        self._not_before = 0.0
        self._scan_again = time.monotonic() + RESCAN

    def note(self, changes: Changes) -> None:
        """Something changed; an empty set if only time passed."""
        self._paths.update(path for _, path in changes)
        rules = any(os.path.basename(path) == ".gitignore" for _, path in changes)
        self._all |= rules or len(self._paths) > MANY or time.monotonic() > self._scan_again

    def everything(self) -> None:
        """Nobody knows what changed."""
        self._all = True

    def folders(self) -> list[tuple[int, int] | None]:
        """Which folders the watched names mean now; None for what is not there."""
        return [_identity(root) for root in self.roots]

    def due(self) -> Sync | None:
        """What is to be looked at now; None if nothing is."""
        if not (self._all or self._paths) or time.monotonic() < self._not_before:
            return None
        return Sync(
            scopes=scopes(self.sources),
            tenant_id=self.options.tenant_id,
            allow_empty=self._allow_empty,
            only=None if self._all else Only.of(self._paths),
        )

    def done(self, job: Ingestion) -> None:
        """What was due is in step, except for what was read and could not be embedded or written."""
        if self._all:
            self._scan_again = time.monotonic() + RESCAN
        self._paths, self._all = set(), False
        left = refused(job)
        if not left:
            self._outage.over()
            self._not_before = 0.0
            return
        for failure in left:
            self._paths |= {failure.uri, failure.uri.rpartition("#")[0] or failure.uri}
        self.failed(left[0].reason)

    def failed(self, reason: object) -> None:
        """What was due stays so, and is tried again after a while; raises what no waiting mends."""
        self._not_before = time.monotonic() + self._outage.pause(reason)


@dataclass(frozen=True, slots=True)
class _Ingest:
    """A step: take in what is due."""

    job: Ingestion
    watched: Watched
    sync: Sync

    def perform(self, session: Session) -> IngestReport:
        return ingest(session, self.job, self.watched.sources, self.watched.options, self.sync)

    async def perform_async(self, session: AsyncSession) -> IngestReport:
        watched = self.watched
        return await ingest_async(session, self.job, watched.sources, watched.options, self.sync)


def _look(
    watched: Watched, changes: Changes, job: Callable[[], Ingestion]
) -> Flow[IngestReport | None]:
    """Take in what is due after these changes; the report, if there is anything to tell."""
    watched.note(changes)
    sync = watched.due()
    if sync is None:
        return None
    try:
        begun = job()
        report: IngestReport = yield _Ingest(begun, watched, sync)
    except (DatabaseUnavailable, EmbeddingError) as exc:
        watched.failed(exc)
        return None
    watched.done(begun)
    return report if sync.only is None or report.did_something else None


def watch(
    session: Session, job: Callable[[], Ingestion], watched: Watched, stop: Event | None
) -> Generator[IngestReport, None, None]:
    """Keep in step, and yield the report of each run that did something, until ``stop`` is set."""
    with _explained():
        for changes in _noticed(watched, stop or Event()):
            report = run(_look(watched, changes, job), session)
            if report is not None:
                yield report


async def watch_async(
    session: AsyncSession, job: Callable[[], Ingestion], watched: Watched
) -> AsyncGenerator[IngestReport, None]:
    """As ``watch``, awaiting."""
    with _explained():
        async with aclosing(_noticed_async(watched)) as noticed:
            async for changes in noticed:
                report = await run_async(_look(watched, changes, job), session)
                if report is not None:
                    yield report


def _noticed(watched: Watched, stop: Event) -> Iterator[Changes]:
    """What changed, or an empty set each time that WAKE has passed; starts anew where a folder is another."""
    from watchfiles import watch as notice

    while not stop.is_set():
        folders = watched.folders()
        if None in folders:
            stop.wait(WAKE / 1000)
            continue
        watched.everything()
        with closing(notice(*watched.roots, **_options(watched), stop_event=stop)) as noticed:
            for changes in noticed:
                yield changes
                if watched.folders() != folders:
                    break


async def _noticed_async(watched: Watched) -> AsyncGenerator[Changes, None]:
    """As ``_noticed``, awaiting."""
    from watchfiles import awatch as notice

    while True:
        folders = watched.folders()
        if None in folders:
            await asyncio.sleep(WAKE / 1000)
            continue
        watched.everything()
        async with aclosing(notice(*watched.roots, **_options(watched))) as noticed:
            async for changes in noticed:
                yield changes
                if watched.folders() != folders:
                    break


def _options(watched: Watched) -> dict[str, Any]:
    # What is ignored, the walk knows; the first time-out starts the first run, with the watch in place.
    return {
        "watch_filter": None,
        "rust_timeout": WAKE,
        "yield_on_timeout": True,
        "recursive": watched.recursive,
    }


@contextmanager
def _explained() -> Iterator[None]:
    """What the system says when it cannot watch, with what to do about it."""
    from watchfiles._rust_notify import WatchfilesRustInternalError

    try:
        yield
    except (WatchfilesRustInternalError, FileNotFoundError) as exc:
        raise UnreadableSource(
            f"The system cannot watch these folders ({exc}); raise its limit (fs.inotify.max_user_watches), "
            "or set WATCHFILES_FORCE_POLLING=1."
        ) from exc


def _roots(sources: Sequence[StrPath]) -> list[str]:
    """The folders to watch. Raises UnreadableSource for what is not there, or has no events."""
    roots: dict[str, None] = {}
    for source in map(os.fsdecode, sources):
        root = _root(source)
        if source == "-" or is_url(source) or not os.path.isdir(root):
            raise UnreadableSource(
                f"{source} cannot be watched; name files, folders or globs that exist."
            )
        roots[root] = None
    if not roots:
        raise UnreadableSource("There is nothing to watch; name files, folders or globs.")
    return list(roots)


def _identity(root: str) -> tuple[int, int] | None:
    try:
        status = os.stat(root)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _root(source: str) -> str:
    path = os.path.abspath(source)
    if os.path.isdir(path):
        return path
    found = None if os.path.exists(path) else split_glob(source)
    # A file is replaced when an editor saves it: its folder sees that.
    return found[0] if found else os.path.dirname(path)


def _is_tree(source: str) -> bool:
    return os.path.isdir(source) or (not os.path.exists(source) and split_glob(source) is not None)
