"""A parser as seen from this process: a child that is started, asked, waited for and killed."""

from __future__ import annotations

import contextlib
import multiprocessing.spawn
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

from pgrecall.errors import UnreadableSource
from pgrecall.load.options import LoadOptions
from pgrecall.load.source import Source
from pgrecall.load.wire import END, RETIRE, TOO_MUCH, item_from_bytes, job_to_frames, read_frame
from pgrecall.types import Document, Failure

_MAIN = "import sys; sys.path[:] = sys.argv[1:]; from pgrecall.load.parser import main; main()"
#: What a parser needs of the environment. Passwords and keys are not among it.
_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH")
_PREFIXES = ("LC_", "PYTHON", "TESSDATA", "SYSTEMROOT")


class Gone(Exception):
    """The child ended before it took the job: another one may take it."""


class Child:
    """A process that parses one source at a time."""

    def __init__(self) -> None:
        # By fork and exec, which is safe beside threads, without __main__, and with no descriptor
        # but three; in a session of its own, so that Ctrl-C is this process's to handle.
        self._process = subprocess.Popen(
            [python(), "-I", "-c", _MAIN, *search_path()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
            env=environment(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._poll = select.poll()
        self._poll.register(self._stdout, select.POLLIN)
        self._allowed = 0.0
        self.busy = False
        #: False after the last job: the process has gone, or is about to.
        self.reusable = True

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def begin(self, source: Source, options: LoadOptions) -> None:
        """Hand a source over. Raises Gone if the process had ended."""
        self.busy = True
        self._allowed = options.parse_seconds * 2  # waiting, besides its processor time
        left = memoryview(job_to_frames(source, options))
        try:
            while left:
                left = left[os.write(self._stdin.fileno(), left) :]
        except BrokenPipeError as exc:
            raise Gone from exc

    def documents(self, options: LoadOptions) -> Iterator[Document | Failure]:
        """What the source holds.

        Raises UnreadableSource if the process crashed or came up against a limit, Gone if it had
        ended before.
        """
        while (body := self._frame(options)) not in (END, RETIRE):
            if body == TOO_MUCH:
                self.reusable = False
                raise UnreadableSource(_over_memory(options))
            yield item_from_bytes(body)
        self.busy = False
        self.reusable = body == END

    def close(self) -> None:
        """End the process, whatever it does, and wait until it is gone."""
        self.reusable = False
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    def disown(self) -> None:
        """After a fork: the process belongs to the parent; only let go of its pipes."""
        self._stdin.close()
        self._stdout.close()
        self._process.returncode = 0

    def _frame(self, options: LoadOptions) -> bytes:
        try:
            return read_frame(lambda count: self._read(count, options))
        except EOFError as exc:
            self.reusable = False
            raise self._end(options) from exc

    def _read(self, count: int, options: LoadOptions) -> bytes:
        if count > options.parse_memory:  # no parser that is whole says that
            self.close()
            raise UnreadableSource("The parser crashed on the file; repair it, or leave it out.")
        parts: list[bytes] = []
        while count:
            began = time.monotonic()
            if not self._poll.poll(max(self._allowed, 0.0) * 1000):
                self.close()
                raise UnreadableSource(_over_time(options))
            self._allowed -= time.monotonic() - began
            part = os.read(self._stdout.fileno(), min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _end(self, options: LoadOptions) -> Exception:
        """Why the process ended."""
        code = self._process.wait()
        if code == 0:
            return Gone()
        if code == -signal.SIGXCPU:
            return UnreadableSource(_over_time(options))
        how = f"exit code {code}" if code > 0 else _signal_name(-code)
        if code == -signal.SIGABRT:  # what libraries in C++ do when they get no memory
            how += f", perhaps for want of parse_memory, {options.parse_memory:,} bytes"
        return UnreadableSource(
            f"The parser crashed on the file ({how}); repair it, or leave it out."
        )


def _over_time(options: LoadOptions) -> str:
    return (
        f"Reading the file took more than parse_seconds ({options.parse_seconds:g}); "
        "raise the limit, or leave it out."
    )


def _over_memory(options: LoadOptions) -> str:
    return (
        f"Reading the file took more than parse_memory ({options.parse_memory:,} bytes); "
        "raise the limit, or leave it out."
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def python() -> str:
    """The interpreter to start a child with."""
    # sys.executable is something else in servers that embed Python; this can be set for them.
    return os.fsdecode(multiprocessing.spawn.get_executable() or sys.executable)


def search_path() -> list[str]:
    """Where a child finds the modules that this process has."""
    return [os.path.abspath(path) for path in sys.path if isinstance(path, str)]


def environment() -> dict[str, str]:
    """What a child gets to know of the environment."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _ENVIRONMENT or name.startswith(_PREFIXES)
    }
