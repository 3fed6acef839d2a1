"""Long text files: read, cut, embedded and stored in parts, with the same result as in one piece."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

import pgrecall
from pgrecall import ChunkConfig, Collection, Document
from tests.driving import rows
from tests.embedders import TinyEmbedder
from tests.unit.test_longtext import files_of_at_most

CHUNKING = ChunkConfig(max_tokens=128, overlap_tokens=16)
CUTS = """
    SELECT c.ordinal, c.start_offset, c.end_offset, c.token_count, c.header, c.content, c.content_hash
      FROM pgrecall.chunks c JOIN pgrecall.documents d USING (tenant_id, document_id)
      JOIN pgrecall.collections l USING (collection_id)
     WHERE l.name = %s ORDER BY c.ordinal
"""


@pytest.fixture(autouse=True)
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long is what is longer than this: the law is the same, and the tests are shorter."""
    monkeypatch.setattr("pgrecall.load.text.LONG", 50_000)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """More than a window, with line ends and characters that are not stored as they are."""
    paragraphs = (
        f"In place {n}, on day {n * 7 % 365}, {n * n % 97} boats went out.\r\nŻółw {n} saw them\0 come "
        f"back with {n * 13 % 89} baskets of fish, before the wind turned to {n % 16}."
        for n in range(2_000)
    )
    path = tmp_path / "boats.txt"
    path.write_bytes("\n\n".join(paragraphs).encode())
    return path


def text_of(file: Path) -> str:
    return file.read_bytes().decode().replace("\r\n", "\n").replace("\0", "")


def test_the_result_is_that_of_the_whole_text(database_url: str, file: Path) -> None:
    text = text_of(file)
    with pgrecall.connect(database_url) as db:
        parts, whole = (
            db.create_collection(name, embedder=TinyEmbedder(name=name), chunking=CHUNKING)
            for name in ("parts", "whole")
        )
        report = parts.ingest(file)
        whole.ingest(Document(uri="boats.txt", text=text, title="boats"))
        assert (report.new, report.failed) == (1, [])
        assert report.chunks == report.embedded > 512
        assert [note for _, note in report.notes] == ["removed 2,000 NUL characters"]
        assert parts.document(str(file)).text == text
        assert rows(database_url, CUTS, "parts") == rows(database_url, CUTS, "whole")
        assert rows(database_url, "SELECT count(*) FROM pgrecall.text_parts") == [(0,)]
        assert rows(database_url, "SELECT count(*) FROM pgrecall.paid_vectors") == [(0,)]
        assert db.verify().healthy
        (hit,) = parts.search("Żółw 1234", k=1, mode="text")
        assert text[hit.start : hit.end] == hit.text
        assert parts.ingest(file).unchanged == 1
        # The same text, whichever way it comes: as it is stored, it need not be stored again.
        assert parts.ingest(parts.document(str(file))).unchanged == 1


def test_an_edit_embeds_what_it_touched(database_url: str, file: Path) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=CHUNKING)
        docs.ingest(file)
        file.write_text(text_of(file).replace("In place 1200,", "Nowhere else,"))
        report = docs.ingest(file)
        assert report.changed == 1
        assert 0 < report.embedded <= 4
        assert "Nowhere else," in docs.document(str(file)).text


def test_a_renamed_file_keeps_its_vectors(database_url: str, file: Path) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=CHUNKING)
        docs.ingest(file.parent, sync=True)
        file.rename(file.with_name("ships.txt"))
        report = docs.ingest(file.parent, sync=True)
        assert (report.renamed, report.embedded) == (1, 0)


def test_what_fails_leaves_the_old_version(database_url: str, file: Path) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=CHUNKING)
        docs.ingest(file)
        text = text_of(file)
        file.write_text(text + "\n\nOne more.")
        with psycopg.connect(database_url, autocommit=True) as connection:
            # The chunks cannot be written: by then the new text is in its row.
            connection.execute(
                "ALTER TABLE pgrecall.chunks ADD CONSTRAINT refused CHECK (ordinal < 520) NOT VALID"
            )
        (failure,) = docs.ingest(file).failed
        assert "refused" in failure.reason
        assert docs.document(str(file)).text == text
        assert rows(database_url, "SELECT count(*) FROM pgrecall.text_parts") == [(0,)]
        assert [problem.kind for problem in db.verify().problems] == []


