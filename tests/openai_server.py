"""A local server that speaks OpenAI's protocols of embeddings and of chat, and Azure's; see vendor_server.

The vector of a text depends on nothing but the text, the model and the dimensions. A chat is answered
with ``server.answer``, streamed in pieces of a few characters.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from tests.vendor_server import Answer, Body, Fault, VendorServer, vector

__all__ = ["OTHER_DIMENSIONS", "Data", "Fault", "OpenAIServer", "vector"]

DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
#: What any other model answers with.
OTHER_DIMENSIONS = 48
MAX_INPUTS = 2048

#: The "data" of an answer: dictionaries with index and embedding.
Data = list[dict[str, Any]]

_EMBEDDINGS = re.compile(
    r"/v1/embeddings|/openai/deployments/[\w-]+/embeddings\?api-version=[\w-]+"
)


class OpenAIServer(VendorServer):
    """Listens on a free local port while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = "The passages do not say."
        #: Answers with lists of numbers whatever was asked for, and says nothing of usage.
        self.plain = False

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1"

    @property
    def azure_url(self) -> str:
        return f"http://{self.host}"

    def error_body(self, error: Mapping[str, str]) -> str:
        return json.dumps({"error": dict(error)})

    def answer_to(self, path: str, body: Body, fault: Fault) -> Answer:
        if path == "/v1/chat/completions":
            return Answer(content=_stream(self.answer, fault), kind="text/event-stream")
        if not _EMBEDDINGS.fullmatch(path):
            return Answer(content=self.error_body({"message": f"no {path} here"}), status=404)
        if len(body["input"]) > MAX_INPUTS:
            return Answer(content=self.error_body({"message": "too many inputs"}), status=400)
        data = _data(body, packed=not self.plain)
        data = fault.spoil(data) if fault.spoil else data
        told: dict[str, Any] = {"data": data} if self.plain else {"data": data, "usage": {}}
        return Answer(content=json.dumps({"object": "list", **told}))


def _stream(answer: str, fault: Fault) -> str:
    """The events of a chat: one that names the role, the text in pieces, the end, and the usage."""
    text = fault.refusal or answer
    pieces = [text[start : start + 7] for start in range(0, len(text), 7)]
    field = "refusal" if fault.refusal else "content"
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{field: piece} for piece in pieces]
    events = [_chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    if fault.event is not None:
        events.append(fault.event)
    elif fault.finish is not None:
        events.append(_chunk([{"index": 0, "delta": {}, "finish_reason": fault.finish}]))
        events += [_chunk([]), "[DONE]"]
    return "".join(f"data: {event}\n\n" for event in events)


def _chunk(choices: list[dict[str, Any]]) -> str:
    told = {"id": "chat-1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return json.dumps({**told, "choices": choices})


def _data(body: Body, *, packed: bool) -> Data:
    model = body["model"]
    dimensions = body.get("dimensions") or DIMENSIONS.get(model, OTHER_DIMENSIONS)
    found = [vector(text, model, dimensions) for text in body["input"]]
    if packed and body.get("encoding_format") == "base64":
        encoded: list[Any] = [base64.b64encode(row.tobytes()).decode() for row in found]
    else:
        encoded = [row.tolist() for row in found]
    return [
        {"object": "embedding", "index": index, "embedding": item}
        for index, item in enumerate(encoded)
    ]
