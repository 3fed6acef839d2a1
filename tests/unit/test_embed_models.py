"""The table of known models."""

from __future__ import annotations

import pytest

from pgrecall.embed.models import known_model, known_models
from pgrecall.tokens import open_tokenizer


def test_the_names_of_embedders_are_found() -> None:
    large = known_model("openai:text-embedding-3-large@1024")
    assert large is not None
    assert (large.dimensions, large.max_tokens, large.price) == (3072, 8191, 0.13)
    assert large is known_model("text-embedding-3-large")
    assert large is known_model("azure:text-embedding-3-large?api_version=2024-10-21")


@pytest.mark.parametrize(
    "name",
    [
        "sentence-transformers:all-MiniLM-L6-v2",
        "sentence-transformers:sentence-transformers/all-MiniLM-L6-v2",
        "openai:sentence-transformers/all-MiniLM-L6-v2",
        "all-minilm-l6-v2",
    ],
)
def test_a_model_of_the_hub_has_several_names(name: str) -> None:
    found = known_model(name)
    assert found is not None
    assert (found.dimensions, found.max_tokens, found.price) == (384, 256, None)


@pytest.mark.parametrize(
    "name",
    [
        "openai:embed-v4.0",
        "cohere:text-embedding-3-small",
        "sentence-transformers:text-embedding-3-small",
        "voyage:text-embedding-3-small",
        "openai:my-model",
        "",
    ],
)
def test_what_is_not_known_or_served_elsewhere(name: str) -> None:
    assert known_model(name) is None


def test_prompts() -> None:
    e5 = known_model("intfloat/e5-base-v2")
    assert e5 is not None
    assert (e5.query_prompt, e5.passage_prompt) == ("query: ", "passage: ")
    qwen = known_model("Qwen/Qwen3-Embedding-0.6B")
    assert qwen is not None
    assert qwen.instruction is not None
    assert qwen.instruction.format(instruction="Find laws") == "Instruct: Find laws\nQuery:"


def test_lengths_that_a_model_gives() -> None:
    embed = known_model("cohere:embed-v4.0")
    ada = known_model("text-embedding-ada-002")
    assert embed is not None
    assert ada is not None
    assert [n for n in (256, 300, 1024, 1536, 2048) if embed.gives(n)] == [256, 1024, 1536]
    assert not ada.gives(512)


@pytest.mark.parametrize("model", known_models(), ids=lambda model: model.name)
def test_the_facts_are_sound(model: object) -> None:
    found = known_model(getattr(model, "name", ""))
    assert found is model
    assert found is not None
    assert found.source.startswith("https://")
    assert all(length < found.dimensions for length in found.shorter)
    assert (found.price is None) == (found.owner in ("hub", "static"))
    if found.tokenizer is not None:
        assert open_tokenizer(found.tokenizer).count("one two") >= 2
    if found.instruction is not None:
        assert "{instruction}" in found.instruction
