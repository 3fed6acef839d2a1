"""Following a folder: what is saved, deleted and renamed is searchable a moment later."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import psycopg
import pytest

import pgrecall
from pgrecall import errors
from pgrecall.collection import Collection
from pgrecall.types import FloatArray, IngestReport
from tests.acceptance.conftest import command
from tests.embedders import TinyEmbedder

Reports = Queue[IngestReport]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    root.mkdir()
    (root / "olives.txt").write_text("Olives ripen in November.")
    return root


@pytest.fixture
def docs(database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        yield db.create_collection("docs", embedder=TinyEmbedder())


@contextmanager
def watching(docs: Collection, *sources: Path | str) -> Iterator[Reports]:
    reports: Reports = Queue()
    stop = threading.Event()

    def follow() -> None:
        for report in docs.watch(sources, stop=stop):
            reports.put(report)

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield reports
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def counts(report: IngestReport) -> tuple[int, int, int, int]:
    return report.new, report.changed, report.renamed, report.removed


def test_saving_deleting_renaming(docs: Collection, folder: Path) -> None:
    with watching(docs, folder) as reports:
        assert counts(reports.get(timeout=20)) == (1, 0, 0, 0)
        (folder / "new.txt").write_text("Figs are flowers.")
        assert counts(reports.get(timeout=20)) == (1, 0, 0, 0)
        # As editors save: into another file, which then takes the name.
        (folder / ".new.txt.swp").write_text("Figs are inverted flowers.")
        os.replace(folder / ".new.txt.swp", folder / "new.txt")
        report = reports.get(timeout=20)
        assert counts(report) == (0, 1, 0, 0)
        assert report.unchanged == 0, "only what changed is read"
        (folder / "new.txt").rename(folder / "figs.txt")
        report = reports.get(timeout=20)
        assert (counts(report), report.embedded) == ((0, 0, 1, 0), 0)
        (folder / "figs.txt").unlink()
        assert counts(reports.get(timeout=20)) == (0, 0, 0, 1)
    assert [hit.text for hit in docs.search("figs", mode="vector")] == ["Olives ripen in November."]


def test_a_folder_that_is_replaced_is_followed(docs: Collection, folder: Path) -> None:
    with watching(docs, folder) as reports:
        reports.get(timeout=20)
        other = folder.parent / "other"
        other.mkdir()
        (other / "figs.txt").write_text("Figs are flowers.")
        shutil.rmtree(folder)
        other.rename(folder)
        seen = [reports.get(timeout=20)]
        while seen[-1].new + sum(report.new for report in seen[:-1]) == 0:
            seen.append(reports.get(timeout=20))
        (folder / "figs.txt").write_text("Figs are inverted flowers.")
        while reports.get(timeout=20).changed == 0:
            continue


def test_single_files(docs: Collection, folder: Path) -> None:
    with watching(docs, folder / "olives.txt") as reports:
        reports.get(timeout=20)
        (folder / "other.txt").write_text("Nobody asked for this.")
        os.replace(folder / "other.txt", folder / "olives.txt")
        assert counts(reports.get(timeout=20)) == (0, 1, 0, 0)


def test_an_outage_is_waited_out(
    database_url: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embedder = Moody()
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=embedder)
        with watching(docs, folder) as reports:
            reports.get(timeout=20)
            embedder.down = True
            for number in range(4):
                (folder / f"{number}.txt").write_text(f"Number {number} is new.")
            assert reports.get(timeout=20).failed
            embedder.down = False
            while counts(reports.get(timeout=20))[0] == 0:
                continue
    assert len(docs_of(database_url)) == 5


class Moody(TinyEmbedder):
    """Fails while it is down."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        if self.down:
            raise errors.EmbeddingError("The provider is down.")
        return super().embed_documents(texts)


def docs_of(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        query = "SELECT uri FROM pgrecall.documents WHERE content_hash IS NOT NULL"
        return [row[0] for row in connection.execute(query)]


def test_what_cannot_be_watched_is_refused(docs: Collection, folder: Path) -> None:
    for source in ("-", "https://a.example/", folder / "no" / "such"):
        with pytest.raises(errors.UnreadableSource, match="cannot be watched"):
            docs.watch(source)


def test_awaited(database_url: str, folder: Path) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder())
            reports = docs.watch(folder)
            assert (await anext(reports)).new == 1
            (folder / "new.txt").write_text("Figs are flowers.")
            assert (await asyncio.wait_for(anext(reports), 20)).new == 1
            await reports.aclose()

    asyncio.run(main())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_the_command_stops_cleanly(
    number: signal.Signals, code: int, database_url: str, folder: Path
) -> None:
    process = subprocess.Popen(
        command("ingest", "--watch", folder, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PGRECALL_DATABASE_URL": database_url},
    )
    assert process.stdout is not None
    assert '"new": 1' in process.stdout.readline()
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "Traceback" not in said
