"""The main loop of a parser: a process that reads files for another one, within limits.

It ends with the process that it works for, however that ends: then its standard input ends, which a
thread waits for. It ends by itself when it has been idle for a while, or has grown.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import sys
from threading import Thread
from typing import BinaryIO

from pgrecall.load.dispatch import load_here
from pgrecall.load.options import LoadOptions
from pgrecall.load.source import Source
from pgrecall.load.wire import (
    END,
    RETIRE,
    TOO_MUCH,
    framed,
    item_to_bytes,
    job_from_frames,
    read_frame,
)
from pgrecall.longtext import in_memory

#: Seconds without work after which a parser ends.
_IDLE = 60
#: Memory is not always given back: a parser that has grown to so much makes room for a fresh one.
_GROWN_KB = 384 * 1024

Job = tuple[Source, LoadOptions]


def main() -> None:
    """Read jobs from standard input, write documents to standard output, until there are no more."""
    # Libraries may print; what they print must not come between the frames.
    output = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    stdin = os.fdopen(os.dup(0), "rb")
    os.dup2(null, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    jobs: queue.Queue[Job] = queue.Queue()
    Thread(target=_receive, args=(stdin, jobs), daemon=True).start()
    try:
        while _serve(jobs.get(timeout=_IDLE), output):
            pass
    except queue.Empty:
        pass
    except BrokenPipeError:
        pass  # nobody waits for the rest
    os._exit(0)


def _receive(stdin: BinaryIO, jobs: queue.Queue[Job]) -> None:
    try:
        while job := read_frame(stdin.read):
            jobs.put(job_from_frames(job, read_frame(stdin.read)))
        os._exit(0)
    finally:
        os._exit(1)


def _serve(job: Job, output: BinaryIO) -> bool:
    """Read one source. False: this process has had its time."""
    source, options = job
    _limit(options)

    def send(body: bytes) -> None:
        output.write(framed(body))
        output.flush()

    try:
        for item in load_here(source, options):
            send(item_to_bytes(in_memory(item)))
    except MemoryError:
        _soft(resource.RLIMIT_AS, resource.RLIM_INFINITY)
        send(TOO_MUCH)
        return False
    _soft(resource.RLIMIT_AS, resource.RLIM_INFINITY)  # the next job may be long
    grown = _kilobytes() > _GROWN_KB
    send(RETIRE if grown else END)
    return not grown


def _limit(options: LoadOptions) -> None:
    """Bounds on memory and processor time; beyond the latter the system ends the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + options.parse_seconds) + 1
    _soft(resource.RLIMIT_CPU, seconds)
    _soft(resource.RLIMIT_AS, options.parse_memory)


def _soft(which: int, value: int) -> None:
    _, hard = resource.getrlimit(which)
    bounded = hard if value == resource.RLIM_INFINITY else value
    bounded = bounded if hard == resource.RLIM_INFINITY else min(bounded, hard)
    try:
        resource.setrlimit(which, (bounded, hard))
    except (ValueError, OSError):
        # macOS does not limit the address space; the time is limited all the same.
        if sys.platform != "darwin":
            raise


def _kilobytes() -> int:
    """The most memory that this program has had."""
    # Not getrusage where there is this: it counts what the process was before it became this program,
    # a copy of a parent that may be large.
    with contextlib.suppress(OSError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak
