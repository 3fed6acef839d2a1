"""Cohere's real SDK against a local server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from pgrecall import errors, open_reranker
from pgrecall.rerank import AsyncReranker, can_await
from pgrecall.rerank import cohere as module
from tests.cohere_server import CohereServer, Fault, relevance

QUESTION = "when do tides rise"
TEXTS = ["Nothing here.", "Tides rise at noon.", "When do they rise?", "tides"]
KEY = "secret-key"


@pytest.fixture
def server() -> Iterator[CohereServer]:
    with CohereServer() as running:
        yield running


@pytest.fixture
def reranker(server: CohereServer) -> AsyncReranker:
    opened = open_reranker("cohere:rerank-v3.5", base_url=server.url, api_key=KEY, timeout=5.0)
    assert can_await(opened)
    return opened


def test_scores_come_in_the_order_of_the_texts(
    server: CohereServer, reranker: AsyncReranker
) -> None:
    found = reranker.rerank(QUESTION, TEXTS)
    assert found.tolist() == [relevance(QUESTION, text) for text in TEXTS]
    assert found.dtype == np.float32
    (request,) = server.requests
    assert request.body == {"model": "rerank-v3.5", "query": QUESTION, "documents": TEXTS}
    assert server.keys == [KEY]


def test_awaited_it_is_the_same(server: CohereServer, reranker: AsyncReranker) -> None:
    async def several() -> list[list[float]]:
        calls = [reranker.rerank_async(QUESTION, TEXTS) for _ in range(3)]
        return [scores.tolist() for scores in await asyncio.gather(*calls)]

    # Two loops after each other: no connection may outlive its own.
    for _ in range(2):
        assert asyncio.run(several()) == [reranker.rerank(QUESTION, TEXTS).tolist()] * 3


def test_threads_may_share_it(reranker: AsyncReranker) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: reranker.rerank("tides", [text])[0], TEXTS * 3))
    assert found == [relevance("tides", text) for text in TEXTS * 3]


def test_many_texts_are_several_requests(
    server: CohereServer, reranker: AsyncReranker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TEXTS", 3)
    assert len(reranker.rerank(QUESTION, TEXTS)) == 4
    assert [len(request.body["documents"]) for request in server.requests] == [3, 1]
    assert reranker.rerank(QUESTION, []).shape == (0,)
    assert asyncio.run(reranker.rerank_async(QUESTION, [])).shape == (0,)
    assert len(server.requests) == 2


def test_the_limit_of_a_text_is_sent(server: CohereServer) -> None:
    reranker = open_reranker("cohere:m", base_url=server.url, max_tokens_per_doc=77)
    reranker.rerank(QUESTION, TEXTS)
    assert server.requests[0].body["max_tokens_per_doc"] == 77


FAULTS = [
    (Fault(status=401), "refuses the API key; check CO_API_KEY"),
    (Fault(status=404), "has no model rerank-v3.5"),
    (
        Fault(status=429, error={"message": f"slow down, {KEY}"}),
        r"answered 429: slow down, \*\*\*\.",
    ),
    (Fault(status=500, body="<html>oops</html>"), "answered 500: no reason given"),
    (Fault(body="not json"), "answered 200"),
    (Fault(cut=True), "The connection to .* failed"),
    (Fault(spoil=lambda results: results[:-1]), "did not answer 4 texts with as many scores"),
    (Fault(spoil=lambda results: [*results[:-1], results[0]]), "with as many scores"),
    (Fault(spoil=lambda _: None), "with as many scores"),
    (Fault(spoil=lambda results: [{"index": r["index"]} for r in results]), "as many scores"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_a_failure_is_a_sentence(
    server: CohereServer, reranker: AsyncReranker, fault: Fault, said: str
) -> None:
    server.faults += [fault, fault]
    with pytest.raises(errors.RerankingError, match=said) as caught:
        reranker.rerank(QUESTION, TEXTS)
    with pytest.raises(errors.RerankingError, match=said):
        asyncio.run(reranker.rerank_async(QUESTION, TEXTS))
    assert KEY not in str(caught.value)
    assert len(server.requests) == 2, "somebody waits: no second attempt unless asked for"


def test_an_answer_that_takes_too_long_is_not_waited_for(server: CohereServer) -> None:
    server.faults.append(Fault(delay=1.0))
    reranker = open_reranker("cohere:m", base_url=server.url, timeout=0.1)
    with pytest.raises(errors.RerankingError, match="did not answer in time"):
        reranker.rerank(QUESTION, TEXTS)


def test_a_server_that_is_not_there(server: CohereServer) -> None:
    reranker = open_reranker("cohere:m", base_url="http://127.0.0.1:9")
    with pytest.raises(errors.RerankingError, match=r"The connection to 127\.0\.0\.1:9 failed"):
        reranker.rerank(QUESTION, TEXTS)


def test_where_address_and_key_come_from(
    server: CohereServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.CredentialsMissing, match="CO_API_KEY"):
        open_reranker("cohere:rerank-v3.5")
    monkeypatch.setenv("CO_API_URL", f"{server.url}/")
    open_reranker("cohere:m").rerank(QUESTION, TEXTS)
    monkeypatch.setenv("CO_API_KEY", KEY)
    opened = open_reranker("cohere:m")
    opened.rerank(QUESTION, TEXTS)
    assert server.keys == ["no-key-needed", KEY]
    assert KEY not in repr(opened)
    assert opened.name == "cohere:m"


@pytest.mark.parametrize(
    "options",
    [{"base_url": "localhost"}, {"api_key": "k\n"}, {"timeout": 0}, {"retries": -1}, {"top": 3}],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    given = {"api_key": KEY, **options}
    if options.get("api_key"):
        given["api_key"] = "k\u00e9y"
    with pytest.raises(errors.InvalidArgument):
        open_reranker("cohere:m", **given)


def test_nothing_is_left_behind(reranker: AsyncReranker) -> None:
    before = threading.active_count()
    reranker.rerank(QUESTION, TEXTS)
    assert threading.active_count() <= before + 1  # the server's own for the connection
