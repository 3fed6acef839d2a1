"""A local server that speaks OpenAI's protocols of embeddings and of chat, and fails as it is told to.

    with OpenAIServer() as server:
        server.faults += [Fault(status=429, headers={"Retry-After": "1"}), None, Fault(cut=True)]
        embedder = open_embedder("openai:text-embedding-3-small", base_url=server.url)

Each request takes the next fault from the list; with None, or when the list is used up, it is
answered. The vector of a text depends on nothing but the text, the model and the dimensions. A chat is
answered with ``server.answer``, streamed in pieces of a few characters.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np

from pgrecall.types import FloatArray

DIMENSIONS = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072}
#: What any other model answers with.
OTHER_DIMENSIONS = 48
MAX_INPUTS = 2048

#: The "data" of an answer: dictionaries with index and embedding.
Data = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to one request instead of, or before, a good answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The "error" of the body, unless the status is 200.
    error: Mapping[str, str] = field(default_factory=lambda: {"message": "as scripted"})
    #: The whole body instead of that.
    body: str | None = None
    content_type: str = "text/html"
    #: Seconds before anything is answered.
    delay: float = 0.0
    #: Seconds in the middle of the answer.
    pause: float = 0.0
    #: The connection ends in the middle of the answer.
    cut: bool = False
    #: Changes the data of an otherwise good answer.
    spoil: Callable[[Data], Data] | None = None
    #: Chat: why the model stops; None for a stream that just ends.
    finish: str | None = "stop"
    #: Chat: what the model says instead of an answer.
    refusal: str | None = None
    #: Chat: what comes in the stream after the answer.
    event: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    body: dict[str, Any]
    headers: dict[str, str]
    #: time.monotonic() when it came in.
    time: float


def vector(text: str, model: str, dimensions: int) -> FloatArray:
    """The vector of a text, not normalised."""
    seed = int.from_bytes(sha256(f"{model}\n{text}".encode()).digest()[:8], "big")
    drawn = np.random.default_rng(seed).standard_normal(dimensions, dtype=np.float32)
    return drawn * np.float32(3.0)


class OpenAIServer:
    """Listens on a free local port while it is entered."""

    def __init__(self) -> None:
        self.faults: list[Fault | None] = []
        self.requests: list[Request] = []
        self.answer = "The passages do not say."
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/v1"

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def begin(self, request: Request) -> Fault | None:
        with self._lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            return self.faults.pop(0) if self.faults else None

    def end(self) -> None:
        with self._lock:
            self._at_once -= 1


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fault = server.begin(Request(body=body, headers=headers, time=time.monotonic()))
            try:
                self._answer(body, fault or Fault())
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has given up, as it should
            finally:
                server.end()

        def _answer(self, body: dict[str, Any], fault: Fault) -> None:
            time.sleep(fault.delay)
            if self.path not in ("/v1/embeddings", "/v1/chat/completions"):
                self._send(Fault(status=404), _error(f"no {self.path} here"))
            elif fault.body is not None:
                self._send(fault, fault.body, fault.content_type)
            elif fault.status != 200:
                self._send(fault, json.dumps({"error": dict(fault.error)}))
            elif self.path == "/v1/chat/completions":
                self._send(fault, _stream(server.answer, fault), "text/event-stream")
            elif len(body["input"]) > MAX_INPUTS:
                self._send(Fault(status=400), _error("too many inputs"))
            else:
                data = fault.spoil(_data(body)) if fault.spoil else _data(body)
                self._send(fault, json.dumps({"object": "list", "data": data, "usage": {}}))

        def _send(self, fault: Fault, content: str, kind: str = "application/json") -> None:
            payload = content.encode()
            self.send_response(fault.status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(payload)))
            for name, value in fault.headers.items():
                self.send_header(name, value)
            self.end_headers()
            half = len(payload) // 2
            self.wfile.write(payload[:half])
            time.sleep(fault.pause)
            self.wfile.write(b"" if fault.cut else payload[half:])
            self.close_connection = self.close_connection or fault.cut

        def log_message(self, format: str, *args: object) -> None:
            """Keep the output of the tests clean."""

    return Handler


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


def _error(message: str) -> str:
    return json.dumps({"error": {"message": message}})


def _data(body: dict[str, Any]) -> Data:
    model = body["model"]
    dimensions = body.get("dimensions") or DIMENSIONS.get(model, OTHER_DIMENSIONS)
    found = [vector(text, model, dimensions) for text in body["input"]]
    if body.get("encoding_format") == "base64":
        encoded: list[Any] = [base64.b64encode(row.tobytes()).decode() for row in found]
    else:
        encoded = [row.tolist() for row in found]
    return [
        {"object": "embedding", "index": index, "embedding": item}
        for index, item in enumerate(encoded)
    ]
