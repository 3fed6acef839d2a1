"""A local server that speaks Cohere's rerank protocol and fails as it is told to.

The relevance of a text is the share of the question's words that it holds.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to one request instead of a good answer."""

    status: int = 200
    message: str = "as scripted"
    #: The whole body instead of that.
    body: str | None = None
    #: Seconds before anything is answered.
    delay: float = 0.0
    #: The connection ends in the middle of the answer.
    cut: bool = False
    #: Changes the results of an otherwise good answer.
    spoil: Callable[[list[dict[str, Any]]], object] | None = None


def relevance(question: str, text: str) -> float:
    words = question.lower().split()
    return sum(word in text.lower() for word in words) / len(words)


class CohereServer:
    """Listens on a free local port while it is entered."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        #: The bodies and the keys of the requests.
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._http.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


def _handler(server: CohereServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(body)
            server.keys.append(self.headers["Authorization"].removeprefix("Bearer "))
            fault = server.faults.pop(0) if server.faults else Fault()
            time.sleep(fault.delay)
            try:
                self._answer(body, fault)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client has given up, as it should

        def _answer(self, body: dict[str, Any], fault: Fault) -> None:
            if self.path != "/v2/rerank":
                self._send(404, json.dumps({"message": f"no {self.path} here"}))
            elif fault.body is not None or fault.status != 200:
                self._send(fault.status, fault.body or json.dumps({"message": fault.message}))
            else:
                found: object = _results(body)
                if fault.spoil:
                    found = fault.spoil(_results(body))
                self._send(200, json.dumps({"id": "x", "results": found}), cut=fault.cut)

        def _send(self, status: int, content: str, cut: bool = False) -> None:
            payload = content.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload[: len(payload) // 2] if cut else payload)
            self.close_connection = self.close_connection or cut

        def log_message(self, format: str, *args: object) -> None:
            """Keep the output of the tests clean."""

    return Handler


def _results(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Best first, as Cohere answers."""
    scores = [relevance(body["query"], text) for text in body["documents"]]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [{"index": index, "relevance_score": scores[index]} for index in order]
