"""Passages like a hit, or like a document."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import pgrecall
from pgrecall import Collection, Document, errors

TEXTS = {
    "tides": "The moon pulls at the sea, and the tide rises twice a day along the coast.",
    "moon": "The moon circles the earth once a month and pulls at the water of the sea.",
    "bread": "Knead flour, water, salt and yeast into dough, and bake the bread in an oven.",
    "cake": "Beat eggs, sugar and flour into dough, and bake the cake in an oven.",
}


@pytest.fixture(scope="module")
def docs(template_database: str, create_database: Any) -> Iterator[Collection]:
    with create_database(template_database) as url, pgrecall.connect(url) as db:
        docs = db.create_collection("docs")
        docs.ingest(
            Document(uri=uri, text=text, metadata={"n": n}, tenant_id="t")
            for n, (uri, text) in enumerate(TEXTS.items())
        )
        yield docs


def test_a_hit_finds_its_like_in_other_documents(docs: Collection) -> None:
    (hit,) = docs.search("bake bread", k=1)
    found = docs.similar(hit, k=3)
    assert found[0].uri == "cake"
    assert {h.uri for h in found} == {*TEXTS} - {"bread"}
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert found[0].vector_rank == 1


def test_a_document_finds_its_like(docs: Collection) -> None:
    document = Document(uri="tides", text="", tenant_id="t")
    assert docs.similar(document, k=1)[0].uri == "moon"
    assert docs.similar("tides", k=1, tenant_id="t")[0].uri == "moon"
    assert docs.similar("tides", k=1, tenant_id="t", where={"n": {"$gte": 2}})[0].uri in {
        "bread",
        "cake",
    }


def test_what_is_not_there_is_like_nothing(docs: Collection) -> None:
    assert docs.similar("tides", tenant_id="t", where={"n": 99}) == []
    with pytest.raises(errors.DocumentNotFound, match="no document 'tides'"):
        docs.similar("tides")  # there is one, but of a tenant
    with pytest.raises(errors.DocumentNotFound, match="'no such uri' of the tenant 't'"):
        docs.similar("no such uri", tenant_id="t")
    with pytest.raises(errors.InvalidArgument, match="not NoneType"):
        docs.similar(None)  # type: ignore[arg-type]


def test_awaited(docs: Collection, template_database: str, create_database: Any) -> None:
    async def use(url: str) -> list[str]:
        async with pgrecall.connect_async(url) as db:
            docs = await db.create_collection("docs")
            await docs.ingest([Document(uri=uri, text=text) for uri, text in TEXTS.items()])
            return [hit.uri for hit in await docs.similar("cake", k=1)]

    with create_database(template_database) as url:
        assert asyncio.run(use(url)) == ["bread"]
