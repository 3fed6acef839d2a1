"""Requests of several callers, joined into batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from pgrecall.embed.base import AsyncEmbedder
from pgrecall.embed.joined import FULL, JoinedEmbedder
from pgrecall.errors import CredentialsMissing, EmbeddingError, InvalidArgument
from pgrecall.types import FloatArray
from tests.embedders import DeadEmbedder, PoisonedEmbedder, TinyEmbedder


class Counting(TinyEmbedder):
    """Awaits, and keeps how many texts each call had."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__()
        self.delay = delay
        self.calls: list[int] = []

    async def embed_documents_async(self, texts: Sequence[str]) -> FloatArray:
        self.calls.append(len(texts))
        await asyncio.sleep(self.delay)
        return self.embed_documents(texts)

    async def embed_query_async(self, text: str) -> FloatArray:
        return self.embed_query(text)


def together(*requests: Coroutine[Any, Any, FloatArray]) -> list[Any]:
    """What each is answered, vectors or an error."""

    async def main() -> list[Any]:
        return list(await asyncio.gather(*requests, return_exceptions=True))

    return asyncio.run(main())


def test_it_is_an_embedder() -> None:
    joined = JoinedEmbedder(TinyEmbedder(), callers=1)
    assert isinstance(joined, AsyncEmbedder)
    assert (joined.name, joined.dimensions, joined.max_tokens) == ("tiny", 32, 8192)
    assert joined.tokenizer.count("one") > 0
    assert np.allclose(joined.embed_query("a"), joined.embed_documents(["a"])[0])
    (vector,) = together(joined.embed_query_async("a"))
    assert np.allclose(vector, joined.embed_query("a"))


def test_everybody_gets_their_own_vectors() -> None:
    inner = Counting()
    joined = JoinedEmbedder(inner, callers=20)
    asked = [[f"text {n} {m}" for m in range(n % 3 + 1)] for n in range(20)]
    answers = together(*(joined.embed_documents_async(texts) for texts in asked))
    assert inner.calls == [sum(map(len, asked))]
    for texts, answer in zip(asked, answers, strict=True):
        assert np.allclose(answer, TinyEmbedder().embed_documents(texts))


def test_a_batch_departs_when_it_is_full_or_nobody_else_comes() -> None:
    inner = Counting(delay=0.05)
    joined = JoinedEmbedder(inner, callers=100)

    async def later(texts: list[str]) -> FloatArray:
        await asyncio.sleep(0.02)
        return await joined.embed_documents_async(texts)

    together(
        joined.embed_documents_async(["text"] * FULL),
        later(["text"]),
        later(["text"]),
    )
    assert inner.calls == [FULL, 2]


def test_one_that_is_refused_fails_alone() -> None:
    joined = JoinedEmbedder(PoisonedEmbedder(InvalidArgument("no")), callers=3)
    good, bad, other = together(
        *(joined.embed_documents_async([text]) for text in ("good", "poison", "other"))
    )
    assert isinstance(bad, InvalidArgument)
    assert np.shape(good) == np.shape(other) == (1, 32)


def test_texts_that_are_refused_do_not_make_an_embedder_down() -> None:
    refusal = EmbeddingError("no")
    refusal.refused = {0: refusal}
    joined = JoinedEmbedder(PoisonedEmbedder(refusal), callers=10)
    asked = [f"poison {n}" if n < 5 else f"good {n}" for n in range(10)]
    answers = together(*(joined.embed_documents_async([text]) for text in asked))
    for answer in answers[:5]:
        assert isinstance(answer, EmbeddingError)
        assert answer.refused == {0: refusal}
    assert all(np.shape(answer) == (1, 32) for answer in answers[5:])


def test_an_embedder_that_is_down_is_not_asked_for_everybody() -> None:
    inner = DeadEmbedder()
    joined = JoinedEmbedder(inner, callers=30)
    answers = together(*(joined.embed_documents_async([f"t{n}"]) for n in range(30)))
    assert all(isinstance(answer, EmbeddingError) for answer in answers)
    assert len(inner.seen) == 30 + 3


def test_no_key_is_a_reason_for_everybody() -> None:
    inner = PoisonedEmbedder(CredentialsMissing())
    joined = JoinedEmbedder(inner, callers=3)
    answers = together(*(joined.embed_documents_async(["poison"]) for _ in range(3)))
    assert all(isinstance(answer, CredentialsMissing) for answer in answers)
    assert len(inner.seen) == 3


def test_a_wrong_number_of_vectors_reaches_nobody() -> None:
    class Short(TinyEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> FloatArray:
            return super().embed_documents(texts[1:])

    joined = JoinedEmbedder(Short(), callers=2)
    answers = together(*(joined.embed_documents_async(["a", "b"]) for _ in range(2)))
    assert all(isinstance(answer, EmbeddingError) for answer in answers)


class Choosy(TinyEmbedder):
    """Answers what it likes, and fails for the rest, as a provider whose requests fail one by one."""

    def __init__(self, likes: Callable[[str], bool], error: type[EmbeddingError]) -> None:
        super().__init__()
        self.likes, self.error = likes, error

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        liked = {at: text for at, text in enumerate(texts) if self.likes(text)}
        vectors = super().embed_documents(list(liked.values()))
        if len(liked) < len(texts):
            raise self.error("Not all.", answered=dict(zip(liked, vectors, strict=True)))
        return vectors


def test_what_was_answered_before_a_failure_is_not_asked_for_again() -> None:
    inner = Choosy(lambda text: "poison" not in text, EmbeddingError)
    joined = JoinedEmbedder(inner, callers=3)
    asked = [["a", "b"], ["c", "poison", "d"], ["e"]]
    first, bad, last = together(*(joined.embed_documents_async(texts) for texts in asked))
    assert sorted(inner.seen) == ["a", "b", "c", "d", "e"]
    assert np.allclose(first, TinyEmbedder().embed_documents(["a", "b"]))
    assert np.allclose(last, TinyEmbedder().embed_documents(["e"]))
    assert isinstance(bad, EmbeddingError)
    assert_own(bad, asked[1])
    assert sorted(bad.answered) == [0, 2]


@pytest.mark.parametrize("error", [EmbeddingError, CredentialsMissing])
def test_everybody_is_told_of_their_own_answers_alone(error: type[EmbeddingError]) -> None:
    joined = JoinedEmbedder(Choosy(lambda text: text.startswith("a"), error), callers=7)
    asked = [[f"a{n}", f"b{n}"] for n in range(7)]
    answers = together(*(joined.embed_documents_async(texts) for texts in asked))
    for texts, answer in zip(asked, answers, strict=True):
        assert type(answer) is error
        assert list(answer.answered) == [0]
        assert_own(answer, texts)


def assert_own(error: EmbeddingError, texts: Sequence[str]) -> None:
    """Each vector that goes along is that of the caller's text."""
    for place, row in error.answered.items():
        assert np.allclose(row, TinyEmbedder().embed_query(texts[place]))


def test_one_that_is_cancelled_leaves_the_others_alone() -> None:
    inner = Counting(delay=0.05)
    joined = JoinedEmbedder(inner, callers=2)

    async def main() -> None:
        first = asyncio.create_task(joined.embed_documents_async(["a"]))
        second = asyncio.create_task(joined.embed_documents_async(["b"]))
        await asyncio.sleep(0.02)
        first.cancel()
        assert (await second).shape == (1, 32)
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())
    assert inner.calls == [2]
