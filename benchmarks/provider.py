"""How long an ingestion waits for a provider: batches at a time, and texts a request.

    pip install '.[openai]'
    python benchmarks/provider.py [--chunks 8192] [--fixed 1.0] [--each 0.01] [--long]

A local server speaks the protocol of OpenAI, and takes so many seconds for a request and for each text in it;
its latency is long, so that what the client computes hardly counts. Each row is a new collection of documents
of two chunks, or of one long document, until all of it is written.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import pgrecall
from pgrecall.embed import remote
from pgrecall.ingest import job
from pgrecall.types import Document, IngestReport

#: (batches at a time, texts of a request at least)
VARIANTS = [(1, 128), (4, 64), (4, 128), (4, 512), (8, 512)]
WORDS = [
    "tide",
    "moor",
    "oar",
    "rope",
    "keel",
    "mast",
    "sail",
    "hull",
    "reef",
    "bay",
    "cove",
    "dune",
]


def serve(fixed: float, each: float) -> None:
    """Answer until somebody stops it; prints the port."""
    drawn = np.random.default_rng(3).standard_normal((97, 256), dtype=np.float32)
    rows = [base64.b64encode(row.tobytes()).decode() for row in drawn]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                texts = json.loads(await reader.readexactly(length))["input"]
                await asyncio.sleep(fixed + each * len(texts))
                data = [
                    {"object": "embedding", "index": n, "embedding": rows[hash(text) % 97]}
                    for n, text in enumerate(texts)
                ]
                body = json.dumps({"object": "list", "data": data, "usage": {}}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**26)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(main())


def documents(chunks: int, *, long: bool) -> list[Document]:
    rng = random.Random(7)
    texts = [" ".join(rng.choice(WORDS) for _ in range(100)) for _ in range(chunks)]
    if long:
        return [Document(uri="long", text="\n\n".join(texts))]
    pairs = zip(texts[::2], texts[1::2], strict=True)
    return [Document(uri=f"d{n}", text="\n\n".join(pair)) for n, pair in enumerate(pairs)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--chunks", type=int, default=8192)
    parser.add_argument("--fixed", type=float, default=1.0)
    parser.add_argument("--each", type=float, default=0.01)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.fixed, args.each)
        return
    command = [sys.executable, __file__, "--serve", f"--fixed={args.fixed}", f"--each={args.each}"]
    given = documents(args.chunks, long=args.long)
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        tempfile.TemporaryDirectory() as home,
        pgrecall.connect(home=Path(home)) as db,
    ):
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        os.environ.update(OPENAI_API_KEY="k", OPENAI_BASE_URL=url)
        try:
            for number, (batches, items) in enumerate(VARIANTS):
                job.EMBEDDED_AT_ONCE, remote.FEWEST_ITEMS = batches, items
                docs = db.create_collection(f"c{number}", embedder=f"openai:m{number}@256")
                print(f"{batches} at a time, {items} a request: {written(docs, given):5.1f} s")
        finally:
            server.kill()


def written(docs: pgrecall.Collection, given: list[Document]) -> float:
    """Seconds until all chunks were written; indexes come after that."""
    began = time.perf_counter()
    last = [0, 0.0]

    def note(report: IngestReport) -> None:
        if report.chunks != last[0]:
            last[:] = report.chunks, time.perf_counter() - began

    docs.ingest(given, progress=note)
    return last[1]


if __name__ == "__main__":
    main()
