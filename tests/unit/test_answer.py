"""Asking, through the real SDK, a local server that fails as it is told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import pytest

from pgrecall.answer import Answer, AsyncAnswer, LanguageModel, language_model
from pgrecall.context import Context
from pgrecall.errors import (
    InvalidArgument,
    LanguageModelError,
    LanguageModelUnset,
    MissingExtra,
)
from pgrecall.types import Citation
from tests.openai_server import Fault, OpenAIServer

KEY = "sk-secret-0123456789"
RINGS = Citation(
    number=1,
    uri="saturn.md",
    title=None,
    document_id=UUID(int=1),
    tenant_id="",
    start=10,
    end=27,
    quote="The rings are ice",
)
CONTEXT = Context(text='[1] saturn.md\n"""\nThe rings are ice\n"""', citations=(RINGS,), tokens=20)
QUESTION = "What are the rings made of?"
GOOD = "Of ice: “rings are ice” [1]. Ünïcödé, 土星, 🪐 and\n\n* a list."

pytestmark = pytest.mark.usefixtures("one_certificate")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        running.answer = GOOD
        yield running


Ask = Callable[..., tuple[list[str], "Answer | AsyncAnswer", "Exception | None"]]


@pytest.fixture(params=["blocking", "awaited"])
def ask(request: pytest.FixtureRequest, server: OpenAIServer) -> Ask:
    """Ask in either flavour: the pieces, the answer, and what ended it."""

    def told(**options: object) -> tuple[list[str], Answer | AsyncAnswer, Exception | None]:
        given = {"name": "m", "base_url": server.url, "api_key": KEY, "retries": 0, **options}
        model = LanguageModel(**given)  # type: ignore[arg-type]
        if request.param == "blocking":
            return blocking(Answer(CONTEXT, QUESTION, model))
        return asyncio.run(awaited(AsyncAnswer(CONTEXT, QUESTION, model)))

    return told


def blocking(answer: Answer) -> tuple[list[str], Answer, Exception | None]:
    pieces = []
    try:
        for piece in answer:
            pieces.append(piece)
    except LanguageModelError as exc:
        return pieces, answer, exc
    return pieces, answer, None


async def awaited(answer: AsyncAnswer) -> tuple[list[str], AsyncAnswer, Exception | None]:
    pieces = []
    try:
        async for piece in answer:
            pieces.append(piece)
    except LanguageModelError as exc:
        return pieces, answer, exc
    return pieces, answer, None


def test_an_answer_comes_in_pieces_and_is_checked(ask: Ask, server: OpenAIServer) -> None:
    pieces, answer, error = ask()
    assert error is None
    assert len(pieces) > 5
    assert "".join(pieces) == answer.text == GOOD
    found = answer.verify()
    assert found.ok
    assert [marker.number for marker in found.markers] == [1]
    assert [(q.text, q.places[0].start, q.places[0].end) for q in found.quotes] == [
        ("rings are ice", 14, 27)
    ]
    (request,) = server.requests
    assert request.body == {
        "model": "m",
        "messages": CONTEXT.messages(QUESTION),
        "stream": True,
    }
    assert request.headers["authorization"] == f"Bearer {KEY}"


def test_what_is_made_up_is_told(ask: Ask, server: OpenAIServer) -> None:
    server.answer = "“Rings are rock” [1], says [2]."
    _, answer, _ = ask()
    assert answer.verify().problems == [
        '"Rings are rock" stands in no passage.',
        "[2] names no passage.",
    ]


@pytest.mark.parametrize(
    ("fault", "message", "text"),
    [
        (Fault(status=401), "127.0.0.1:{port} refuses the API key; check OPENAI_API_KEY.", ""),
        (Fault(status=403), "127.0.0.1:{port} does not allow", ""),
        (Fault(status=404), "has no model m; check its name and the base_url.", ""),
        (Fault(status=429), "127.0.0.1:{port} answered 429: as scripted.", ""),
        (
            Fault(status=429, error={"message": "no", "code": "insufficient_quota"}),
            "The quota at 127.0.0.1:{port} is used up",
            "",
        ),
        (
            Fault(status=400, error={"message": f"too long, {KEY}"}),
            "refuses the request (400): too long, ***.",
            "",
        ),
        (Fault(status=500), "answered 500: as scripted.", ""),
        (Fault(refusal="I would rather not."), "m refuses to answer: I would rather not.", ""),
        (Fault(finish="length"), "cut off: m has reached the longest it may write", GOOD),
        (Fault(finish="content_filter"), "The content filter of 127.0.0.1:{port} withholds", GOOD),
        (Fault(finish=None), "127.0.0.1:{port} broke off in the middle of the answer", GOOD),
        (
            Fault(event='{"error": {"message": "overloaded, ' + KEY + '"}}'),
            "127.0.0.1:{port} broke off: overloaded, ***.",
            GOOD,
        ),
        (Fault(event="{no json"), "The answer of 127.0.0.1:{port} cannot be read", GOOD),
        (Fault(body="<html>Hello</html>"), "cannot be read; check the base_url", ""),
        (Fault(body="data: [DONE]\n\n"), "cannot be read; check the base_url", ""),
    ],
)
def test_each_failure_says_what_it_is(
    ask: Ask, server: OpenAIServer, fault: Fault, message: str, text: str
) -> None:
    server.faults.append(fault)
    pieces, answer, error = ask()
    assert isinstance(error, LanguageModelError)
    assert message.format(port=server.host.rpartition(":")[2]) in str(error)
    assert str(error).endswith(".")
    assert KEY not in str(error)
    assert "".join(pieces) == answer.text == text
    assert len(server.requests) == 1


def test_a_connection_that_is_cut_keeps_what_came(ask: Ask, server: OpenAIServer) -> None:
    server.faults.append(Fault(cut=True))
    pieces, answer, error = ask()
    assert "The connection to 127.0.0.1" in str(error)
    assert GOOD.startswith(answer.text)
    assert 0 < len(answer.text) < len(GOOD)
    assert "".join(pieces) == answer.text


def test_nobody_there(ask: Ask) -> None:
    _, _, error = ask(base_url="http://127.0.0.1:9/v1")
    assert "The connection to 127.0.0.1:9 failed" in str(error)


def test_a_server_that_is_silent(ask: Ask, server: OpenAIServer) -> None:
    server.faults.append(Fault(pause=1.0))
    _, answer, error = ask(timeout=0.3)
    assert "did not answer in time" in str(error)
    assert GOOD.startswith(answer.text)
    assert answer.text


def test_a_request_that_was_refused_for_the_moment_is_sent_again(
    ask: Ask, server: OpenAIServer
) -> None:
    server.faults += [
        Fault(status=429, headers={"retry-after-ms": "10"}),
        Fault(status=503, headers={"retry-after-ms": "10"}),
    ]
    _, answer, error = ask(retries=2)
    assert error is None
    assert answer.text == GOOD
    assert len(server.requests) == 3


def test_pieces_do_not_wait_for_the_end(server: OpenAIServer) -> None:
    server.faults.append(Fault(pause=0.5))
    model = LanguageModel(name="m", base_url=server.url)
    began = time.monotonic()
    with Answer(CONTEXT, QUESTION, model) as answer:
        first = next(iter(answer))
        early = time.monotonic() - began
        assert answer.text == first != GOOD
        assert answer.read() == GOOD
    assert time.monotonic() - began - early > 0.3


def test_nothing_is_asked_before_the_first_piece(server: OpenAIServer) -> None:
    answer = Answer(CONTEXT, QUESTION, LanguageModel(name="m", base_url=server.url))
    assert (answer.text, server.requests) == ("", [])
    assert "m" in repr(answer)
    assert answer.read() == answer.read() == GOOD
    assert len(server.requests) == 1


def test_who_hangs_up_hears_no_more(server: OpenAIServer) -> None:
    model = LanguageModel(name="m", base_url=server.url)
    with Answer(CONTEXT, QUESTION, model) as answer:
        next(iter(answer))
    assert list(answer) == []

    async def main() -> None:
        async with AsyncAnswer(CONTEXT, QUESTION, model) as answer:
            await anext(aiter(answer))
        assert await answer.read() == answer.text != GOOD

    asyncio.run(main())


def test_a_server_of_ones_own_needs_no_key(ask: Ask, server: OpenAIServer) -> None:
    assert ask(api_key=None)[1].text == GOOD


def test_the_model_comes_from_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LanguageModelUnset) as unset:
        language_model()
    for name in ("PGRECALL_LLM_MODEL", "OPENAI_API_KEY", "PGRECALL_LLM_BASE_URL"):
        assert name in str(unset.value)
    monkeypatch.setenv("PGRECALL_LLM_MODEL", "gpt-4o-mini")
    with pytest.raises(LanguageModelUnset, match="gpt-4o-mini needs an API key: set OPENAI"):
        language_model()
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    model = language_model()
    assert (model.name, model.base_url, model.api_key) == ("gpt-4o-mini", None, KEY)
    assert model.host == "api.openai.com"
    assert KEY not in repr(model)
    monkeypatch.setenv("PGRECALL_LLM_API_KEY", "other")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://openai.test/v1")
    assert language_model().host == "openai.test"
    monkeypatch.setenv("PGRECALL_LLM_BASE_URL", "http://me:secret@llm.test:80/v1")
    assert language_model("llama3").host == "llm.test:80"
    assert (language_model("llama3").name, language_model().api_key) == ("llama3", "other")
    assert language_model(base_url="http://given.test").host == "given.test"


@pytest.mark.parametrize("url", ["localhost:11434", "http://", "ftp://a/v1", "https:///v1"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InvalidArgument, match="http://localhost:11434/v1"):
        LanguageModel(name="m", base_url=url)


def test_a_key_that_is_none() -> None:
    with pytest.raises(InvalidArgument, match="OPENAI_API_KEY"):
        LanguageModel(name="m", api_key="sk-…")


@pytest.mark.parametrize(
    ("name", "tokenizer"),
    [("gpt-4o-mini", "o200k_base"), ("gpt-4", "cl100k_base"), ("llama3.1:8b", "cl100k_base")],
)
def test_the_context_is_counted_as_the_model_counts(name: str, tokenizer: str) -> None:
    assert LanguageModel(name=name, api_key=KEY).tokenizer == tokenizer


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgrecall.answer.model.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pgrecall\[openai\]"):
        LanguageModel(name="m", api_key=KEY)
