"""The real sentence-transformers on tiny models made here; skipped where the extra is not installed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pgrecall import errors, open_reranker

pytest.importorskip("sentence_transformers", reason="the extra sentence-transformers")

# What torch and transformers warn of is not ours.
pytestmark = pytest.mark.filterwarnings("default")

QUESTION = "when do tides rise"
TEXTS = ["tides rise at noon", "the moon", "a harbour by the sea " * 20, "tides"]
WORDS = sorted({word for text in [QUESTION, *TEXTS] for word in text.split()})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def tiny_bert(folder: Path, kind: str, **config: Any) -> Path:
    """A BERT of two small layers with random weights, and its tokenizer, as a folder."""
    import torch
    import transformers

    torch.manual_seed(7)
    vocabulary = folder / "vocab.txt"
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[unused1]"]
    vocabulary.write_text("\n".join([*special, *WORDS]))
    tokenizer = transformers.BertTokenizerFast(vocab=str(vocabulary), model_max_length=64)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings = transformers.BertConfig(
        vocab_size=len(tokenizer), intermediate_size=64, **size, **config
    )
    model = getattr(transformers, kind)(settings)
    home = folder / f"{kind}-{config.get('num_labels', 0)}"
    model.save_pretrained(home)
    tokenizer.save_pretrained(home)
    return home


def test_a_cross_encoder_scores_as_the_library_does(folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    home = tiny_bert(folder, "BertForSequenceClassification", num_labels=1)
    reranker = open_reranker(f"cross-encoder:{home}")
    found = reranker.rerank(QUESTION, TEXTS)
    expected = CrossEncoder(str(home)).predict([(QUESTION, text) for text in TEXTS])
    assert found.shape == (4,)
    assert len(set(found.tolist())) > 1
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert reranker.rerank(QUESTION, []).shape == (0,)
    assert reranker.name == f"cross-encoder:{home}"
    with ThreadPoolExecutor(4) as pool:
        for again in pool.map(lambda _: reranker.rerank(QUESTION, TEXTS), range(8)):
            np.testing.assert_allclose(again, found, rtol=1e-4)


def test_a_model_that_classifies_is_no_reranker(folder: Path) -> None:
    home = tiny_bert(folder, "BertForSequenceClassification", num_labels=3)
    with pytest.raises(errors.InvalidArgument, match="answers with 3 numbers"):
        open_reranker(f"cross-encoder:{home}")


def test_late_interaction_scores_as_the_library_does(folder: Path) -> None:
    from sentence_transformers import MultiVectorEncoder

    home = tiny_bert(folder, "BertModel")
    model = MultiVectorEncoder(str(home))
    saved = folder / "multi-vector"
    model.save_pretrained(str(saved))
    reranker = open_reranker(f"late-interaction:{saved}")
    found = reranker.rerank(QUESTION, TEXTS)
    query = model.encode_query([QUESTION])
    expected = model.similarity(query, model.encode_document(TEXTS))[0] / len(query[0])
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3)
    assert reranker.rerank(QUESTION, []).shape == (0,)


@pytest.mark.parametrize("kind", ["cross-encoder", "late-interaction"])
def test_a_model_that_is_not_there(kind: str, folder: Path) -> None:
    with pytest.raises(errors.InvalidArgument, match="cannot be opened"):
        open_reranker(f"{kind}:{folder / 'nowhere'}", local_files_only=True)
