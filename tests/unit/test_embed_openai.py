"""Through the real SDK, against a local server that fails as it is told to."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest

from pgrecall.embed.openai import OpenAIEmbedder, OpenAIOptions
from pgrecall.embed.registry import open_embedder
from pgrecall.embed.retry import Backoff
from pgrecall.errors import CredentialsMissing, EmbeddingError, InvalidArgument
from pgrecall.types import FloatArray
from tests.openai_server import OTHER_DIMENSIONS, Data, Fault, OpenAIServer, vector

SMALL = "text-embedding-3-small"
KEY = "sk-secret-0123456789"
QUICK = Backoff(attempts=4, first=0.001, longest=0.005)
#: 522 tokens that the service estimates as 7,930: 37 of them fill a request, as 2,048 short texts do.
RULED = ("-" * 60 + " ") * 520
PER_REQUEST = 37

pytestmark = pytest.mark.usefixtures("one_certificate")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        yield running


class Opened:
    """Calls one embedder by its synchronous or its asynchronous methods."""

    def __init__(self, embedder: OpenAIEmbedder, *, awaited: bool) -> None:
        self.embedder = embedder
        self._awaited = awaited

    def documents(self, texts: list[str]) -> FloatArray:
        if not self._awaited:
            return self.embedder.embed_documents(texts)

        async def run() -> FloatArray:
            async with self.embedder as embedder:
                return await embedder.embed_documents_async(texts)

        return asyncio.run(run())

    def query(self, text: str) -> FloatArray:
        if not self._awaited:
            return self.embedder.embed_query(text)

        async def run() -> FloatArray:
            async with self.embedder as embedder:
                return await embedder.embed_query_async(text)

        return asyncio.run(run())


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def awaited(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def opened(server: OpenAIServer, awaited: bool) -> Iterator[Opened]:
    with small(server) as embedder:
        yield Opened(embedder, awaited=awaited)


def small(server: OpenAIServer, model: str = SMALL, **options: object) -> OpenAIEmbedder:
    given: dict[str, Any] = {"base_url": server.url, "api_key": KEY, "backoff": QUICK, **options}
    embedder = open_embedder(f"openai:{model}", **given)
    assert isinstance(embedder, OpenAIEmbedder)
    return embedder


def unit(text: str, model: str = SMALL, dimensions: int = 1536) -> FloatArray:
    raw = vector(text, model, dimensions)
    return raw / np.linalg.norm(raw)


# Vectors and requests


def test_vectors_are_normalised_and_in_order(opened: Opened, server: OpenAIServer) -> None:
    texts = [f"text {n}" for n in range(7)]

    found = opened.documents(texts)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [unit(text) for text in texts], atol=1e-6)
    assert [request.body["input"] for request in server.requests] == [texts]


def test_a_query_is_one_vector(opened: Opened) -> None:
    np.testing.assert_allclose(opened.query("how?"), unit("how?"), atol=1e-6)


def test_both_formats_give_the_same(server: OpenAIServer) -> None:
    with small(server) as packed, small(server, encoding_format="float") as plain:
        np.testing.assert_allclose(
            packed.embed_documents(["a", "b"]), plain.embed_documents(["a", "b"]), atol=1e-6
        )
    assert [r.body["encoding_format"] for r in server.requests] == ["base64", "float"]


def test_vectors_are_sorted_by_their_index(opened: Opened, server: OpenAIServer) -> None:
    server.faults.append(Fault(spoil=lambda data: data[::-1]))
    np.testing.assert_allclose(opened.documents(["a", "b"])[0], unit("a"), atol=1e-6)


def test_no_texts_need_no_request(opened: Opened, server: OpenAIServer) -> None:
    assert opened.documents([]).shape == (0, 1536)
    assert server.requests == []


def test_dimensions_are_asked_of_models_that_can_shorten(server: OpenAIServer) -> None:
    with small(server, "text-embedding-3-large@1024") as embedder:
        assert embedder.name == "openai:text-embedding-3-large@1024"
        assert embedder.dimensions == 1024
        assert embedder.embed_documents(["a"]).shape == (1, 1024)
    assert server.requests[0].body["dimensions"] == 1024


def test_the_models_own_dimensions_are_not_named(server: OpenAIServer) -> None:
    with small(server, f"{SMALL}@1536") as embedder:
        assert embedder.name == f"openai:{SMALL}"
    with small(server, "ada:v1.5@48") as embedder:
        assert embedder.name == "openai:ada:v1.5@48"
        embedder.embed_query("a")
    assert "dimensions" not in server.requests[0].body


def test_an_unknown_model_is_asked_once_for_its_dimensions(server: OpenAIServer) -> None:
    with small(server, "nomic") as embedder:
        assert server.requests == []
        assert [embedder.dimensions, embedder.dimensions] == [OTHER_DIMENSIONS] * 2
        assert len(server.requests) == 1


def test_an_unknown_model_tells_its_dimensions_by_any_answer(
    server: OpenAIServer, awaited: bool
) -> None:
    with small(server, "nomic") as embedder:
        opened = Opened(embedder, awaited=awaited)
        assert opened.documents([]).shape == (0, OTHER_DIMENSIONS)
        assert opened.documents(["a"]).shape == (1, OTHER_DIMENSIONS)
        assert embedder.dimensions == OTHER_DIMENSIONS
    assert len(server.requests) == 2


def test_many_texts_are_cut_by_count_and_sent_side_by_side(
    server: OpenAIServer, awaited: bool
) -> None:
    server.faults += [Fault(delay=0.2), Fault(delay=0.1), Fault(delay=0.05)]
    texts = [f"{n}" for n in range(2 * 2048 + 3)]

    # Where requests are what is limited, each holds as much as it may.
    with small(server, f"{SMALL}@8", rpm=3_000) as embedder:
        found = Opened(embedder, awaited=awaited).documents(texts)

    assert sorted(len(request.body["input"]) for request in server.requests) == [3, 2048, 2048]
    assert 1 < server.most_at_once <= 4
    for position in (0, 2047, 2048, 4096, 4098):
        expected = unit(texts[position], dimensions=8)
        np.testing.assert_allclose(found[position], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("count", "sizes"), [(512, [128] * 4), (64, [64]), (3_000, [180, *[188] * 15])]
)
def test_texts_are_shared_out_among_requests(
    server: OpenAIServer, count: int, sizes: list[int], awaited: bool
) -> None:
    server.faults += [Fault(delay=0.2)] * len(sizes)
    texts = [f"{n}" for n in range(count)]
    with small(server, f"{SMALL}@8") as embedder:
        found = Opened(embedder, awaited=awaited).documents(texts)
    assert sorted(len(request.body["input"]) for request in server.requests) == sizes
    assert server.most_at_once >= min(len(sizes), 4)
    np.testing.assert_allclose(found[-1], unit(texts[-1], dimensions=8), atol=1e-6)


def test_many_tokens_are_cut_by_what_the_service_counts(server: OpenAIServer) -> None:
    text = "refund policy " * 2_000  # 4,000 tokens; 28,000 bytes, which are estimated as 7,000
    with small(server) as embedder:
        embedder.embed_documents([text] * 50)
    sizes = [len(request.body["input"]) for request in server.requests]
    assert sorted(sizes) == [8, 42]  # 42 x 7,000 = 294,000 of 300,000


def test_concurrency_is_limited(server: OpenAIServer, awaited: bool) -> None:
    server.faults += [Fault(delay=0.05)] * 5
    with small(server, f"{SMALL}@8", concurrency=2) as embedder:
        Opened(embedder, awaited=awaited).documents([RULED] * (4 * PER_REQUEST + 1))
    assert len(server.requests) == 5
    assert server.most_at_once == 2


def test_threads_share_one_embedder(server: OpenAIServer) -> None:
    with small(server) as embedder, ThreadPoolExecutor(8) as pool:
        texts = [f"text {n}" for n in range(40)]
        found = list(pool.map(embedder.embed_query, texts))
    np.testing.assert_allclose(found, [unit(text) for text in texts], atol=1e-6)


def test_one_embedder_serves_loop_after_loop(server: OpenAIServer) -> None:
    with small(server) as embedder:
        for _ in range(3):
            np.testing.assert_allclose(
                Opened(embedder, awaited=True).query("a"), unit("a"), atol=1e-6
            )


# Texts that cannot be sent


def test_unusable_texts_are_refused_without_a_request(opened: Opened, server: OpenAIServer) -> None:
    with pytest.raises(InvalidArgument, match=r"^The query is empty\.$"):
        opened.query("\n")
    with pytest.raises(InvalidArgument, match=r"^Text 1 is empty\.$"):
        opened.documents(["a", " "])
    with pytest.raises(InvalidArgument, match=r"Text 2 has 9,\d+ tokens, .* at most 8,191"):
        opened.documents(["a", "b", "go " * 9_000])
    with pytest.raises(InvalidArgument, match="The query has"):
        opened.query("go " * 9_000)
    assert server.requests == []


# Failures that pass


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429),
        Fault(status=408),
        Fault(status=409),
        Fault(status=500, body="<html>oops</html>"),
        Fault(status=503, headers={"Retry-After": "0"}),
        Fault(status=400, headers={"x-should-retry": "true"}),
        Fault(cut=True),
        Fault(status=500, cut=True),
    ],
    ids=lambda fault: f"{fault.status}{'-cut' * fault.cut}",
)
def test_what_may_pass_is_tried_again(opened: Opened, server: OpenAIServer, fault: Fault) -> None:
    server.faults += [fault, fault]
    np.testing.assert_allclose(opened.query("a"), unit("a"), atol=1e-6)
    assert len(server.requests) == 3


def test_a_slow_answer_is_tried_again(server: OpenAIServer, awaited: bool) -> None:
    server.faults.append(Fault(delay=1.0))
    with small(server, timeout=0.5) as embedder:
        Opened(embedder, awaited=awaited).query("a")
    assert len(server.requests) == 2


def test_retry_after_in_seconds_is_kept(opened: Opened, server: OpenAIServer) -> None:
    server.faults.append(Fault(status=429, headers={"Retry-After": "0.2"}))
    opened.query("a")
    assert 0.2 <= pause(server) < 5


def test_retry_after_as_a_date_is_kept(server: OpenAIServer) -> None:
    named = math.ceil(time.time() + 0.3)  # a date has whole seconds
    fault = Fault(status=503, headers={"Retry-After": formatdate(named, usegmt=True)})
    server.faults.append(fault)
    with small(server) as embedder:
        embedder.embed_query("a")
    assert len(server.requests) == 2
    assert named <= time.time() < named + 5


def pause(server: OpenAIServer) -> float:
    first, second = server.requests
    return second.time - first.time


def test_attempts_end_with_one_sentence(opened: Opened, server: OpenAIServer) -> None:
    server.faults += [Fault(status=429, error={"message": "Rate limit reached."})] * 9
    with pytest.raises(EmbeddingError) as raised:
        opened.documents(["a"])
    assert str(raised.value) == (
        f"{server.host} answered 429: Rate limit reached; gave up after 4 attempts."
    )
    assert len(server.requests) == 4


def test_a_pause_past_the_deadline_is_not_waited_for(opened: Opened, server: OpenAIServer) -> None:
    server.faults.append(Fault(status=429, headers={"Retry-After": "3600"}))
    started = time.monotonic()
    with pytest.raises(EmbeddingError, match="past the deadline"):
        opened.query("a")
    assert time.monotonic() - started < 2


def test_the_deadline_bounds_slow_attempts(server: OpenAIServer, awaited: bool) -> None:
    server.faults += [Fault(delay=1.0)] * 9
    started = time.monotonic()
    with (
        small(server, deadline=0.4, timeout=0.25) as embedder,
        pytest.raises(EmbeddingError, match="did not answer in time; gave up"),
    ):
        Opened(embedder, awaited=awaited).documents(["a"])
    assert time.monotonic() - started < 3  # of nine


def test_a_server_that_is_not_there(awaited: bool) -> None:
    with OpenAIServer() as gone:
        host = gone.host
    with (
        small(gone) as embedder,
        pytest.raises(EmbeddingError, match=rf"The connection to {host} failed: .*; gave up after"),
    ):
        Opened(embedder, awaited=awaited).query("a")


def test_retries_are_logged_without_the_key(
    server: OpenAIServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults.append(Fault(status=500, error={"message": f"no luck with {KEY}"}))
    with small(server) as embedder, caplog.at_level(logging.WARNING, "pgrecall"):
        embedder.embed_query("a")
    assert "answered 500: no luck with ***; trying again in" in caplog.text
    assert KEY not in caplog.text


# Failures that do not pass


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (Fault(status=401), CredentialsMissing, "refuses the API key; check OPENAI_API_KEY"),
        (Fault(status=403), EmbeddingError, f"does not allow this API key to use .* {SMALL}"),
        (Fault(status=404), EmbeddingError, f"has no model {SMALL}"),
        (Fault(status=400), EmbeddingError, r"refuses the request \(400\): as scripted\.$"),
        (Fault(status=422, body="nope"), EmbeddingError, r"\(422\): Unprocessable .*\.$"),
        (
            Fault(status=429, error={"message": "x", "code": "insufficient_quota"}),
            EmbeddingError,
            "quota .* used up",
        ),
        (
            Fault(status=500, headers={"x-should-retry": "false"}),
            EmbeddingError,
            r"refuses the request \(500\)",
        ),
    ],
)
def test_what_will_not_pass_is_told_at_once(
    opened: Opened, server: OpenAIServer, fault: Fault, error: type[Exception], message: str
) -> None:
    server.faults.append(fault)
    with pytest.raises(EmbeddingError, match=message) as raised:
        opened.documents(["a"])
    assert type(raised.value) is error
    assert raised.value.__cause__ is not None
    assert len(server.requests) == 1


def change(position: int, embedding: object) -> Fault:
    def spoil(data: Data) -> Data:
        return [
            item | {"embedding": embedding} if item["index"] == position else item for item in data
        ]

    return Fault(spoil=spoil)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(spoil=lambda data: [data[0], data[0]]), "not numbered as the texts"),
        (Fault(spoil=lambda data: [{"embedding": [1.0]}] * 2), "not numbered as the texts"),
        (change(1, [0.0] * 1536), "Text 1 was answered with a vector that is zero"),
        (change(1, [float("nan")] * 1536), "Text 1 was answered with a vector that is zero"),
        (change(0, [float("inf")] + [0.0] * 1535), "Text 0 was answered with"),
        (change(0, [1.0, 2.0]), r"different lengths: \[2, 1536\]"),
        (change(0, "?not base64?"), "cannot be read"),
        (change(0, "AAA="), "cannot be read"),
        (change(0, None), "cannot be read"),
        (change(0, [[1.0]]), "cannot be read"),
        (change(0, ["a"]), "cannot be read"),
    ],
)
def test_answers_are_checked(server: OpenAIServer, fault: Fault, message: str) -> None:
    server.faults.append(fault)
    with small(server) as embedder, pytest.raises(EmbeddingError, match=message):
        embedder.embed_documents(["a", "b"])
    assert len(server.requests) == 1


def test_a_vector_whose_square_overflows_is_still_normalised(
    opened: Opened, server: OpenAIServer
) -> None:
    server.faults.append(change(0, [1e30] * 1536))
    np.testing.assert_allclose(opened.query("a"), 1536**-0.5, rtol=1e-5)


@pytest.mark.parametrize("body", ["<html>Welcome</html>", "{", '"text"', "[1]", '{"data": 3}'])
def test_a_server_of_another_kind_is_told(server: OpenAIServer, body: str) -> None:
    server.faults += [Fault(body=body), Fault(body=body, content_type="application/json")]
    with small(server) as embedder:
        for _ in range(2):
            with pytest.raises(EmbeddingError, match="check the base_url"):
                embedder.embed_query("a")
    assert len(server.requests) == 2


def test_other_dimensions_than_the_name_says_are_refused(server: OpenAIServer) -> None:
    with (
        small(server, "nomic@64") as embedder,
        pytest.raises(EmbeddingError, match="answers with 48 dimensions, not with 64"),
    ):
        embedder.embed_query("a")


def test_positions_are_those_of_the_call_not_of_the_request(
    opened: Opened, server: OpenAIServer
) -> None:
    def spoil(data: Data) -> Data:
        return [data[0] | {"embedding": [0.0] * 1536}, *data[1:]] if len(data) == 3 else data

    server.faults += [Fault(spoil=spoil)] * 2
    with pytest.raises(EmbeddingError, match=f"Text {PER_REQUEST} was"):
        opened.documents([RULED] * (PER_REQUEST + 3))


def test_one_failure_ends_the_call_and_its_other_requests(
    server: OpenAIServer, awaited: bool
) -> None:
    server.faults += [
        # Late enough that both requests are on their way.
        Fault(status=429, headers={"Retry-After": "30"}, delay=0.5),
        Fault(status=404, delay=1.0),
        *[Fault(status=429, headers={"Retry-After": "30"})] * 8,
    ]
    started = time.monotonic()
    with (
        small(server, concurrency=2) as embedder,
        pytest.raises(EmbeddingError, match="has no model"),
    ):
        Opened(embedder, awaited=awaited).documents([RULED] * (9 * PER_REQUEST))
    assert time.monotonic() - started < 5
    assert len(server.requests) < 5  # of nine


def test_cancelling_ends_the_requests(server: OpenAIServer) -> None:
    server.faults += [Fault(status=429, headers={"Retry-After": "30"})] * 9

    async def run() -> None:
        async with small(server) as embedder:
            call = asyncio.create_task(
                embedder.embed_documents_async([RULED] * (2 * PER_REQUEST + 1))
            )
            while len(server.requests) < 3:
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(asyncio.wait_for(run(), timeout=10))
    assert len(server.requests) == 3


# Keys and addresses


def test_a_key_is_in_no_message(server: OpenAIServer) -> None:
    server.faults += [Fault(status=400, error={"message": f"{KEY} is bad"}), Fault(status=401)]
    with small(server) as embedder:
        shown = [repr(embedder), str(embedder), repr(embedder.__dict__)]
        for _ in range(2):
            with pytest.raises(EmbeddingError) as raised:
                embedder.embed_query("a")
            shown.append(repr(raised.value))
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert not any(KEY in text for text in shown)


def test_key_and_address_come_from_the_environment(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    with OpenAIEmbedder(SMALL) as embedder:
        embedder.embed_query("a")
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_local_server_needs_no_key(server: OpenAIServer) -> None:
    with OpenAIEmbedder(SMALL, OpenAIOptions(base_url=server.url)) as embedder:
        np.testing.assert_allclose(embedder.embed_query("a"), unit("a"), atol=1e-6)


def test_a_dropped_embedder_leaves_no_open_sockets(server: OpenAIServer) -> None:
    embedder = small(server)
    embedder.embed_query("a")
    del embedder
    gc.collect()  # a ResourceWarning would be an error here
