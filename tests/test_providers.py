"""Providers as a user meets them: collections, searches, and texts that a provider refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pgrecall import Database, Document, connect, errors, open_embedder
from pgrecall.embed.retry import Backoff
from tests.embedders import TinyEmbedder
from tests.openai_server import OTHER_DIMENSIONS, Fault, OpenAIServer

INSTRUCTED = "openai:my-model?instruction_prompt=Instruct%3A%20%7Binstruction%7D%20Query%3A%20"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        monkeypatch.setenv("OPENAI_BASE_URL", running.url)
        yield running


def test_a_text_that_a_provider_refuses_costs_its_document_alone(
    db: Database, server: OpenAIServer
) -> None:
    refusal = Fault(status=400, error={"message": "no such thing"})
    server.rule = lambda body: refusal if "poison" in " ".join(body["input"]) else None
    backoff = Backoff(attempts=2, first=0.001, longest=0.01)
    embedder = open_embedder("openai:text-embedding-3-small@64", backoff=backoff)
    docs = db.create_collection("docs", embedder=embedder)
    good = [Document(uri=f"good{n}", text=f"tide {n}") for n in range(30)]
    bad = Document(uri="bad", text="poison")
    report = docs.ingest([*good[:11], bad, *good[11:]])
    assert report.new == 30
    (failure,) = report.failed
    assert failure.uri == "bad"
    assert "refuses the request (400): no such thing" in failure.reason
    assert docs.search("tide 3", mode="vector", k=1)[0].uri.startswith("good")


def test_what_an_unknown_model_told_is_kept_with_the_collection(
    db: Database, server: OpenAIServer
) -> None:
    docs = db.create_collection("docs", embedder="openai:my-model")
    assert docs.status().spent == 0
    docs.ingest([Document(uri="a", text="tides")])
    assert docs.status().spent is None, "nobody knows its price"
    server.requests.clear()
    with connect(db.url) as again:
        assert again.collection("docs").search("tides", mode="vector")[0].uri == "a"
    (question,) = server.requests
    assert question.body["input"] == ["tides"]


def test_the_chunks_of_a_collection_fit_its_model(db: Database) -> None:
    def embed(texts: Sequence[str]) -> Any:
        return [[float(len(text)), 1.0] for text in texts]

    embedder = open_embedder(embed, name="short", dimensions=2, max_tokens=100)
    docs = db.create_collection("docs", embedder=embedder)
    report = docs.ingest([Document(uri="a", text="Tides rise and fall. " * 200)])
    assert not report.failed
    assert report.chunks > 10


def test_a_question_may_come_with_an_instruction(db: Database, server: OpenAIServer) -> None:
    docs = db.create_collection("docs", embedder=INSTRUCTED)
    assert docs.embedder_name == INSTRUCTED
    docs.ingest([Document(uri="a", text="tides")])
    server.requests.clear()
    assert docs.search("moon", instruction="Find seas")[0].uri == "a"
    docs.search(["moon", "sun"], instruction="Find seas", mode="vector")
    docs.context("moon", instruction="Find seas", max_tokens=100)
    sent = [request.body["input"] for request in server.requests]
    moon, sun = (f"Instruct: Find seas Query: {word}" for word in ("moon", "sun"))
    assert sent == [[moon], [moon, sun], [moon]]


def test_the_command_line_takes_an_instruction(db: Database, server: OpenAIServer) -> None:
    docs = db.create_collection("docs", embedder=INSTRUCTED)
    docs.ingest([Document(uri="a", text="tides")])
    server.requests.clear()
    command = ["search", "moon", "-c", "docs", "--instruction", "Find seas", "--url", db.url]
    done = subprocess.run(
        [sys.executable, "-m", "pgrecall", *command], capture_output=True, text=True, check=True
    )
    assert "tides" in done.stdout
    assert server.requests[0].body["input"] == ["Instruct: Find seas Query: moon"]


@pytest.mark.parametrize("question", ["moon", ["moon", "sun"]])
def test_an_instruction_that_nobody_reads_is_refused(db: Database, question: Any) -> None:
    docs = db.create_collection("docs", embedder=TinyEmbedder())
    docs.ingest([Document(uri="a", text="tides")])
    with pytest.raises(errors.InvalidArgument, match="tiny has no use for an instruction"):
        docs.search(question, instruction="Find seas")
    with pytest.raises(errors.InvalidArgument, match="this search embeds nothing"):
        docs.search(question, mode="text", instruction="Find seas")
    static = db.create_collection("static")
    with pytest.raises(errors.InvalidArgument, match="static has no use for an instruction"):
        static.search(question, instruction="Find seas")


def test_a_model_that_follows_none_refuses_an_instruction(
    db: Database, server: OpenAIServer
) -> None:
    docs = db.create_collection("docs", embedder=f"openai:my-model@{OTHER_DIMENSIONS}")
    with pytest.raises(errors.InvalidArgument, match="was not trained to follow instructions"):
        docs.search("moon", instruction="Find seas")
