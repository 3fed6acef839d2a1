"""Killing whatever writes, again and again, while documents are replaced and readers search.

An ``Arena`` is a Postgres of its own with a folder of documents. ``round`` writes new versions of some of
them, starts a writer (a command of pgrecall), kills something at a random moment, brings the server back, and
holds the whole database against what may be in it: each document in a version that it had, none older than
what a finished run had stored. Readers search all the while, and hold each hit against the versions.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

import psutil
import psycopg

import pgrecall
from pgrecall import errors
from pgrecall.chunking import ChunkConfig
from pgrecall.store import migrate
from pgrecall.store.embedded import EmbeddedServer, status

Writer: TypeAlias = multiprocessing.process.BaseProcess
#: Processes of which each begins with everything imported, as no two threads share anything.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["pgrecall.cli", "pgrecall.database", "pgrecall.embed.static"])

#: The last document is longer than what is embedded and written at once.
DOCUMENTS, PARAGRAPHS, LONG = 24, 20, 600
CHUNKING = ChunkConfig(max_tokens=64, overlap_tokens=8)
SETTINGS = {"shared_buffers": "64MB", "maintenance_work_mem": "64MB"}
ROUND_LIMIT = 120.0
#: Seconds that a reader leaves to others between its questions.
PAUSE = 0.05

Commands = Callable[[Path], list[list[object]]]

#: What writes; given the folder, the arguments of commands of pgrecall, one after the other.
WRITERS: dict[str, Commands] = {
    "ingest": lambda tree: [["ingest", tree, "--quiet"]],
    "worker": lambda tree: [["ingest", tree, "--queue", "--quiet"], ["worker", "--drain"]],
}


def text(number: int, version: int) -> str:
    """A version of a document; every sentence says of which."""
    paragraphs = LONG if number == DOCUMENTS - 1 else PARAGRAPHS
    # Some paragraphs stay from version to version, so that vectors are used again.
    return "\n\n".join(
        f"Place{number} on day {day} saw {day * 13 % 89} boats of the kind "
        f"v{version if day % 3 else 0}x come back before the wind turned to {day * number % 16}."
        for day in range(paragraphs)
    )


def _pgrecall(commands: list[list[str]], url: str) -> None:
    """What a process of the writer does: the commands, and nothing else. The first that fails ends it."""
    from pgrecall.cli import main

    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os.environ["PGRECALL_DATABASE_URL"] = url
    for arguments in commands:
        sys.argv = ["pgrecall", *arguments]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise


class Arena:
    """A server, a folder, what is in it, and what happened."""

    def __init__(self, home: Path, tree: Path, *, seed: int, writer: str = "ingest") -> None:
        self.random = random.Random(seed)
        self.home, self.tree, self._commands = home, tree, WRITERS[writer]
        self.server = EmbeddedServer.start(home, settings=SETTINGS)
        migrate.upgrade(self.server.url)
        with pgrecall.connect(self.server.url) as db:
            db.create_collection("default", chunking=CHUNKING)
        #: The version on disk of each document, and the oldest that may still be stored.
        self.newest = dict.fromkeys(range(DOCUMENTS), 1)
        self.oldest = dict.fromkeys(range(DOCUMENTS), 1)
        self.kills: Counter[str] = Counter()
        self.answers = self.refused = 0
        self.faults: list[str] = []
        tree.mkdir()
        for number in range(DOCUMENTS):
            self._save(number)

    @property
    def url(self) -> str:
        return self.server.url

    def close(self) -> None:
        self.server.release()

    # Writing

    def write(self) -> Writer:
        """Start the writer."""
        commands = [[str(part) for part in command] for command in self._commands(self.tree)]
        process = _SERVER.Process(target=_pgrecall, args=(commands, self.url))
        process.start()
        return process

    def finish(self) -> None:
        """A run that nobody disturbs; what it stored must never be lost again."""
        process = self.write()
        process.join(ROUND_LIMIT)
        assert process.exitcode == 0
        self.oldest = dict(self.newest)

    def replace(self) -> list[int]:
        """New versions of some documents; which."""
        chosen = self.random.sample(range(DOCUMENTS), self.random.randint(5, DOCUMENTS))
        for number in chosen:
            self.newest[number] += 1
            self._save(number)
        return chosen

    def _save(self, number: int) -> None:
        (self.tree / f"place{number}.txt").write_text(text(number, self.newest[number]))

    # Killing

    def round(self) -> str:
        """New versions, a writer, and a kill in the midst of it; how it was killed."""
        chosen = self.replace()
        process = self.write()
        self._wait(process, chosen)
        way = self.random.choice(list(WAYS))
        WAYS[way](self, process)
        self._outlive(process)
        self.kills[way] += 1
        self._check_when_back()
        if self.random.random() < 0.2:
            self.finish()
            self.check()
        return way

    def _outlive(self, process: Writer) -> None:
        """Until the writer has ended. A worker waits for a database that has gone, so it is brought back."""
        until = time.monotonic() + ROUND_LIMIT
        while process.is_alive():
            assert time.monotonic() < until
            self._wait_for_server()
            process.join(0.5)

    def _wait(self, process: Writer, chosen: list[int]) -> None:
        """Until the writer is at work and has stored a random share of the new versions."""
        share = self.random.randint(0, len(chosen) - 1)
        uris = {f"%/place{n}.txt": self.newest[n] for n in chosen}
        until = time.monotonic() + ROUND_LIMIT
        with psycopg.connect(self.url, autocommit=True) as connection:
            while process.is_alive() and time.monotonic() < until:
                row = connection.execute(PROGRESS, [list(uris), [f"v{v}x" for v in uris.values()]])
                stored, busy = row.fetchone() or (0, False)
                if busy and stored >= share:
                    break
                time.sleep(0.005)
        time.sleep(self.random.random() * 0.05)

    def kill_client(self, process: Writer) -> None:
        process.kill()

    def kill_backend(self, process: Writer) -> None:
        """One process of Postgres: the others are stopped by it, and it recovers by itself."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            pids = [row[0] for row in connection.execute(BACKENDS).fetchall()]
        if pids:
            with suppress(ProcessLookupError):
                os.kill(self.random.choice(pids), signal.SIGKILL)

    def terminate_backend(self, process: Writer) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for (pid,) in connection.execute(BACKENDS).fetchall():
                connection.execute("SELECT pg_terminate_backend(%s)", [pid])

    def kill_postmaster(self, process: Writer) -> None:
        postmaster = psutil.Process(status(self.home).pid or 0)
        for victim in (postmaster, *postmaster.children()):
            with suppress(psutil.NoSuchProcess):
                victim.kill()

    def restart(self, process: Writer) -> None:
        """A stop as an administrator orders it, under load."""
        psutil.Process(status(self.home).pid or 0).send_signal(signal.SIGINT)

    def _check_when_back(self) -> None:
        """Postgres may take a moment to notice that a process of its own was killed."""
        until = time.monotonic() + ROUND_LIMIT
        while True:
            self._wait_for_server()
            try:
                return self.check()
            except errors.DatabaseUnavailable:
                assert time.monotonic() < until

    def _wait_for_server(self) -> None:
        until = time.monotonic() + ROUND_LIMIT
        while True:
            with suppress(psycopg.OperationalError):
                psycopg.connect(self.url).close()
                return
            assert time.monotonic() < until
            if not status(self.home).running:
                old, self.server = self.server, EmbeddedServer.start(self.home, settings=SETTINGS)
                old.release()
            time.sleep(0.02)

    # Judging

    def check(self) -> None:
        """The database is whole, and nothing in it is lost, doubled or older than it may be."""
        with pgrecall.connect(self.url) as db:
            found = db.verify()
            docs = db.collection("default")
            assert found.found == 0, found.problems
            assert found.documents == DOCUMENTS
            for number in range(DOCUMENTS):
                stored = docs.document(self._uri(number)).text
                versions = range(self.oldest[number], self.newest[number] + 1)
                assert stored in {text(number, version) for version in versions}
        assert not self.faults, self.faults[:5]

    def _uri(self, number: int) -> str:
        return str(self.tree / f"place{number}.txt")

    @contextmanager
    def readers(self, count: int = 2) -> Iterator[None]:
        """Threads that search while the block runs."""
        stop = threading.Event()
        threads = [threading.Thread(target=self._read, args=(n, stop)) for n in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _read(self, seed: int, stop: threading.Event) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            try:
                with pgrecall.connect(self.url) as db:
                    docs = db.collection("default")
                    while not stop.wait(PAUSE):
                        self._ask(docs, chance.randrange(DOCUMENTS))
            except errors.DatabaseError:
                self.refused += 1
                stop.wait(0.1)
            except Exception as exc:
                self.faults.append(repr(exc))
                return

    def _ask(self, docs: pgrecall.Collection, number: int) -> None:
        # On their way meanwhile: the folder is one version ahead of the database at most.
        highest = self.newest[number] + 1
        for mode in ("text", "hybrid"):
            hits = docs.search(
                f"Place{number} boats wind", k=8, mode=mode, uri_prefix=self._uri(number)
            )
            if not hits:
                self.faults.append(f"a gap: {mode} finds nothing of place {number}")
            # All that one search returns of a document is of one version.
            versions = _versions(number, highest)
            if not any(all(t[h.start : h.end] == h.text for h in hits) for t in versions.values()):
                self.faults.append(f"a mixture: {[(h.start, h.text[:60]) for h in hits]}")
        context = docs.context(f"Place{number} boats", max_tokens=600, uri_prefix=self._uri(number))
        for cited in context.citations:
            if not any(t[cited.start : cited.end] == cited.quote for t in versions.values()):
                self.faults.append(f"a quote of no version: {cited.quote[:80]}")
        self.answers += 3


def storm(home: Path, tree: Path, *, kills: int, seed: int, writer: str = "ingest") -> Arena:
    """So many rounds, with readers; raises AssertionError if something is lost, doubled or mixed."""
    arena = Arena(home, tree, seed=seed, writer=writer)
    try:
        arena.finish()
        with arena.readers():
            for _ in range(kills):
                arena.round()
                print(sum(arena.kills.values()), dict(arena.kills), arena.answers, flush=True)
        arena.finish()
        arena.check()
    finally:
        arena.close()
    return arena


_RENDERED: dict[int, dict[int, str]] = {}


def _versions(number: int, highest: int) -> Mapping[int, str]:
    known = _RENDERED.setdefault(number, {})
    for version in range(1, highest + 1):
        if version not in known:
            known[version] = text(number, version)
    return dict(known)


WAYS: dict[str, Callable[[Arena, Writer], None]] = {
    "client": Arena.kill_client,
    "backend": Arena.kill_backend,
    "terminated": Arena.terminate_backend,
    "postmaster": Arena.kill_postmaster,
    "restart": Arena.restart,
}

#: How many of these documents hold their word, and whether somebody writes.
PROGRESS = """
    SELECT (SELECT count(*) FROM unnest(%s::text[], %s::text[]) AS n (pattern, word)
              JOIN pgrecall.documents AS d ON d.uri LIKE n.pattern
             WHERE strpos(d.text, n.word) > 0),
           EXISTS (SELECT FROM pg_locks WHERE relation = 'pgrecall.documents'::regclass
                      AND mode = 'RowExclusiveLock' AND pid <> pg_backend_pid())
"""
BACKENDS = """
    SELECT pid FROM pg_stat_activity
     WHERE application_name = 'pgrecall' AND datname = current_database()
       AND pid <> pg_backend_pid()
"""


if __name__ == "__main__":
    # python -m tests.acceptance.kills [KILLS] [SEED] [ingest|worker]
    number, chance, wanted = [*sys.argv[1:], *["100", "1", "ingest"][len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        home, tree = Path(folder, "home"), Path(folder, "tree")
        done = storm(home, tree, kills=int(number), seed=int(chance), writer=wanted)
        print(dict(done.kills), f"{done.answers} answers, {time.monotonic() - began:.0f} s")
