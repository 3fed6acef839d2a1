"""Names of rerankers, late interaction, and what a flow makes of a reranker's answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrecall import MaxSim, errors, open_reranker
from pgrecall.flow import run, run_async
from pgrecall.rerank.maxsim import maxsim
from pgrecall.rerank.steps import rerank
from pgrecall.types import FloatArray


class Letters:
    """A token encoder: a token is a letter, its vector says which."""

    name = "letters"

    def encode_query(self, text: str) -> FloatArray:
        rows = [[2.0 * (ord(letter) - 97 == n) for n in range(26)] for letter in text]
        return np.array(rows, dtype=np.float32).reshape(-1, 26)

    def encode_documents(self, texts: Sequence[str]) -> list[FloatArray]:
        return [self.encode_query(text) for text in texts]


class Fixed:
    """Answers with what it was given."""

    name = "fixed"

    def __init__(self, answers: dict[str, object]) -> None:
        self.answers = answers

    def rerank(self, question: str, texts: Sequence[str]) -> Any:
        return self.answers[question]


def test_maxsim_is_the_mean_of_the_best_matches() -> None:
    reranker = MaxSim(Letters())
    found = reranker.rerank("abcd", ["dcba", "ab", "xyz", "aaaaaaaaa", ""])
    assert found.tolist() == [1.0, 0.5, 0.0, 0.25, -1.0]
    assert reranker.rerank("abcd", []).shape == (0,)
    assert reranker.rerank("", ["a"]).tolist() == [-1.0]
    assert reranker.name == "late-interaction:letters"


#: Zero or of a size that has a direction in single precision.
components = st.floats(-2, 2, width=32).filter(lambda x: x == 0 or abs(x) > 1e-6)
vectors = st.lists(st.lists(components, min_size=4, max_size=4), max_size=5).map(
    lambda rows: np.array(rows, dtype=np.float32).reshape(-1, 4)
)


@given(vectors, st.lists(vectors, max_size=5))
def test_maxsim_equals_its_definition(query: FloatArray, documents: list[FloatArray]) -> None:
    def cosine(a: FloatArray, b: FloatArray) -> float:
        lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
        return float(a @ b) / lengths if lengths > 1e-30 else 0.0

    found = maxsim(query, documents)
    assert found.shape == (len(documents),)
    for score, document in zip(found, documents, strict=True):
        if not len(query) or not len(document):
            assert score == -1
        else:
            best = [max(cosine(q, d) for d in document) for q in query]
            assert score == pytest.approx(np.mean(best), abs=1e-5)


def test_each_text_counts_for_the_question_that_it_answers_best() -> None:
    reranker = Fixed({"a": [1, 0, 5], "b": np.array([2.0, -1.0, 4.0])})
    assert run(rerank(reranker, ["a", "b"], ["x", "y", "z"]), None).tolist() == [2, 0, 5]
    assert asyncio.run(run_async(rerank(reranker, ["a"], ["x", "y", "z"]), None)).tolist() == [
        1,
        0,
        5,
    ]


@pytest.mark.parametrize("answer", [[1], [[1, 2]], 3, [1, float("nan")], [1, float("inf")]])
def test_an_answer_of_another_shape_is_an_error(answer: object) -> None:
    with pytest.raises(errors.RerankingError, match="where 2 scores were asked for"):
        run(rerank(Fixed({"a": answer}), ["a"], ["x", "y"]), None)


@pytest.mark.parametrize("name", ["", "cohere", "cohere:", "magic:x", "x"])
def test_an_unknown_name_says_which_there_are(name: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="cohere:MODEL, cross-encoder:MODEL"):
        open_reranker(name)


def test_an_object_is_taken_as_it_is() -> None:
    mine = Fixed({})
    assert open_reranker(mine) is mine
    with pytest.raises(errors.InvalidArgument, match="Options belong to the name"):
        open_reranker(mine, timeout=3)
    with pytest.raises(errors.InvalidArgument, match=r"Letters cannot serve .* it has no rerank"):
        open_reranker(Letters())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [
        ("cohere", "cohere", "cohere"),
        ("cross-encoder", "sentence_transformers", "sentence-transformers"),
        ("late-interaction", "sentence_transformers", "sentence-transformers"),
    ],
)
def test_a_missing_package_is_named(
    kind: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for loaded in [name for name in sys.modules if name.startswith("pgrecall.rerank.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(errors.MissingExtra, match=rf"pgrecall\[{extra}\]") as caught:
        open_reranker(f"{kind}:model")
    assert caught.value.extra == extra
