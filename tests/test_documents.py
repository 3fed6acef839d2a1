"""A stored document, handed out again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

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


def test_what_is_not_there_has_a_reason(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder())
        docs.ingest([DOCUMENT, "/no/such/file"])
        for uri, tenant_id in (("nothing", ""), ("a/b.md", "theirs")):
            with pytest.raises(errors.DocumentNotFound, match=f'"docs" has no document {uri!r}'):
                docs.document(uri, tenant_id=tenant_id)
        (failure,) = docs.ingest(["/no/such/file"]).failed
        with pytest.raises(errors.DocumentNotFound, match="could not be taken in: "):
            docs.document(failure.uri)
        docs.delete("a/b.md")
        with pytest.raises(LookupError):
            docs.document("a/b.md")