def test_awaited(database_url: str, file: Path) -> None:
    async def ingest() -> tuple[int, str]:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder(), chunking=CHUNKING)
            report = await docs.ingest(file)
            return report.new, (await docs.document(str(file))).text

    assert asyncio.run(ingest()) == (1, text_of(file))


def test_a_plan_says_what_will_be(database_url: str, file: Path) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=CHUNKING)
        plan = docs.plan(file)
        report = docs.ingest(file)
        assert (plan.new, plan.chunks, plan.embedded) == (1, report.chunks, report.embedded)
        assert plan.tokens == report.tokens


def test_what_is_handed_over_is_whole(database_url: str, file: Path) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=CHUNKING)
        docs.enqueue(file)
        assert rows(database_url, "SELECT text FROM pgrecall.queue") == [(text_of(file),)]


def test_markdown_too(database_url: str, tmp_path: Path) -> None:
    sections = (
        f"## Day {n}\n\nIn place {n}, {n * n % 97} boats went out, before the wind turned.\n\n"
        f"```\n# no heading {n}\n```\n\n### Catch\n\n| fish | n |\n|---|---|\n| cod | {n} |\n"
        for n in range(1_500)
    )
    body = "# The log\n\n" + "\n".join(sections)
    path = tmp_path / "log.md"
    path.write_text(f"---\nship: Anna\n---\n\n{body}", encoding="utf-16")
    with pgrecall.connect(database_url) as db:
        parts, whole = (
            db.create_collection(name, embedder=TinyEmbedder(name=name), chunking=CHUNKING)
            for name in ("parts", "whole")
        )
        report = parts.ingest(path)
        assert (report.new, report.chunks > 512) == (1, True)
        assert [note for _, note in report.notes] == ["read as utf-16"]
        whole.ingest(Document(uri="log.md", text=body, title="The log", markup="markdown"))
        found = parts.document(str(path))
        assert (found.text, found.title, found.metadata) == (body, "The log", {"ship": "Anna"})
        assert rows(database_url, CUTS, "parts") == rows(database_url, CUTS, "whole")
        (hit,) = parts.search("Day 1234 Catch", k=1, mode="text")
        assert hit.headings[0] == "The log"


def test_a_full_disk_costs_that_file(database_url: str, file: Path) -> None:
    other = file.with_name("short.txt")
    other.write_text("Another file.")
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=CHUNKING)
        docs.ingest(file)
        text = text_of(file)
        file.write_text(text + "\n\nOne more.")
        # There is room for the text, and none for its chunks.
        with files_of_at_most(len(text.encode()) + 100):
            plan = docs.plan([file, other])
            report = docs.ingest([file, other])
        assert [failure.reason for failure in plan.failed] == [report.failed[0].reason]
        assert "TMPDIR" in report.failed[0].reason
        assert (report.new, report.changed, len(report.failed)) == (1, 0, 1)
        assert docs.document(str(file)).text == text
        kept = "SELECT uri FROM pgrecall.documents WHERE error IS NOT NULL"
        assert rows(database_url, kept) == [(str(file),)]
        assert docs.ingest(file.parent).changed == 1


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252", "utf-8-sig"])
def test_any_encoding(database_url: str, tmp_path: Path, encoding: str) -> None:
    text = "Der Bär und das Öl. Schließ die Tür. " * 3_000 + "Ende."
    path = tmp_path / "pangram.txt"
    path.write_bytes(text.encode(encoding))
    with pgrecall.connect(database_url) as db:
        docs: Collection = db.create_collection("docs", embedder=TinyEmbedder())
        assert docs.ingest(path).new == 1
        assert docs.document(str(path)).text == text


def test_white_space_is_no_text(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "blank.txt"
    path.write_text(" \n" * 30_000)
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder())
        (failure,) = docs.ingest(path).failed
        assert failure.reason == "The file is empty."
