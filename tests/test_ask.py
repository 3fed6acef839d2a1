"""Contexts and answers of a collection, in both flavours, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import pgrecall
from pgrecall import Collection, Document, LanguageModel, Verification
from pgrecall.errors import InvalidArgument, LanguageModelUnset
from pgrecall.tokens import open_tokenizer
from tests.embedders import TinyEmbedder
from tests.openai_server import OpenAIServer

OLIVES = Document(uri="/srv/notes/a.md", text="Olives ripen in November.")
ANSWER = "“Olives ripen in November” [1], not “in May” [2]."
QUESTION = "when are olives ripe"


@pytest.fixture
def docs(database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("default", embedder=TinyEmbedder())
        docs.ingest(OLIVES)
        yield docs


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        running.answer = ANSWER
        yield running


def assert_checked(found: Verification, server: OpenAIServer) -> None:
    assert [quote.found for quote in found.quotes] == [True, False]
    assert found.problems == ['"in May" stands in no passage.', "[2] names no passage."]
    place = found.quotes[0].places[0]
    assert (place.uri, OLIVES.text[place.start : place.end]) == (
        "/srv/notes/a.md",
        "Olives ripen in November",
    )
    (request,) = server.requests
    prompt = request.body["messages"][1]["content"]
    assert '[1] a.md\n"""\nOlives ripen in November.\n"""' in prompt
    assert prompt.endswith(f"Question: {QUESTION}")


def test_an_answer_is_held_against_its_context(docs: Collection, server: OpenAIServer) -> None:
    model = LanguageModel(name="gpt-4o", base_url=server.url)
    answer = docs.ask(QUESTION, model=model, max_tokens=100, mode="text")
    assert "".join(answer) == ANSWER
    assert_checked(answer.verify(), server)
    assert answer.context.tokens == open_tokenizer("gpt-4o").count(answer.context.text)


def test_an_awaited_answer_is_held_against_its_context(
    docs: Collection, database_url: str, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGRECALL_LLM_BASE_URL", server.url)

    async def main() -> Verification:
        async with pgrecall.connect_async(database_url) as db:
            there = await db.collection(docs.name, embedder=TinyEmbedder())
            answer = await there.ask(QUESTION, model="gpt-4o")
            assert "".join([piece async for piece in answer]) == ANSWER
            return answer.verify()

    assert_checked(asyncio.run(main()), server)


def test_asking_without_a_model_says_what_to_set(docs: Collection) -> None:
    with pytest.raises(LanguageModelUnset, match="PGRECALL_LLM_MODEL"):
        docs.ask(QUESTION)


def test_a_context_is_counted_with_the_tokenizer_of_the_model(docs: Collection) -> None:
    docs.ingest(Document(uri="tides", text="Tides rise twice a day, naïve 漢字. " * 60))
    context = docs.context("tides", max_tokens=150, tokenizer="gpt-4o")
    assert 100 < context.tokens == open_tokenizer("o200k_base").count(context.text) <= 150
    with pytest.raises(InvalidArgument, match="There is no tokenizer 'gpt-none'"):
        docs.context("tides", tokenizer="gpt-none")


def test_the_best_document_stands_where_it_is_asked_for(docs: Collection) -> None:
    docs.ingest(Document(uri="/srv/b.md", text="Quinces are ripe later."))
    first = docs.context("olives ripen in november")
    last = docs.context("olives ripen in november", order="best_last")
    uris = [cited.uri for cited in first.citations]
    assert uris == ["/srv/notes/a.md", "/srv/b.md"]
    assert [cited.uri for cited in last.citations] == uris[::-1]
    assert "notes/a.md" in first.text
    assert "/srv" not in first.text
