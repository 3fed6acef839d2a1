"""A small site on localhost, whose pages a test puts there; it says what it was asked."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass
class Served:
    """What the site answers for a path."""

    body: bytes = b""
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    #: Seconds between two bytes of the body.
    drip: float = 0.0


class Site:
    def __init__(self) -> None:
        self.pages: dict[str, Served] = {}
        #: (path, headers, whether the body was sent)
        self.asked: list[tuple[str, dict[str, str], int]] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                page = site.pages.get(self.path, Served(b"gone", status=404))
                tag = page.headers.get("ETag")
                same = tag is not None and self.headers.get("If-None-Match") == tag
                status = 304 if same else page.status
                site.asked.append((self.path, dict(self.headers), status))
                self.send_response(status)
                for name, value in page.headers.items():
                    self.send_header(name, value)
                body = b"" if same else page.body
                self.send_header("Content-Type", page.kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with suppress(ConnectionError):
                    for part in (
                        [body] if not page.drip else [body[i : i + 1] for i in range(len(body))]
                    ):
                        self.wfile.write(part)
                        time.sleep(page.drip)

            def handle(self) -> None:
                with suppress(ConnectionError):  # the client hangs up on what is too long
                    super().handle()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), daemon=True
        )

    @property
    def url(self) -> str:
        return f"http://localhost:{self._server.server_port}"

    def page(self, path: str, text: str, **headers: str) -> str:
        """Put a page there; its URL."""
        self.pages[path] = Served(f"<h1>{text}</h1><p>{text} text.</p>".encode(), headers=headers)
        return self.url + path

    def sitemap(self, path: str, *urls: str, index: bool = False) -> str:
        outer, inner = ("sitemapindex", "sitemap") if index else ("urlset", "url")
        listed = "".join(f"<{inner}><loc>{url}</loc></{inner}>" for url in urls)
        space = "http://www.sitemaps.org/schemas/sitemap/0.9"
        xml = f'<?xml version="1.0"?><{outer} xmlns="{space}">{listed}</{outer}>'
        self.pages[path] = Served(xml.encode(), kind="application/xml")
        return self.url + path

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
