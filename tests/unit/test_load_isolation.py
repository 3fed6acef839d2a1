"""Parsers are processes of their own: what they do on bad days costs one file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pgrecall.load import LoadOptions, Source, load, read
from pgrecall.load.child import Child
from pgrecall.load.pool import Pool, pool
from pgrecall.types import Document, Failure

PAGE = "<html><body><p>some words</p></body></html>"


def pages(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{number:02}.html" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(PAGE.replace("some", f"page {number}"))
    return paths


def broken_by(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Let lxml, in the parsers that start from now on, do something else for files with EVIL."""
    package = folder / "evil"
    package.mkdir()
    (package / "sitecustomize_evil.py").write_text(
        textwrap.dedent("""
            import ctypes, os, signal, time
            from pgrecall.load import html
            kept = html.render
            def render(markup):
                if "EVIL" in markup:
                    BODY
                return kept(markup)
            html.render = render
        """).replace("BODY", body)
    )
    main = "import sys; sys.path[:] = sys.argv[1:]; import sitecustomize_evil; "
    monkeypatch.syspath_prepend(str(package))
    monkeypatch.setattr(
        "pgrecall.load.child._MAIN", main + "from pgrecall.load.parser import main; main()"
    )


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    pool.close()
    yield
    pool.close()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("ctypes.string_at(0)", "SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("os.abort()", "SIGABRT"),
        ("while True: pass", "parse_seconds"),
        ("time.sleep(600)", "parse_seconds"),
        ("bytearray(8 << 30)", "parse_memory"),
        ("os._exit(3)", "exit code 3"),
    ],
)
def test_a_bad_day_of_a_parser_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    broken_by(monkeypatch, tmp_path, body)
    paths = pages(tmp_path, 5)
    paths[2].write_text("<html><p>EVIL</p></html>")
    items = list(read(paths, LoadOptions(parse_seconds=1)))
    assert [isinstance(item, Document) for item in items] == [True, True, False, True, True]
    assert isinstance(items[2], Failure)
    assert reason in items[2].reason
    assert items[2].uri == str(paths[2])
    assert "\n" not in items[2].reason


def test_parsers_are_used_again(tmp_path: Path) -> None:
    pool.close()
    ballast = bytearray(500_000_000)  # the size of the parent is not a parser's
    list(read(pages(tmp_path, 3), LoadOptions(parsers=1)))
    before = [child.pid for child in pool._idle]
    list(read(pages(tmp_path, 20), LoadOptions(parsers=1)))
    assert len(before) == 1
    assert [child.pid for child in pool._idle] == before
    assert len(ballast) == 500_000_000


def test_a_parser_that_died_while_idle_is_replaced(tmp_path: Path) -> None:
    paths = pages(tmp_path, 2)
    list(read(paths))
    for child in pool._idle:
        os.kill(child.pid, signal.SIGKILL)
    time.sleep(0.1)
    assert all(isinstance(item, Document) for item in read(paths))


def test_a_reader_that_stops_leaves_nothing_behind(tmp_path: Path) -> None:
    items = read(pages(tmp_path, 10))
    next(items)
    items.close()  # type: ignore[attr-defined]  # it is a generator
    assert not pool._busy


def test_order_is_kept_and_light_files_stay_here(tmp_path: Path) -> None:
    paths = pages(tmp_path, 6)
    notes = [path.with_suffix(".md") for path in paths]
    for path in notes:
        path.write_text("# note\n\nwords")
    mixed = [path for pair in zip(paths, notes, strict=True) for path in pair]
    assert [item.uri for item in read(mixed)] == [str(path) for path in mixed]
    pool.close()
    list(read(notes))
    assert not pool._idle


def test_metadata_of_any_type_reach_the_documents(tmp_path: Path) -> None:
    options = LoadOptions(metadata={"path": tmp_path}, tenant_id="t", language="german")
    (item,) = read(pages(tmp_path, 1), options)
    assert isinstance(item, Document)
    assert (item.metadata, item.tenant_id) == ({"path": str(tmp_path)}, "t")
    assert item.language == "german"


def test_a_child_has_neither_sockets_nor_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGRECALL_DATABASE_URL", "postgresql://x:secret@y/z")
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        child = Child()
        process = psutil.Process(child.pid)
        # Read before Python clears it; a process that has just begun may not have it yet.
        child.begin(Source(uri="a.html", path=None, data=PAGE.encode()), LoadOptions())
        assert len(list(child.documents(LoadOptions()))) == 1
        assert "PGRECALL_DATABASE_URL" not in process.environ()
        os.close(writing)
        writing = -1
        assert os.read(reading, 1) == b""  # nobody else holds the other end
        child.close()
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_children_do_not_outlive_their_parent(tmp_path: Path, how: signal.Signals) -> None:
    (path,) = pages(tmp_path, 1)
    # From standard input: there is no __main__ that a child could import.
    code = f"""
import time
from pgrecall.load import read
from pgrecall.load.pool import pool
list(read([{str(path)!r}]))
print(*(child.pid for child in pool._idle), flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    parent.stdin.write(code.encode())
    parent.stdin.close()
    children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert children
    parent.send_signal(how)
    parent.wait()
    parent.stdout.close()
    assert parent.stderr is not None
    parent.stderr.close()
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() for child in children)


def test_a_forked_process_starts_its_own(tmp_path: Path) -> None:
    code = f"""
import os, sys
from pgrecall.load import read
first = list(read([{str(pages(tmp_path, 1)[0])!r}]))
pid = os.fork()
again = list(read([{str(tmp_path / "00.html")!r}]))
assert again == first, again
if pid:
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")


def test_within_threads_and_tasks(tmp_path: Path) -> None:
    paths = pages(tmp_path, 4)

    async def all_at_once() -> list[list[Document | Failure]]:
        reads = (asyncio.to_thread(lambda: list(read(paths))) for _ in range(4))
        return list(await asyncio.gather(*reads))

    results = asyncio.run(all_at_once())
    assert all(len(items) == 4 for items in results)
    assert all(isinstance(item, Document) for items in results for item in items)


def test_two_readers_of_one_thread_do_not_wait_for_each_other(tmp_path: Path) -> None:
    options = LoadOptions(parsers=1)
    paths = pages(tmp_path, 5)
    pairs = zip(read(paths, options), read(paths, options), strict=True)
    assert all(left == right for left, right in pairs)


def test_given_bytes(tmp_path: Path) -> None:
    data = PAGE.encode() + b" " * 3_000_000  # more than a pipe holds
    (item,) = load(Source(uri="a.html", path=None, data=data))
    assert isinstance(item, Document)
    assert item.text == "some words"


def test_a_pool_ends_its_children() -> None:
    own = Pool()
    child = own.take(Source(uri="a.html", path=None, data=PAGE.encode()), LoadOptions())
    own.close()
    assert not psutil.pid_exists(child.pid)
