"""Providers that misbehave, through their real SDKs: what has to go through goes through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from pgrecall import open_embedder
from pgrecall.embed.remote import RemoteEmbedder
from pgrecall.embed.retry import Backoff
from pgrecall.errors import CredentialsMissing, EmbeddingError
from pgrecall.types import FloatArray
from tests.cohere_server import CohereServer
from tests.openai_server import OpenAIServer
from tests.vendor_server import Body, Fault, VendorServer

QUICK = Backoff(attempts=3, first=0.001, longest=0.005)


@pytest.fixture(params=["openai", "cohere"])
def server(request: pytest.FixtureRequest) -> Iterator[VendorServer]:
    with OpenAIServer() if request.param == "openai" else CohereServer() as running:
        yield running


def opened(server: VendorServer, **options: Any) -> RemoteEmbedder:
    cohere = isinstance(server, CohereServer)
    name = "cohere:embed-v4.0@256" if cohere else "openai:text-embedding-3-small@256"
    options = {"base_url": server.url, "api_key": "key", "backoff": QUICK, **options}  # type: ignore[attr-defined]
    embedder = open_embedder(name, **options)
    assert isinstance(embedder, RemoteEmbedder)
    return embedder


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def embed(request: pytest.FixtureRequest) -> Callable[[RemoteEmbedder, list[str]], FloatArray]:
    def call(embedder: RemoteEmbedder, texts: list[str]) -> FloatArray:
        if not request.param:
            with embedder:
                return embedder.embed_documents(texts)

        async def run() -> FloatArray:
            async with embedder:
                return await embedder.embed_documents_async(texts)

        return asyncio.run(run())

    return call


Embed = Callable[[RemoteEmbedder, list[str]], FloatArray]


def texts_of(body: Body) -> list[str]:
    given: list[str] = body.get("input") or body["texts"]
    return given


def poison(fault: Fault) -> Callable[[Body], Fault | None]:
    return lambda body: fault if any("poison" in text for text in texts_of(body)) else None


def drop_poison(body: Body) -> Fault | None:
    texts = texts_of(body)
    if "poison" not in " ".join(texts):
        return None
    return Fault(spoil=lambda rows: rows[:-1])


TEXTS = [f"text {n}" for n in range(64)]


@pytest.mark.parametrize(
    "rule",
    [
        poison(Fault(status=400, error={"message": "no such thing"})),
        poison(Fault(status=500)),
        drop_poison,
    ],
    ids=["refused", "broken", "dropped"],
)
def test_one_bad_text_is_found_and_the_rest_goes_through(
    server: VendorServer, embed: Embed, rule: Callable[[Body], Fault | None]
) -> None:
    server.rule = rule
    texts = [*TEXTS[:37], "poison", *TEXTS[37:]]
    with pytest.raises(EmbeddingError, match=r"^Text 37: ") as raised:
        embed(opened(server), texts)
    error = raised.value
    assert list(error.refused) == [37]
    assert sorted(error.answered) == [n for n in range(65) if n != 37]
    expected = embed(opened(server), TEXTS)
    np.testing.assert_allclose(error.answered[36], expected[36], atol=1e-6)
    np.testing.assert_allclose(error.answered[38], expected[37], atol=1e-6)
    assert len(server.requests) < 30  # of 65, with attempts


def test_two_bad_texts(server: VendorServer, embed: Embed) -> None:
    server.rule = poison(Fault(status=422))
    texts = ["poison a", *TEXTS[:20], "poison b"]
    with pytest.raises(EmbeddingError) as raised:
        embed(opened(server), texts)
    assert sorted(raised.value.refused) == [0, 21]
    assert len(raised.value.answered) == 20


def test_a_provider_that_is_down_is_not_asked_for_each_text(
    server: VendorServer, embed: Embed
) -> None:
    server.rule = lambda body: Fault(status=503)
    with pytest.raises(EmbeddingError, match=r"answered 503.*gave up after 3 attempts") as raised:
        embed(opened(server), TEXTS)
    assert not raised.value.answered
    assert not raised.value.refused
    assert len(server.requests) <= 3 + 2 + 2


def test_a_refused_key_is_told_at_once(server: VendorServer, embed: Embed) -> None:
    server.rule = lambda body: Fault(status=401)
    with pytest.raises(CredentialsMissing):
        embed(opened(server), TEXTS)
    assert len(server.requests) == 1


def test_what_was_answered_before_a_failure_is_kept(server: VendorServer, embed: Embed) -> None:
    # Two requests of which the second, which is longer, is told that there is no such model.
    long = "word " * 400
    texts = [*TEXTS, *[f"{long}{n}" for n in range(400)]]
    server.rule = lambda body: (
        Fault(status=404, delay=0.3) if any("word" in text for text in texts_of(body)) else None
    )
    size = {"batch_size": len(TEXTS)} if isinstance(server, OpenAIServer) else {}
    texts = texts if size else [*TEXTS, *TEXTS[:32], *texts[64:]]
    with pytest.raises(EmbeddingError, match="has no model") as raised:
        embed(opened(server, concurrency=1, **size), texts)
    assert set(raised.value.answered) == set(range(64 if size else 96))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429),
        Fault(status=429, headers={"Retry-After": "0.05"}),
        Fault(status=500),
        Fault(status=503, body="<html>"),
        Fault(cut=True),
    ],
    ids=["429", "retry-after", "500", "503", "cut"],
)
def test_what_passes_by_itself_is_tried_again(
    server: VendorServer, embed: Embed, fault: Fault
) -> None:
    server.faults += [fault, fault]
    assert embed(opened(server), TEXTS).shape == (64, 256)
    assert len(server.requests) == 3


def test_a_slow_answer_is_given_up_and_asked_for_again(server: VendorServer, embed: Embed) -> None:
    server.faults.append(Fault(delay=1.5))
    assert embed(opened(server, timeout=0.6), ["a"]).shape == (1, 256)
    assert len(server.requests) == 2


def test_a_vector_of_another_length_is_refused(server: VendorServer, embed: Embed) -> None:
    def shorter(rows: Any) -> Any:
        if isinstance(rows[0], dict):
            return [row | {"embedding": [1.0, 2.0]} for row in rows]
        return [[1.0, 2.0] for _ in rows]

    server.faults.append(Fault(spoil=shorter))
    with pytest.raises(EmbeddingError, match="answers with 2 dimensions, not with 256"):
        embed(opened(server), TEXTS)
    assert len(server.requests) == 1


def test_nan_spoils_its_own_text_alone(server: VendorServer, embed: Embed) -> None:
    def nan(rows: Any) -> Any:
        bad = [float("nan")] * 256
        row = rows[3] | {"embedding": bad} if isinstance(rows[3], dict) else bad
        return [*rows[:3], row, *rows[4:]]

    server.faults.append(Fault(spoil=nan))
    with pytest.raises(EmbeddingError, match="Text 3 was answered with a vector") as raised:
        embed(opened(server), TEXTS)
    assert len(raised.value.answered) == 63
    assert len(server.requests) == 1, "what was answered well is not asked for again"


def test_the_server_says_when_its_limit_is_used_up(server: VendorServer, embed: Embed) -> None:
    used_up = {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "4s",
    }
    server.faults.append(Fault(headers=used_up))
    embedder = opened(server)
    embed(embedder, ["a"])
    embed(embedder, ["b"])
    first, second = server.requests
    assert second.time - first.time >= 0.35  # a tenth of four seconds


def test_a_pause_that_one_request_is_told_holds_the_others(server: VendorServer) -> None:
    server.faults.append(Fault(status=429, headers={"Retry-After": "0.4"}))
    with opened(server) as embedder, ThreadPoolExecutor(2) as pool:
        first = pool.submit(embedder.embed_query, "a")
        while not server.requests:
            time.sleep(0.005)
        time.sleep(0.1)
        second = pool.submit(embedder.embed_query, "b")
        first.result()
        second.result()
    told, *later = [request.time for request in server.requests]
    assert all(when - told >= 0.4 for when in later)


def test_requests_per_minute_hold_threads_and_tasks_together(server: VendorServer) -> None:
    with opened(server, rpm=3, query_deadline=1.0) as one:
        other = opened(server, rpm=3, query_deadline=1.0)
        one.embed_query("a")

        async def two() -> None:
            async with other:
                await asyncio.gather(other.embed_query_async("b"), other.embed_query_async("c"))

        asyncio.run(two())
        with pytest.raises(EmbeddingError, match="no room before the deadline"):
            one.embed_query("d")
    assert len(server.requests) == 3


def test_concurrency_falls_when_a_server_is_overloaded_and_no_text_is_lost(
    server: VendorServer, embed: Embed
) -> None:
    def overloaded(body: Body) -> Fault | None:
        busy = server._at_once > 2
        return Fault(status=429, delay=0.01) if busy else Fault(delay=0.02)

    server.rule = overloaded
    texts = [f"{'word ' * 200}{n}" for n in range(96 * 12)]
    size = {"batch_size": 96} if isinstance(server, OpenAIServer) else {}
    patient = Backoff(attempts=12, first=0.01, longest=0.05)
    found = embed(opened(server, concurrency=12, backoff=patient, **size), texts)
    assert found.shape == (len(texts), 256)
    refused = len(server.requests) - 12
    assert refused < 24, "a fixed concurrency of 12 would be refused far more often"
