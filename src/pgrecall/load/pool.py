"""The parsers of this process: kept while they are of use, replaced when they fail."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from threading import Lock

from pgrecall.errors import UnreadableSource
from pgrecall.load.child import Child, Gone
from pgrecall.load.clean import clean_document
from pgrecall.load.options import LoadOptions
from pgrecall.load.source import Source
from pgrecall.types import Document, Failure

#: Parsers need what only POSIX has; elsewhere, and in frozen programs, files are read in place.
AVAILABLE = os.name == "posix" and not getattr(sys, "frozen", False)
#: How often a job is handed over anew because the parser had just ended of itself.
_TRIES = 3


class Pool:
    """Children that are idle, and those that are at work."""

    _lock: Lock
    _idle: list[Child]
    _busy: set[Child]

    def __init__(self) -> None:
        self._empty()

    def _empty(self) -> None:
        self._lock, self._idle, self._busy = Lock(), [], set()

    def is_full(self, limit: int) -> bool:
        """Whether so many are at work."""
        return len(self._busy) >= limit

    def take(self, source: Source, options: LoadOptions) -> Child:
        """A child that has been handed the source. Raises OSError if no process can be started."""
        while True:
            with self._lock:
                child = self._idle.pop() if self._idle else Child()
                self._busy.add(child)
            try:
                child.begin(source, options)
            except Gone:
                self.give(child)
                continue
            return child

    def give(self, child: Child) -> None:
        """Take a child back; one that has not finished is killed."""
        keep = child.reusable and not child.busy
        with self._lock:
            self._busy.discard(child)
            if keep and len(self._idle) < (os.cpu_count() or 1):
                self._idle.append(child)
                return
        child.close()

    def close(self) -> None:
        """End all children."""
        with self._lock:
            children = [*self._idle, *self._busy]
            self._idle.clear()
            self._busy.clear()
        for child in children:
            child.close()

    def forget(self) -> None:
        """In a process that was forked: the children are not its own."""
        for child in (*self._idle, *self._busy):
            child.disown()
        self._empty()  # the lock too: it may be held by a thread that is not here


pool = Pool()
atexit.register(pool.close)
if AVAILABLE:
    os.register_at_fork(after_in_child=pool.forget)


class Parsing:
    """A source that a child reads; begun at once if wanted, else when its documents are asked for."""

    def __init__(self, source: Source, options: LoadOptions) -> None:
        self._source, self._options = source, options
        self._child: Child | None = None

    @property
    def begun(self) -> bool:
        """Whether a child is at work."""
        return self._child is not None

    def begin(self) -> None:
        """Let a child begin. What it finds waits in its pipe, and when that is full, so does it."""
        if self._child is None:
            self._child = pool.take(self._source, self._options)

    def close(self) -> None:
        """Stop reading; the child is killed unless it has finished."""
        if self._child is not None:
            pool.give(self._child)
            self._child = None

    def __iter__(self) -> Iterator[Document | Failure]:
        try:
            yield from self._documents()
        except UnreadableSource as exc:
            yield Failure(uri=self._source.uri, reason=str(exc))
        except OSError as exc:
            reason = f"No parser can be started: {exc.strerror or exc}."
            yield Failure(uri=self._source.uri, reason=reason)
        finally:
            self.close()

    def _documents(self) -> Iterator[Document | Failure]:
        for _ in range(_TRIES):
            self.begin()
            assert self._child is not None
            try:
                for item in self._child.documents(self._options):
                    yield self._completed(item)
            except Gone:
                self.close()
                continue
            return
        raise UnreadableSource("The parser ended at once; check that this Python can be started.")

    def _completed(self, item: Document | Failure) -> Document | Failure:
        """With the metadata that the caller adds, which the child was not given."""
        added = self._options.metadata
        if isinstance(item, Failure) or not added:
            return item
        return clean_document(replace(item, metadata={**item.metadata, **added}))
