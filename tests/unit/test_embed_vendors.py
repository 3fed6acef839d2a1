"""What is each provider's own: Azure, Cohere, servers that speak OpenAI's protocol, functions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from pgrecall import errors, open_embedder
from pgrecall.embed import FunctionEmbedder, reopen_embedder
from pgrecall.embed.remote import RemoteEmbedder
from tests.cohere_server import CohereServer
from tests.openai_server import OTHER_DIMENSIONS, Fault, OpenAIServer, vector


@pytest.fixture
def openai() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def cohere() -> Iterator[CohereServer]:
    with CohereServer() as running:
        yield running


def remote(name: str, **options: Any) -> RemoteEmbedder:
    embedder = open_embedder(name, **options)
    assert isinstance(embedder, RemoteEmbedder)
    return embedder


# Azure


def test_azure_sends_to_the_deployment(openai: OpenAIServer) -> None:
    options = {"base_url": openai.azure_url, "api_key": "key", "model": "text-embedding-3-small"}
    with remote("azure:my-deployment@512", **options) as embedder:
        assert embedder.name == "azure:my-deployment@512?model=text-embedding-3-small"
        assert (embedder.dimensions, embedder.max_tokens) == (512, 8191)
        assert embedder.embed_documents(["a"]).shape == (1, 512)
    (request,) = openai.requests
    assert request.path.startswith("/openai/deployments/my-deployment/embeddings?api-version=2024")
    assert request.headers["api-key"] == "key"
    assert request.body["dimensions"] == 512


def test_azure_is_found_by_its_name_alone(
    openai: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.InvalidArgument, match="AZURE_OPENAI_ENDPOINT"):
        open_embedder("azure:text-embedding-3-small", api_key="key")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", openai.azure_url)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-01-01")
    with remote("azure:text-embedding-3-small") as embedder:
        assert embedder.name == "azure:text-embedding-3-small"
        embedder.embed_query("a")
    assert openai.requests[0].path.endswith("api-version=2025-01-01")
    with remote("azure:dep?model=text-embedding-3-large") as named:
        assert named.dimensions == 3072
        assert named.name == "azure:dep?model=text-embedding-3-large"


def test_azure_takes_tokens_of_entra(openai: OpenAIServer) -> None:
    options = {"base_url": openai.azure_url, "azure_ad_token_provider": lambda: "token"}
    with remote("azure:text-embedding-3-small", **options) as embedder:
        embedder.embed_query("a")
    assert openai.requests[0].headers["authorization"] == "Bearer token"


# Servers that speak OpenAI's protocol


def test_a_server_that_answers_numbers_and_no_usage(openai: OpenAIServer) -> None:
    openai.plain = True
    with remote("openai:my-model", base_url=openai.url) as embedder:
        assert embedder.embed_documents(["a", "b"]).shape == (2, OTHER_DIMENSIONS)


def test_a_server_with_smaller_batches(openai: OpenAIServer) -> None:
    with remote("openai:text-embedding-3-small?batch_size=32", base_url=openai.url) as embedder:
        embedder.embed_documents([f"{n}" for n in range(70)])
        assert embedder.name == "openai:text-embedding-3-small"
    assert sorted(len(request.body["input"]) for request in openai.requests) == [6, 32, 32]


def test_models_of_the_hub_get_their_prompts_wherever_they_are_served(openai: OpenAIServer) -> None:
    openai.rule = lambda body: Fault(
        spoil=lambda data: [row | {"embedding": [1.0] * 768} for row in data]
    )
    with remote("openai:intfloat/e5-base-v2", base_url=openai.url) as embedder:
        assert (embedder.dimensions, embedder.name) == (768, "openai:intfloat/e5-base-v2")
        assert embedder.max_tokens < 512 - len("[CLS][SEP]") / 5
        embedder.embed_documents(["a"])
        embedder.embed_query("b")
    assert [r.body["input"] for r in openai.requests] == [["passage: a"], ["query: b"]]


def test_a_server_that_cuts_texts_off_is_found_out(openai: OpenAIServer) -> None:
    def truncating(body: dict[str, Any]) -> Fault:
        cut = [vector(text[:200], "m", OTHER_DIMENSIONS).tolist() for text in body["input"]]
        return Fault(
            spoil=lambda data: [
                row | {"embedding": embedding} for row, embedding in zip(data, cut, strict=True)
            ]
        )

    openai.rule = truncating
    with (
        remote("openai:ollama-model", base_url=openai.url) as embedder,
        pytest.raises(errors.EmbeddingError, match="cuts texts of 512 tokens off without"),
    ):
        _ = embedder.dimensions
    with remote("openai:ollama-model", base_url=openai.url, max_tokens=100) as embedder:
        assert embedder.dimensions == OTHER_DIMENSIONS


def test_a_collection_keeps_what_an_unknown_model_told(
    openai: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", openai.url)
    embedder = reopen_embedder("openai:my-model", OTHER_DIMENSIONS)
    assert embedder.dimensions == OTHER_DIMENSIONS
    assert openai.requests == []
    embedder.embed_query("a")


# Names


@pytest.mark.parametrize(
    ("name", "options", "shown"),
    [
        ("openai:m", {"base_url": "http://127.0.0.1:9/v1", "rpm": 5}, "openai:m"),
        ("openai:m?rpm=5", {}, "openai:m"),
        (
            "openai:m",
            {"passage_prompt": "p: ", "query_prompt": "q & a: "},
            "openai:m?query_prompt=q%20%26%20a%3A%20&passage_prompt=p%3A%20",
        ),
        (
            "openai:intfloat/e5-base-v2",
            {"passage_prompt": "passage: "},
            "openai:intfloat/e5-base-v2",
        ),
        (
            "openai:intfloat/e5-base-v2",
            {"passage_prompt": ""},
            "openai:intfloat/e5-base-v2?passage_prompt=",
        ),
        ("cohere:embed-v4.0@1536", {}, "cohere:embed-v4.0"),
        ("cohere:embed-v4.0@256", {}, "cohere:embed-v4.0@256"),
    ],
)
def test_a_name_says_what_changes_vectors_and_nothing_else(
    name: str, options: dict[str, Any], shown: str
) -> None:
    embedder = open_embedder(name, api_key="key", **options)
    assert embedder.name == shown
    assert open_embedder(shown, api_key="key").name == shown


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("openai:m?api_key=secret", "cannot be written in a name"),
        ("openai:m?rpm=many", "rpm is a number, not 'many'"),
        ("openai:m?rpm=0", "rpm has to be positive"),
        ("openai:m?colour=red", "no option colour"),
        ("openai:m?instruction_prompt=Do", 'needs "{instruction}"'),
        ("cohere:embed-v4.0@300", "has 256, 512, 1024, 1536 dimensions, not 300"),
        ("cohere:embed-english-v3.0@512", "always has 1024 dimensions"),
    ],
)
def test_names_that_cannot_be_meant(name: str, message: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        open_embedder(name, api_key="key")


# Cohere


def test_cohere_embeds_each_side_as_what_it_is(cohere: CohereServer) -> None:
    with remote("cohere:embed-v4.0@256", base_url=cohere.url, api_key="key") as embedder:
        assert embedder.dimensions == 256
        found = embedder.embed_documents(["a"])
        asked = embedder.embed_query("a")
        raw = vector("a", "search_document", 256)
        np.testing.assert_allclose(found[0], raw / np.linalg.norm(raw), atol=1e-6)
        assert not np.allclose(found[0], asked)
    passages, question = [request.body for request in cohere.requests]
    assert passages["input_type"] == "search_document"
    assert question["input_type"] == "search_query"
    assert passages["truncate"] == "NONE"
    assert passages["output_dimension"] == 256
    assert cohere.keys == ["key", "key"]


def test_cohere_takes_96_texts_at_a_time(cohere: CohereServer) -> None:
    with remote("cohere:embed-english-light-v3.0", base_url=cohere.url, rpm=2_000) as embedder:
        assert embedder.embed_documents([f"{n}" for n in range(200)]).shape == (200, 384)
        assert embedder.max_tokens <= 512
        with pytest.raises(errors.InvalidArgument, match="Text 1 has"):
            embedder.embed_documents(["a", "word " * 600])
    assert sorted(len(request.body["texts"]) for request in cohere.requests) == [8, 96, 96]
    assert "output_dimension" not in cohere.requests[0].body


@pytest.mark.parametrize("body", ["<html>", "{", "[1]", '{"embeddings": 3}', '{"id": "x"}'])
def test_a_server_of_another_kind_is_told(cohere: CohereServer, body: str) -> None:
    cohere.faults.append(Fault(body=body, content_type="application/json"))
    with (
        remote("cohere:embed-v4.0", base_url=cohere.url) as embedder,
        pytest.raises(errors.EmbeddingError, match="check the base_url"),
    ):
        embedder.embed_query("a")


def test_cohere_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CO_API_KEY", raising=False)
    with pytest.raises(errors.CredentialsMissing, match="CO_API_KEY"):
        open_embedder("cohere:embed-v4.0")


# Functions


def ragged(texts: Sequence[str]) -> list[list[float]]:
    return [[float(len(text)), 1.0, 0.0] for text in texts]


async def ragged_async(texts: Sequence[str]) -> list[list[float]]:
    await asyncio.sleep(0)
    return ragged(texts)


@pytest.mark.parametrize("function", [ragged, ragged_async])
def test_any_function_is_an_embedder(function: Any) -> None:
    embedder = open_embedder(function, name="lengths", batch_size=2)
    assert isinstance(embedder, FunctionEmbedder)
    assert (embedder.name, embedder.dimensions) == ("lengths", 3)
    texts = ["a", "bb", "ccc"]
    expected = np.array(ragged(texts)) / np.linalg.norm(ragged(texts), axis=1, keepdims=True)
    np.testing.assert_allclose(embedder.embed_documents(texts), expected, rtol=1e-6)
    np.testing.assert_allclose(embedder.embed_query("a"), expected[0], rtol=1e-6)

    async def awaited() -> Any:
        # The blocking methods work inside a running loop too.
        blocking = embedder.embed_query("a")
        return (
            blocking,
            await embedder.embed_query_async("a"),
            await embedder.embed_documents_async(texts),
        )

    blocking, question, documents = asyncio.run(awaited())
    np.testing.assert_allclose(blocking, question)
    np.testing.assert_allclose(documents, expected, rtol=1e-6)
    assert embedder.embed_documents([]).shape == (0, 3)


def test_a_function_may_treat_questions_in_another_way() -> None:
    embedder = open_embedder(
        ragged, name="x", dimensions=3, query=lambda texts: [[0.0, 0.0, 1.0] for _ in texts]
    )
    assert embedder.embed_query("a").tolist() == [0.0, 0.0, 1.0]
    assert embedder.embed_documents(["a"])[0, 2] == 0


def test_a_function_needs_a_name() -> None:
    with pytest.raises(errors.InvalidArgument, match="A function needs a name"):
        open_embedder(ragged)
    with pytest.raises(errors.InvalidArgument, match="A function needs a name"):
        open_embedder(ragged, name=" ")


def test_a_function_that_fails_for_one_text_embeds_the_others() -> None:
    calls = []

    def picky(texts: Sequence[str]) -> Any:
        calls.append(len(texts))
        if "poison" in texts:
            raise KeyError("poison")
        return ragged(texts)

    embedder = open_embedder(picky, name="picky", dimensions=3)
    with pytest.raises(errors.EmbeddingError, match="function picky failed: KeyError") as raised:
        embedder.embed_documents([*map(str, range(20)), "poison", *map(str, range(20))])
    assert list(raised.value.refused) == [20]
    assert len(raised.value.answered) == 40
    assert isinstance(raised.value.__cause__, KeyError)
    assert len(calls) < 20


def test_a_function_that_is_broken_is_not_asked_for_each_text() -> None:
    calls = []

    def broken(texts: Sequence[str]) -> Any:
        calls.append(texts)
        raise ZeroDivisionError

    embedder = open_embedder(broken, name="broken", dimensions=3)
    with pytest.raises(errors.EmbeddingError, match="ZeroDivisionError"):
        embedder.embed_documents([f"{n}" for n in range(100)])
    assert len(calls) == 3


@pytest.mark.parametrize("answer", [[[1.0, 2.0]], [1.0], "abc", None, [[float("nan")] * 3] * 2])
def test_a_function_that_answers_nonsense_is_told(answer: Any) -> None:
    embedder = open_embedder(lambda texts: answer, name="odd", dimensions=3)
    with pytest.raises(errors.EmbeddingError, match=r"odd|not a number"):
        embedder.embed_documents(["a", "b"])
