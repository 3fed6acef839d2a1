"""The OpenAI embeddings protocol: what is sent, how an answer is read, what an error means.

Pure functions, shared by the synchronous and the asynchronous client.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import openai

from pgrecall.embed.bisect import Refused
from pgrecall.embed.retry import TransientError
from pgrecall.embed.service import Reply
from pgrecall.embed.statuses import Asked, Status, status_error
from pgrecall.errors import EmbeddingError
from pgrecall.types import FloatArray

#: Limits of one request, from the API reference of "Create embeddings".
MAX_ITEMS_PER_REQUEST = 2048
MAX_TOKENS_PER_REQUEST = 300_000
#: The service holds a request against its limit by an estimate: a quarter of a token per byte.
BYTES_PER_ESTIMATED_TOKEN = 4


def shortens(model: str) -> bool:
    """Whether the model takes a ``dimensions`` parameter, which others refuse."""
    return model.startswith("text-embedding-3")


def reply(answer: object, headers: Mapping[str, str], count: int) -> Reply:
    """An answer to ``count`` texts; raises as ``vectors`` does."""
    return Reply(vectors=vectors(answer, count), headers=headers)


def charged_tokens(text: str, tokens: int) -> int:
    """Tokens that count against the limit of a request: the real ones or the service's estimate."""
    return max(tokens, -(-len(text.encode()) // BYTES_PER_ESTIMATED_TOKEN))


def vectors(answer: object, count: int) -> FloatArray:
    """The vectors of an answer, in the order of the texts: shape (count, dimensions), as received.

    Raises Refused if there are not exactly ``count`` of them, EmbeddingError if they cannot be read or
    have several lengths.
    """
    data = getattr(answer, "data", None)
    if not isinstance(data, list):
        raise EmbeddingError("The answer is no list of embeddings; check the base_url.")
    if len(data) != count:
        raise Refused(
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
def translated_errors(asked: Asked) -> Iterator[None]:
    """Raise the SDK's errors as ours: a TransientError for what may pass by itself, else EmbeddingError.

    For an answer that is no success, the error is that of ``status_error``.
    """
    host = asked.host
    try:
        yield
    except openai.APITimeoutError as exc:
        raise TransientError(f"{host} did not answer in time") from exc
    except openai.APIConnectionError as exc:
        raise TransientError(f"The connection to {host} failed: {_reason(exc)}") from exc
    except openai.APIStatusError as exc:
        raise status_error(_status(exc), asked) from exc
    except (openai.OpenAIError, ValueError) as exc:  # ValueError: a body that is no JSON
        raise EmbeddingError(f"The answer of {host} cannot be read; check the base_url.") from exc


def _reason(exc: openai.APIConnectionError) -> str:
    cause = exc.__cause__ or exc
    return str(cause).rstrip(".") or type(cause).__name__


def _status(exc: openai.APIStatusError) -> Status:
    body: Any = exc.body
    message = body.get("message") if isinstance(body, dict) else None
    return Status(
        code=exc.status_code,
        headers=exc.response.headers,
        message=str(message or exc.response.reason_phrase),
        reason=exc.code,
    )
