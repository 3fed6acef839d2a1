"""A stored document, handed out again."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

import pgrecall
from pgrecall import Document, errors
from tests.embedders import TinyEmbedder

DOCUMENT = Document(
    uri="a/b.md",
    text="# Title\n\nZażółć \U0001f600 gęślą.\n\x0cPage two.",
    title="Title",
    metadata={"nested": {"list": [1, None, "x"]}},
    mime_type="text/markdown",
    markup="markdown",
    pages=(0, 24),
    notes=("removed 2 NUL characters",),
)
THEIRS = replace(
    DOCUMENT, tenant_id="theirs", text="Another tenant's.", pages=(), language="german"
)


def test_what_went_in_comes_out(database_url: str) -> None:
    async def awaited() -> Document:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.collection("docs", embedder=TinyEmbedder())
            with pytest.raises(errors.DocumentNotFound):
                await docs.document("nothing")
            return await docs.document("a/b.md")

    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder())
        docs.ingest([DOCUMENT, THEIRS])
        assert docs.document("a/b.md") == DOCUMENT == asyncio.run(awaited())
        assert docs.document("a/b.md", tenant_id="theirs") == THEIRS
        (hit,) = docs.search("gęślą", k=1, tenant_id="", mode="text")
        assert docs.document(hit.uri).text[hit.start : hit.end] == hit.text
        docs.ingest([replace(DOCUMENT, text="New.", pages=())])
        assert docs.document("a/b.md").text == "New."


def test_what_is_not_there_has_a_reason(database_url: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.txt"
    broken.write_bytes(b"\x7fELF" + bytes(100))
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder())
        docs.ingest([DOCUMENT, broken])
        for uri, tenant_id in (("nothing", ""), ("a/b.md", "theirs")):
            with pytest.raises(errors.DocumentNotFound, match=f'"docs" has no document {uri!r}'):
                docs.document(uri, tenant_id=tenant_id)
        (failure,) = docs.ingest([broken]).failed
        with pytest.raises(errors.DocumentNotFound, match="could not be taken in: "):
            docs.document(failure.uri)
        docs.delete("a/b.md")
        with pytest.raises(LookupError):
            docs.document("a/b.md")


def test_chunks_find_their_document_by_its_key(database_url: str) -> None:
    def scans(connection: psycopg.Connection) -> tuple[int, int]:
        query = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'documents'"
        row = connection.execute(query).fetchone()
        assert row is not None
        return row

    with psycopg.connect(database_url, autocommit=True) as connection:
        # A table that is known to be empty: reading all of it looks cheaper than its index.
        connection.execute("VACUUM ANALYZE pgrecall.documents")
        before = scans(connection)
        with pgrecall.connect(database_url) as db:
            docs = db.create_collection("docs", embedder=TinyEmbedder())
            text = "A sentence of eight words, again and again. " * 5_000
            chunks = docs.ingest(replace(DOCUMENT, text=text)).chunks
        # A session that has ended tells what it did.
        deadline = time.monotonic() + 10
        while sum(scans(connection)) - sum(before) < chunks and time.monotonic() < deadline:
            time.sleep(0.05)
        after = scans(connection)
    assert after[1] - before[1] >= chunks > 100
    assert after[0] - before[0] < 20


def test_a_callers_transaction_keeps_its_settings(database_url: str) -> None:
    with psycopg.connect(database_url) as mine, pgrecall.connect(mine) as db:
        mine.execute("SELECT 1")
        db.create_collection("docs", embedder=TinyEmbedder()).ingest(DOCUMENT)
        assert mine.execute("SHOW enable_seqscan").fetchone() == ("on",)
