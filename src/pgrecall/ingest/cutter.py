"""The documents of a run on their way into chunks: cut here, and by a process beside this one if it is long."""

from __future__ import annotations

import atexit
import os
import subprocess
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing import Pipe
from threading import Lock

from pgrecall import telemetry
from pgrecall.cutting import Cut, Task
from pgrecall.embed.base import TakesTokenIds
from pgrecall.ingest.chunks import TRACED, chunk
from pgrecall.ingest.job import Group, Ingestion, Lane
from pgrecall.load.child import environment, python, search_path
from pgrecall.load.pool import AVAILABLE
from pgrecall.longtext import LongDocument, length_of
from pgrecall.store.prepared import Prepared
from pgrecall.tokens import open_tokenizer

_MAIN = "import sys; sys.path[:] = sys.argv[2:]; from pgrecall.cutting import main; main(int(sys.argv[1]))"
#: Tokenizers that the other process has at hand.
SHIPPED = ("wordllama", "cl100k_base", "o200k_base")
#: Characters of text after which a run counts as long: three times that is cut while a process starts.
LONG_RUN = 500_000
#: Documents that stay with the other process while the next are asked for, so that it has work meanwhile.
KEPT = 16
#: Seconds in which an answer must come; a text has at most TRACED characters, which take less than one.
PATIENCE = 60


class Ended(Exception):
    """The other process has gone, or does not answer."""


