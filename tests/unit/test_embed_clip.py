"""A CLIP model through sentence-transformers: a tiny one, made here, that goes the way of the real ones."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pgrecall
from pgrecall import Image, errors, open_embedder

pytest.importorskip("sentence_transformers", reason="needs the extra images")
pil = pytest.importorskip("PIL.Image", reason="needs the extra images")


@pytest.fixture(scope="module", params=["transformers", "sentence-transformers"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As OpenAI lays its models out, and as clip-ViT-B-32 is."""
    folder = tmp_path_factory.mktemp("clip")
    plain = folder / "0_CLIPModel"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make(plain)
    if request.param == "transformers":
        return plain
    module = {"idx": 0, "name": "0", "path": plain.name}
    module["type"] = "sentence_transformers.models.CLIPModel"
    (folder / "modules.json").write_text(json.dumps([module]))
    return folder


def make(folder: Path) -> None:
    import torch
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        CLIPProcessor,
        CLIPTokenizer,
    )

    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {word: number for number, word in enumerate(words)}
    begin, end = len(words), len(words) + 1
    vocabulary |= {"<|startoftext|>": begin, "<|endoftext|>": end}
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[])
    tokenizer.model_max_length = 77
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1}
    size["num_attention_heads"] = 2
    text = {"vocab_size": len(vocabulary), "bos_token_id": begin, "eos_token_id": end}
    text |= {"pad_token_id": end, "max_position_embeddings": 77}
    config = CLIPConfig(
        text_config=size | text,
        vision_config=size | {"image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(7)
    CLIPModel(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    CLIPProcessor(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)


def picture(colour: str, size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    pil.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def embedder(model: Path) -> Any:
    return open_embedder(f"sentence-transformers:{model}", local_files_only=True)


def test_texts_and_pictures_share_a_space(embedder: Any) -> None:
    assert embedder.takes_images
    assert embedder.dimensions == 24
    assert embedder.max_tokens == 75
    seen = embedder.embed_images([picture("red"), picture("blue"), picture("red")])
    assert seen.shape == (3, 24)
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(seen[0], seen[2], atol=1e-6)
    assert not np.allclose(seen[0], seen[1], atol=1e-3)
    assert embedder.embed_query("a red car").shape == (24,)
    assert embedder.embed_documents(["a red car"]).shape == (1, 24)
    assert embedder.embed_images([]).shape == (0, 24)
    with pytest.raises(errors.UnreadableSource, match="cannot be read"):
        embedder.embed_images([b"no image"])
    with pytest.raises(errors.InvalidArgument, match="at most 75"):
        embedder.embed_documents(["word " * 60])


def test_an_album(embedder: Any, database_url: str, tmp_path: Path) -> None:
    for colour in ("red", "green", "blue"):
        (tmp_path / f"{colour}.png").write_bytes(picture(colour))
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("album", embedder=embedder.name)
        report = docs.ingest([tmp_path])
        assert (report.new, report.failed) == (3, [])
        best = docs.search(Image(tmp_path / "green.png"), k=3)
        assert best[0].image == str(tmp_path / "green.png")
        assert best[0].vector_score == pytest.approx(1, abs=0.01)
        assert len(docs.search("a green field", k=3)) == 3
