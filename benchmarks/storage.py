"""Vectors by storage and dimensions: size, build time, p50 and recall@10.

    python benchmarks/storage.py [--rows 10000] [--dimensions 256 384 1024 1536 3072]

The vectors are made, since models of such sizes are not at hand, but out of real ones: pieces of the standard
library's sources, embedded by the static model (256 dimensions), less their mean, and mapped by a fixed random
projection. Its columns get smaller, so that the variance of dimension j is 1 / (1 + j / 64) of the first's:
prefixes say more than their length, as the training of Matryoshka models makes it (256 of 3,072 dimensions hold
two fifths of the variance). Noise of a tenth of the length fills all of them. Questions are shorter pieces of
the same sources, mapped the same way. Truth is an exact search of the same collection.

The breadth of each search is what pgrecall measures for a recall of 0.98 by itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import pgrecall
from pgrecall import Collection, Database, Document, Storage
from pgrecall.flow import run
from pgrecall.store import documents, graph, identity, indexes
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import fetch
from pgrecall.store.storage import INDEXED
from pgrecall.store.vectors import encode_all
from pgrecall.types import Chunk, FloatArray

#: After so many dimensions the variance is half of the first's.
HALVED = 64
#: Length of the noise, of 1.
NOISE = 0.1
#: Pieces of the sources, in characters, and of the questions.
PIECE, ASKED = 400, 90


def pieces() -> Iterator[str]:
    """Passages of the standard library, those of one file together."""
    for path in sorted(Path(statistics.__file__).parent.rglob("*.py")):
        text = path.read_text("utf-8", errors="replace")
        yield from (text[i : i + PIECE] for i in range(0, len(text) - PIECE, PIECE))


class Widened:
    """The static model's vectors in other dimensions."""

    max_tokens = 8192

    def __init__(self, dimensions: int, sample: FloatArray) -> None:
        self.dimensions = dimensions
        self.name = f"widened-{dimensions}"
        self._static = pgrecall.open_embedder("static")
        self.tokenizer = self._static.tokenizer
        self._mean = sample.mean(axis=0)
        self._random = np.random.default_rng(dimensions)
        self._scale = (1 + np.arange(dimensions) / HALVED) ** -0.5
        self._map = self._random.standard_normal((sample.shape[1], dimensions)) * self._scale

    def widen(self, vectors: FloatArray) -> FloatArray:
        """Shape (n, 256) to (n, dimensions), of length 1."""
        wide = _unit((vectors - self._mean) @ self._map)
        noise = _unit(self._random.standard_normal(wide.shape) * self._scale)
        return _unit(wide + NOISE * noise).astype(np.float32)

    def embed_documents(self, texts: list[str]) -> FloatArray:
        """As an embedder."""
        return self.widen(self._static.embed_documents(texts))

    def embed_query(self, text: str) -> FloatArray:
        """As an embedder."""
        return self.widen(self._static.embed_query(text)[None])[0]


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def storages(dimensions: int) -> Iterator[Storage]:
    """What is compared."""
    if dimensions <= INDEXED["vector"]:
        yield Storage(type="vector")
    yield Storage(type="halfvec")
    yield Storage(type="bit")
    for prefix in (128, 256, 512):
        if 2 * prefix <= dimensions:
            yield Storage(type="halfvec", prefix=prefix)


def fill(db: Database, embedder: Widened, storage: Storage, vectors: FloatArray) -> Collection:
    """A collection without an index."""
    name = f"{embedder.dimensions}: {storage}"
    docs = db.create_collection(name, embedder=embedder, storage=storage)
    generation = docs._target.generation
    wires = iter(enumerate(encode_all(vectors, generation.storage.element)))

    def prepared() -> Iterator[Prepared]:
        for n, wire in wires:
            document = Document(uri=f"d{n}", text=f"row {n}")
            yield Prepared(
                generation=generation,
                document=document,
                document_id=identity.document_id(name, document),
                content_hash=n.to_bytes(32, "big"),
                markup="plain",
                chunks=[Chunk(ordinal=0, start=0, end=5, content=document.text, tokens=2)],
                hashes=[n.to_bytes(16, "big")],
                vectors=[wire],
            )

    rows = prepared()
    while group := list(islice(rows, 512)):
        run(documents.write(generation, group), db._session)
    return docs


def sizes(db: Database, docs: Collection) -> tuple[int, int]:
    """Bytes of the vectors' part of the table, without indexes, and of the HNSW index."""
    table = f"pgrecall.{docs._target.generation.table}"
    rows = run(
        fetch("SELECT pg_table_size(%s), pg_relation_size(%s)", [table, f"{table}_embedding"]),
        db._session,
    )
    return rows[0]


def measure(db: Database, docs: Collection, asked: FloatArray) -> None:
    """Build, search and print one line."""
    generation = docs._target.generation
    began = time.perf_counter()
    run(graph.build(generation), db._session)
    built = time.perf_counter() - began
    run(indexes.settle(generation, written=10**9), db._session)
    half = len(asked) // 2
    # Half of the questions measure the breadth, the other half is asked.
    literals = [f"[{','.join(map(str, vector))}]" for vector in asked[:half]]
    run(
        fetch(
            "SELECT pgrecall.measure_recall(%s, embeddings => %s::text[]::vector[])",
            [generation.collection, literals],
        ),
        db._session,
    )
    shares, times, breadth = [], [], 0
    for vector in asked[half:]:
        truth = docs.search(vector, mode="vector", exact=True)
        docs.search(vector, mode="vector")
        began = time.perf_counter()
        found = docs.search(vector, mode="vector")
        times.append((time.perf_counter() - began) * 1e3)
        shares.append(np.mean([hit.score >= truth[-1].score - 1e-6 for hit in found]))
    (stage,) = docs.search(asked[0], mode="vector", explain=True).explanation
    breadth = stage.ef_search or 0
    table, index = sizes(db, docs)
    name = "bit + rescore" if generation.storage.type == "bit" else str(generation.storage.type)
    prefix = f", prefix {generation.storage.prefix}" if generation.storage.prefix else ""
    print(
        f"| {generation.dimensions:,} | {name}{prefix} | {table / 2**20:.0f} | {index / 2**20:.1f} | "
        f"{built:.1f} | {breadth} | {np.median(times):.1f} | {np.mean(shares):.3f} |",
        flush=True,
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[256, 384, 1024, 1536, 3072])
    arguments = parser.parse_args()
    static = pgrecall.open_embedder("static")
    texts = list(islice(pieces(), arguments.rows))
    step = len(texts) // (2 * arguments.queries)
    stored = static.embed_documents(texts)
    asked = static.embed_documents([text[100 : 100 + ASKED] for text in texts[::step]])
    print(
        "| dimensions | storage | table MB | index MB | build s | ef_search | p50 ms | recall@10 |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home, pgrecall.connect(home=Path(home)) as db:
        for dimensions in arguments.dimensions:
            embedder = Widened(dimensions, stored)
            vectors, questions = embedder.widen(stored), embedder.widen(asked)
            for storage in storages(dimensions):
                docs = fill(db, embedder, storage, vectors)
                measure(db, docs, questions)
                db.drop_collection(docs.name)


if __name__ == "__main__":
    main()