class Cutter:
    """The other process."""

    def __init__(self, tokenizer: str) -> None:
        self._link, theirs = Pipe()
        # By fork and exec, as the parsers are (``load.child``).
        with theirs:
            self._process = subprocess.Popen(
                [python(), "-I", "-c", _MAIN, str(theirs.fileno()), *search_path()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
                env=environment(),
            )
        self.tokenizer = tokenizer
        self._ready = False
        #: Texts that it was given, and those that it has answered.
        self.given = self.answered = 0

    def ready(self) -> bool:
        """Whether it has started, and opened its tokenizer. Raises Ended."""
        if self._process.poll() is not None:
            raise Ended
        if not self._ready:
            if not self.given:
                self.give(Task(text="One text.", tokenizer=self.tokenizer))
            if not self._link.poll():
                return False
            self.take()
            self._ready = True
        return True

    def give(self, task: Task) -> None:
        """Hand a text over. Raises Ended."""
        try:
            self._link.send(task)
        except OSError as exc:
            raise Ended from exc
        self.given += 1

    def take(self) -> Cut | None:
        """The answer to the oldest text that has none; None if it could not be cut. Raises Ended."""
        try:
            if not self._link.poll(PATIENCE):
                raise Ended
            answer: Cut | None = self._link.recv()
        except (EOFError, OSError) as exc:
            raise Ended from exc
        self.answered += 1
        return answer

    @property
    def idle(self) -> bool:
        """Whether no text of a run is with it; it may still be starting."""
        return self.given == self.answered or not self._ready

    def close(self) -> None:
        """End it, and wait until it has gone."""
        self.disown()
        self._process.kill()
        self._process.wait()

    def disown(self) -> None:
        """After a fork: it belongs to the parent; only let go of the link."""
        self._link.close()


class _Spare:
    """The process of the last run, which the next one may have. It ends by itself when it has been idle."""

    def __init__(self) -> None:
        self._empty()

    def _empty(self) -> None:
        self._lock = Lock()
        self._cutter: Cutter | None = None

    def take(self, tokenizer: str) -> Cutter | None:
        """The spare one, if it has this tokenizer and is still there; it may still be starting."""
        with self._lock:
            cutter, self._cutter = self._cutter, None
        if cutter is None:
            return None
        with suppress(Ended):
            cutter.ready()
            if cutter.tokenizer == tokenizer:
                return cutter
        cutter.close()
        return None

    def give(self, cutter: Cutter | None) -> None:
        """Keep one; the one that was kept is ended."""
        with self._lock:
            cutter, self._cutter = self._cutter, cutter
        if cutter is not None:
            cutter.close()

    def forget(self) -> None:
        """In a process that was forked: the other process is not its own."""
        if self._cutter is not None:
            self._cutter.disown()
        # The lock too: it may be held by a thread that is not here.
        self._empty()


spare = _Spare()
if AVAILABLE:
    atexit.register(spare.give, None)
    os.register_at_fork(after_in_child=spare.forget)


class Cutting:
    """What waits to be chunked, in order."""

    def __init__(self, job: Ingestion) -> None:
        self._job = job
        #: Each with whether the other process has it.
        self._waiting: deque[tuple[Prepared, bool]] = deque()
        tokenizer = job.embedder.tokenizer
        shipped = tokenizer.name in SHIPPED and open_tokenizer(tokenizer.name) is tokenizer
        #: Whether there may be another process; not once one has ended before its time.
        self._allowed = AVAILABLE and _cores() > 1 and shipped
        self._cutter = spare.take(tokenizer.name) if self._allowed else None
        #: Of the texts that were met, and whether the other process has had some of them.
        self._characters = 0
        self._begun = False

    def add(self, items: Iterable[Prepared]) -> None:
        """More documents. The other process begins at once."""
        new = list(items)
        self._characters += sum(length_of(item.document) for item in new)
        self._waiting.extend((item, self._give(item)) for item in new)

    def fill(self, group: Group, *, last: bool = False) -> bool:
        """Chunk documents into the group: True when it is full, False when more should be added.

        ``last``: no more will be.
        """
        before = len(group.items)
        with telemetry.stage("chunk") as span:
            full = self._fill(group, last)
            span.set({"pgrecall.documents": len(group.items) - before})
        return full

    def _fill(self, group: Group, last: bool) -> bool:
        while self._waiting:
            if not self._begun:
                self._begin()
            item, given = self._waiting[0]
            if given and not last and len(self._waiting) <= KEPT:
                return False
            self._cut(item, given)
            self._waiting[0] = item, False
            if not group.takes(item):
                return True
            group.add(item)
            self._waiting.popleft()
        return False

    def _begin(self) -> None:
        """Hand over what waits, once the other process has started: it was added before that."""
        try:
            self._begun = self._ready() is not None
        except Ended:
            self._lose()
        if self._begun:
            self._waiting = deque(
                (item, given or self._give(item)) for item, given in self._waiting
            )

    def _cut(self, item: Prepared, given: bool) -> None:
        if item.chunks or item.refused:
            return
        answer = self._answer() if given else None
        if answer is None:
            chunk(self._job, item)
            return
        item.chunks = answer.chunks(item.document.text)
        item.hashes = answer.hashes
        self._job.report.cut += len(item.chunks)

    def _give(self, item: Prepared) -> bool:
        lane, document = self._job.lane, item.document
        # A long text would be in memory twice, and a longer one is in memory nowhere.
        long = isinstance(document, LongDocument) or len(document.text) > TRACED
        if document.media is not None or long or item.chunks:
            return False
        try:
            cutter = self._ready()
            if cutter is None or lane.embedder.tokenizer.name != cutter.tokenizer:
                return False
            item.generation = lane.generation
            cutter.give(_task(lane, item))
        except Ended:
            self._lose()
            return False
        return True

    def _ready(self) -> Cutter | None:
        if self._cutter is None and self._allowed and self._characters >= LONG_RUN:
            try:
                self._cutter = Cutter(self._job.embedder.tokenizer.name)
            except OSError:
                self._allowed = False
        return self._cutter if self._cutter is not None and self._cutter.ready() else None

    def _answer(self) -> Cut | None:
        if self._cutter is None:
            return None
        try:
            return self._cutter.take()
        except Ended:
            self._lose()
            return None

    def _lose(self) -> None:
        """Go on without the other process."""
        self._allowed = False
        if self._cutter is not None:
            self._cutter.close()
            self._cutter = None

    def close(self) -> None:
        """The run is over, whether or not all was chunked."""
        if self._cutter is not None and self._cutter.idle:
            spare.give(self._cutter)
            self._cutter = None
        self._lose()


def _task(lane: Lane, item: Prepared) -> Task:
    return Task(
        text=item.document.text,
        config=lane.chunking,
        tokenizer=lane.embedder.tokenizer.name,
        markup=item.markup,
        title=item.embedded_title,
        token_ids=isinstance(lane.embedder, TakesTokenIds),
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
