"""OpenAI's chat protocol: what is sent, how the stream is read, what an error means."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import openai

from pgrecall.answer.model import LanguageModel
from pgrecall.embed.endpoints import Endpoint
from pgrecall.embed.openai_wire import translated_errors
from pgrecall.embed.statuses import Asked
from pgrecall.errors import EmbeddingError, LanguageModelError

Messages = Sequence[dict[str, str]]


def pieces(model: LanguageModel, messages: Messages) -> Generator[str, None, None]:
    """The answer's text as it comes; closing the generator hangs up."""
    reader = Reader(model)
    with (
        _errors(model),
        openai.OpenAI(**model.client_settings()) as client,
        client.chat.completions.create(**_request(model, messages)) as stream,
    ):
        for chunk in stream:
            if piece := reader.accept(chunk):
                yield piece
    reader.finish()


async def pieces_async(model: LanguageModel, messages: Messages) -> AsyncGenerator[str, None]:
    """As ``pieces``, awaited."""
    reader = Reader(model)
    with _errors(model):
        async with (
            openai.AsyncOpenAI(**model.client_settings()) as client,
            await client.chat.completions.create(**_request(model, messages)) as stream,
        ):
            async for chunk in stream:
                if piece := reader.accept(chunk):
                    yield piece
    reader.finish()


def _request(model: LanguageModel, messages: Messages) -> dict[str, Any]:
    return {"model": model.name, "messages": list(messages), "stream": True}


class Reader:
    """Takes the chunks of one answer, and knows at their end whether it is whole."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._refusal: list[str] = []
        self._started = False
        self._reason: str | None = None

    def accept(self, chunk: object) -> str:
        """The text in a chunk; "" for none. Servers leave out what they have no value for."""
        for choice in getattr(chunk, "choices", None) or ():
            self._started = True
            self._reason = getattr(choice, "finish_reason", None) or self._reason
            delta = getattr(choice, "delta", None)
            self._refusal.append(getattr(delta, "refusal", None) or "")
            return getattr(delta, "content", None) or ""
        return ""

    def finish(self) -> None:
        """Raises LanguageModelError unless the model has said all that it wanted to say."""
        host, refusal = self._model.host, "".join(self._refusal).strip()
        if refusal:
            raise LanguageModelError(f"{self._model.name} refuses to answer: {refusal}")
        if not self._started:
            raise LanguageModelError(f"The answer of {host} cannot be read; check the base_url.")
        if self._reason is None:
            raise LanguageModelError(f"{host} broke off in the middle of the answer; ask again.")
        if self._reason == "content_filter":
            raise LanguageModelError(f"The content filter of {host} withholds the answer.")
        if self._reason == "length":
            raise LanguageModelError(
                f"The answer is cut off: {self._model.name} has reached the longest it may write; "
                "ask with a smaller max_tokens, which leaves it more room."
            )


@contextmanager
def _errors(model: LanguageModel) -> Iterator[None]:
    """Raise whatever the SDK raises as a LanguageModelError, told as the embedder tells it."""
    settings = model.client_settings()
    key = settings["api_key"]
    at = Endpoint(url=settings["base_url"], key=key)
    try:
        with translated_errors(Asked(at=at, model=model.name, key_variable="OPENAI_API_KEY")):
            yield
    except EmbeddingError as exc:
        cause = exc.__cause__
        if type(cause) is openai.APIError:  # an error in the stream, after its good beginning
            said = " ".join(cause.message.split()).replace(key, "***")[:300].rstrip(".")
            raise LanguageModelError(f"{model.host} broke off: {said}.") from cause
        raise LanguageModelError(f"{str(exc).rstrip('.')}.") from cause
    except Exception as exc:
        # Older versions of the SDK let the errors of their HTTP library pass while they stream.
        if not type(exc).__module__.startswith("httpx"):
            raise
        if type(exc).__name__.endswith("Timeout"):
            raise LanguageModelError(f"{model.host} did not answer in time.") from exc
        reason = str(exc).rstrip(".") or type(exc).__name__
        raise LanguageModelError(f"The connection to {model.host} failed: {reason}.") from exc
