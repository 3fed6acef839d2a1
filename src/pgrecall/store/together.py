"""Two flows at the same time, each on a connection of its own: what one core does, while another is free."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from threading import Lock
from typing import Any

from psycopg import Connection

from pgrecall.errors import DatabaseError
from pgrecall.flow import Flow, OnEach, Step, run, run_async
from pgrecall.store.session import AsyncSession, Row, Session


def together(flow: Flow[Any], other: Flow[Any]) -> Generator[Step, Any, None]:
    """Run two flows that do not wait for each other. When the first fails, the other is cut off."""
    yield Together(flow, other)


@dataclass(frozen=True, slots=True)
class Together:
    """One after the other where connections are the caller's: those may be few, and are wanted back soon."""

    flow: Flow[Any]
    other: Flow[Any]

    def perform(self, session: Any) -> None:
        """Blocking, the other in a thread."""
        if type(session) is not Session:
            run(self.flow, session)
            run(self.other, session)
            return
        beside = _Stoppable(session)
        with ThreadPoolExecutor(1) as pool:
            # In the caller's context, which tasks inherit by themselves.
            begun = pool.submit(copy_context().run, run, self.other, beside)
            try:
                run(self.flow, session)
                begun.result()
            except BaseException:
                # Ctrl-C too: a thread would go on until its statement ends, which may take minutes.
                beside.stop()
                raise

    async def perform_async(self, session: Any) -> None:
        """Awaiting, each in a task."""
        if type(session) is AsyncSession:
            await OnEach(session, (self.flow, self.other)).perform_async(session)
            return
        await run_async(self.flow, session)
        await run_async(self.other, session)


class _Stoppable:
    """The session of a thread that somebody else may stop."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._lock = Lock()
        self._stopped = False
        self._used: Connection[Row] | None = None

    @contextmanager
    def connection(self) -> Iterator[Connection[Row]]:
        """A connection for one step."""
        with self._session.connection() as connection:
            with self._lock:
                if self._stopped:
                    raise DatabaseError("It was stopped, since what ran beside it was.")
                self._used = connection
            try:
                yield connection
            finally:
                with self._lock:
                    self._used = None

    def stop(self) -> None:
        """Cancel what runs, and begin nothing more."""
        with self._lock:
            self._stopped = True
            if self._used is not None:
                self._used.cancel_safe(timeout=5.0)
