"""Staying in step with files: what has gone is removed, what was renamed is not embedded again."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgrecall
from pgrecall import Document, LoadOptions, errors
from pgrecall.collection import Collection
from pgrecall.ingest.sync import UNSURE
from tests.embedders import TinyEmbedder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    (root / "deep").mkdir(parents=True)
    (root / "olives.txt").write_text("Olives ripen in November.")
    (root / "quinces.txt").write_text("A quince is hard and sour.")
    (root / "deep" / "figs.md").write_text("# Figs\n\nFigs are inverted flowers.")
    (root / "rows.jsonl").write_text(rows("plum", "pear", "https://a.example/apple"))
    return root


def rows(*names: str) -> str:
    return "".join(json.dumps({"id": name, "text": f"The {name} row."}) + "\n" for name in names)


@pytest.fixture
def docs(database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        yield db.create_collection("docs", embedder=TinyEmbedder())


def uris(docs: Collection) -> set[str]:
    hits = docs.search("the", k=100, mode="vector")
    return {hit.uri.rpartition("/")[2] for hit in hits}


EVERYTHING = {"olives.txt", "quinces.txt", "figs.md", "rows.jsonl#plum", "rows.jsonl#pear", "apple"}


def test_what_has_gone_is_removed_and_nothing_else(docs: Collection, folder: Path) -> None:
    given = Document(uri=f"{folder}/given.txt", text="The given one came from elsewhere.")
    docs.ingest([given])
    docs.ingest(folder, options=LoadOptions(tenant_id="other"))
    assert docs.ingest(folder, sync=True).removed == 0
    (folder / "olives.txt").unlink()
    shutil.rmtree(folder / "deep")
    (folder / "rows.jsonl").write_text(rows("plum"))
    report = docs.ingest(folder, sync=True)
    assert (report.removed, report.unchanged, report.failed) == (4, 2, [])
    mine = docs.search("the", k=100, mode="vector", tenant_id="")
    assert {hit.uri.rpartition("/")[2] for hit in mine} == {
        "quinces.txt",
        "rows.jsonl#plum",
        "given.txt",
    }
    assert uris(docs) == EVERYTHING | {"given.txt"}, "the other tenant's are there"


def test_without_sync_nothing_is_removed(docs: Collection, folder: Path) -> None:
    docs.ingest(folder)
    (folder / "olives.txt").unlink()
    assert docs.ingest(folder).removed == 0
    assert uris(docs) == EVERYTHING


def test_renamed_files_keep_their_vectors(database_url: str, folder: Path) -> None:
    embedder = TinyEmbedder()
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=embedder)
        docs.ingest(folder)
        embedder.seen.clear()
        (folder / "olives.txt").rename(folder / "harvest.txt")
        (folder / "deep").rename(folder / "deeper")
        report = docs.ingest(folder, sync=True)
        assert (report.renamed, report.new, report.removed, report.embedded) == (2, 0, 0, 0)
        assert embedder.seen == []
        assert docs.document(f"{folder}/harvest.txt").title == "harvest"
        assert uris(docs) == EVERYTHING - {"olives.txt"} | {"harvest.txt"}
        assert docs.ingest(folder, sync=True).unchanged == 6


def test_a_copy_is_no_rename(docs: Collection, folder: Path) -> None:
    docs.ingest(folder)
    shutil.copy(folder / "olives.txt", folder / "copy.txt")
    report = docs.ingest(folder, sync=True)
    assert (report.new, report.renamed, report.removed) == (1, 0, 0)


@pytest.mark.parametrize("way", ["emptied", "unmounted"])
def test_a_source_that_seems_empty_keeps_its_documents(
    way: str, docs: Collection, folder: Path
) -> None:
    docs.ingest(folder)
    shutil.rmtree(folder)
    if way == "emptied":
        folder.mkdir()
    report = docs.ingest(folder, sync=True)
    assert (report.removed, len(report.failed)) == (0, 1)
    assert uris(docs) == EVERYTHING
    if way == "emptied":
        assert any("--allow-empty" in note for _, note in report.notes)
        report = docs.ingest(folder, sync=True, allow_empty=True)
        assert (report.removed, report.failed) == (6, [])
        assert uris(docs) == set()
        assert docs.status().failed == 0


def test_what_cannot_be_read_has_not_gone(docs: Collection, folder: Path) -> None:
    docs.ingest(folder)
    (folder / "olives.txt").write_bytes(b"\x7fELF" + bytes(100))
    (folder / "rows.jsonl").write_text(rows("plum") + "{broken\n")
    (folder / "quinces.txt").unlink()
    report = docs.ingest(folder, sync=True)
    assert (report.removed, len(report.failed)) == (1, 2)
    assert uris(docs) == EVERYTHING - {"quinces.txt"}
    assert report.notes == [(str(folder), UNSURE.format(3))]
    (folder / "rows.jsonl").write_text(rows("plum"))
    assert docs.ingest(folder, sync=True).removed == 2


def test_a_folder_that_cannot_be_read_has_not_gone(docs: Collection, folder: Path) -> None:
    docs.ingest(folder)
    shutil.rmtree(folder / "deep")
    (folder / "deep").symlink_to(folder)  # a circle: refused
    report = docs.ingest(folder, sync=True)
    assert (report.removed, len(report.failed)) == (0, 1)


def test_single_files_and_globs(docs: Collection, folder: Path) -> None:
    docs.ingest(folder)
    (folder / "rows.jsonl").write_text(rows("plum"))
    (folder / "olives.txt").unlink()
    (folder / "deep" / "figs.md").unlink()
    (folder / "deep" / "dates.md").write_text("# Dates\n\nDates are sweet.")
    assert docs.ingest(folder / "rows.jsonl", sync=True).removed == 2
    assert docs.ingest(f"{folder}/**/*.md", sync=True).removed == 1
    assert uris(docs) == {"rows.jsonl#plum", "olives.txt", "quinces.txt", "dates.md"}
    missing = docs.ingest(folder / "olives.txt", sync=True)
    assert (missing.removed, len(missing.failed)) == (0, 1), "a missing file may be a slip"


def test_what_cannot_be_kept_in_step_is_refused(docs: Collection) -> None:
    with pytest.raises(errors.InvalidArgument, match="Standard input"):
        docs.ingest("-", sync=True)
    with pytest.raises(errors.InvalidArgument, match="no source"):
        docs.ingest([Document(uri="a", text="b")], sync=True)


def test_awaited(database_url: str, folder: Path) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder())
            await docs.ingest(folder)
            os.rename(folder / "olives.txt", folder / "harvest.txt")
            (folder / "quinces.txt").unlink()
            report = await docs.ingest(folder, sync=True)
            assert (report.removed, report.renamed, report.embedded) == (1, 1, 0)

    asyncio.run(main())
