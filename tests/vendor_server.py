"""What local servers have in common that speak a vendor's protocol and fail as they are told to.

    with OpenAIServer() as server:
        server.faults += [Fault(status=429, headers={"Retry-After": "1"}), None, Fault(cut=True)]
        embedder = open_embedder("openai:text-embedding-3-small", base_url=server.url)

Each request takes the next fault from the list; with None, or when the list is used up, it gets what
``server.rule`` says of its body, and a good answer if that is None too.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import numpy as np

from pgrecall.types import FloatArray

Body = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to one request instead of, or before, a good answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    #: The error in the body, unless the status is 200: as a vendor writes it.
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
    #: Changes what an otherwise good answer is made of.
    spoil: Callable[[Any], Any] | None = None
    #: Chat: why the model stops; None for a stream that just ends.
    finish: str | None = "stop"
    #: Chat: what the model says instead of an answer.
    refusal: str | None = None
    #: Chat: what comes in the stream after the answer.
    event: str | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    path: str
    body: Body
    headers: dict[str, str]
    #: time.monotonic() when it came in.
    time: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A good answer, before it is sent."""

    content: str
    status: int = 200
    kind: str = "application/json"


def vector(text: str, model: str, dimensions: int) -> FloatArray:
    """The vector of a text, not normalised: it depends on nothing but these."""
    seed = int.from_bytes(sha256(f"{model}\n{text}".encode()).digest()[:8], "big")
    drawn = np.random.default_rng(seed).standard_normal(dimensions, dtype=np.float32)
    return drawn * np.float32(3.0)


class VendorServer:
    """Listens on a free local port while it is entered."""

    def __init__(self) -> None:
        self.faults: list[Fault | None] = []
        self.rule: Callable[[Body], Fault | None] = lambda body: None
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def answer_to(self, path: str, body: Body, fault: Fault) -> Answer:
        """A good answer, or the vendor's complaint about the request."""
        raise NotImplementedError

    def error_body(self, error: Mapping[str, str]) -> str:
        """An error as the vendor writes it."""
        raise NotImplementedError

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def begin(self, request: Request) -> Fault:
        with self._lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            fault = self.faults.pop(0) if self.faults else None
        return fault or self.rule(request.body) or Fault()

    def end(self) -> None:
        with self._lock:
            self._at_once -= 1


def _handler(server: VendorServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(path=self.path, body=body, headers=headers, time=time.monotonic())
            fault = server.begin(request)
            try:
                time.sleep(fault.delay)
                self._send(self._answer(body, fault), fault)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has given up, as it should
            finally:
                server.end()

        def _answer(self, body: Body, fault: Fault) -> Answer:
            if fault.body is not None:
                return Answer(content=fault.body, status=fault.status, kind=fault.content_type)
            if fault.status != 200:
                return Answer(content=server.error_body(fault.error), status=fault.status)
            return server.answer_to(self.path, body, fault)

        def _send(self, answer: Answer, fault: Fault) -> None:
            payload = answer.content.encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.kind)
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
