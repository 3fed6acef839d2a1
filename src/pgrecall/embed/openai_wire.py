"""The OpenAI embeddings protocol: what is sent, how an answer is read, what an error means.

Pure functions, shared by the synchronous and the asynchronous client.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import openai

from pgrecall.embed.retry import TransientError, retry_after
from pgrecall.errors import CredentialsMissing, EmbeddingError, InvalidArgument
from pgrecall.types import FloatArray

#: Vector length of OpenAI's models: https://platform.openai.com/docs/guides/embeddings
DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
#: Limits of one request, from the API reference of "Create embeddings".
MAX_ITEMS_PER_REQUEST = 2048
MAX_TOKENS_PER_REQUEST = 300_000
#: The service holds a request against its limit by an estimate: a quarter of a token per byte.
BYTES_PER_ESTIMATED_TOKEN = 4

_TIMEOUT, _CONFLICT, _RATE_LIMIT = 408, 409, 429


def dimensions(model: str, asked: int | None) -> int | None:
    """Length of the vectors: as asked, else the model's own, else None for "not known yet".

    Raises InvalidArgument for a length that the model cannot give.
    """
    natural = DIMENSIONS.get(model)
    if asked is None:
        return natural
    if natural not in (None, asked) and not shortens(model):
        raise InvalidArgument(f"{model} always has {natural} dimensions, not {asked}.")
    if asked < 1 or (natural is not None and asked > natural):
        raise InvalidArgument(f"{model} has 1 to {natural or 'n'} dimensions, not {asked}.")
    return asked


def shortens(model: str) -> bool:
    """Whether the model takes a ``dimensions`` parameter."""
    return model.startswith("text-embedding-3")


def charged_tokens(text: str, tokens: int) -> int:
    """Tokens that count against the limit of a request: the real ones or the service's estimate."""
    return max(tokens, -(-len(text.encode()) // BYTES_PER_ESTIMATED_TOKEN))


def vectors(answer: object, count: int) -> FloatArray:
    """The vectors of an answer, in the order of the texts: shape (count, dimensions), as received.

    Raises EmbeddingError if there are not exactly ``count`` of them, of one length.
    """
    data = getattr(answer, "data", None)
    if not isinstance(data, list):
        raise EmbeddingError("The answer is no list of embeddings; check the base_url.")
    if len(data) != count:
        raise EmbeddingError(
            f"The server answered {count} texts with {len(data)} vectors; check the model."
        )
    by_index = {getattr(item, "index", None): item for item in data}
    if by_index.keys() != set(range(count)):
        raise EmbeddingError("The vectors of the answer are not numbered as the texts were.")
    return _stacked([_vector(by_index[index].embedding) for index in range(count)])


def _stacked(rows: Sequence[FloatArray]) -> FloatArray:
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1:
        raise EmbeddingError(f"The vectors of one answer have different lengths: {lengths}.")
    return np.stack(rows)


def _vector(embedding: object) -> FloatArray:
    """One vector from base64 (little-endian float32) or from a list of numbers."""
    try:
        if isinstance(embedding, str):
            decoded = base64.b64decode(embedding, validate=True)
            return np.frombuffer(decoded, dtype="<f4").astype(np.float32)
        vector = np.asarray(embedding, dtype=np.float32)
    except (binascii.Error, TypeError, ValueError) as exc:
        raise EmbeddingError("The answer holds a vector that cannot be read.") from exc
    if vector.ndim != 1:
        raise EmbeddingError("The answer holds a vector that cannot be read.")
    return vector


@contextmanager
def translated_errors(*, model: str, host: str, key: str) -> Iterator[None]:
    """Raise the SDK's errors as ours: a TransientError for what may pass by itself."""
    try:
        yield
    except openai.APITimeoutError as exc:
        raise TransientError(f"{host} did not answer in time") from exc
    except openai.APIConnectionError as exc:
        raise TransientError(f"The connection to {host} failed: {_reason(exc)}") from exc
    except openai.APIStatusError as exc:
        raise _status_error(exc, model, host, key) from exc
    except (openai.OpenAIError, ValueError) as exc:  # ValueError: a body that is no JSON
        raise EmbeddingError(f"The answer of {host} cannot be read; check the base_url.") from exc


def _reason(exc: openai.APIConnectionError) -> str:
    cause = exc.__cause__ or exc
    return str(cause).rstrip(".") or type(cause).__name__


def _status_error(exc: openai.APIStatusError, model: str, host: str, key: str) -> EmbeddingError:
    status = exc.status_code
    if status == 401:
        return CredentialsMissing(f"{host} refuses the API key; check OPENAI_API_KEY.")
    if status == 403:
        return EmbeddingError(f"{host} does not allow this API key to use the model {model}.")
    if status == 404:
        return EmbeddingError(f"{host} has no model {model}; check its name and the base_url.")
    if exc.code == "insufficient_quota":
        return EmbeddingError(f"The quota at {host} is used up; check the plan and its billing.")
    said = _said(exc, key)
    if _may_pass(exc):
        wait = retry_after(exc.response.headers)
        return TransientError(f"{host} answered {status}: {said}", retry_after=wait)
    return EmbeddingError(f"{host} refuses the request ({status}): {said}.")


def _may_pass(exc: openai.APIStatusError) -> bool:
    # OpenAI's own header, which knows better than the status.
    should: str | None = exc.response.headers.get("x-should-retry")
    if should in ("true", "false"):
        return should == "true"
    return exc.status_code >= 500 or exc.status_code in (_TIMEOUT, _CONFLICT, _RATE_LIMIT)


def _said(exc: openai.APIStatusError, key: str) -> str:
    """What the server said, as one short line without the key."""
    body: Any = exc.body
    message = body.get("message") if isinstance(body, dict) else None
    line = " ".join(str(message or exc.response.reason_phrase or "no reason given").split())
    return line.replace(key, "***")[:300].rstrip(".")
