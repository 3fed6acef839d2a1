"""Filtered search: recall and latency by how many rows match.

    python benchmarks/filters.py [--rows 100000]

Chunks of the standard library's sources, repeated with noise until there are enough rows, and filters that
let through 50 %, 10 %, 1 %, 0.1 % and 0.01 % of them, once without any relation to the question and once
with rows that lie far from it. Ground truth is an exact search. The aim: recall@10 of at least 0.99
everywhere, and a p95 of at most 12 times the p50 without a filter.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import pgrecall
from pgrecall import Document
from pgrecall.flow import run
from pgrecall.settle import settle
from pgrecall.store import collections, documents, identity
from pgrecall.store.collections import Generation
from pgrecall.store.prepared import Prepared
from pgrecall.store.session import fetch
from pgrecall.store.vectors import encode_all
from pgrecall.types import Chunk, FloatArray

SHARES = {"half": 2, "tenth": 10, "percent": 100, "permille": 1_000, "tenth_permille": 10_000}
NOISE = 0.02


def sources(wanted: int) -> list[str]:
    """So many passages of the standard library."""
    found: list[str] = []
    for path in sorted(Path(statistics.__file__).parent.rglob("*.py")):
        text = path.read_text("utf-8", errors="replace")
        found.extend(text[i : i + 600] for i in range(0, len(text) - 300, 600))
        if len(found) >= wanted:
            break
    return found[:wanted]


def noisy(
    passages: list[str], vectors: FloatArray, count: int
) -> Iterator[tuple[str, FloatArray, dict[str, int]]]:
    """Text, vector and metadata: the passages in turn, each time with other noise on the vector."""
    random = np.random.default_rng(0)
    keys = random.permutation(count)
    for n in range(count):
        base = n % len(passages)
        vector = vectors[base] + NOISE * random.standard_normal(vectors.shape[1]).astype(np.float32)
        metadata = {name: int(keys[n] % modulus) for name, modulus in SHARES.items()}
        metadata["position"] = int(keys[n])
        yield f"{passages[base]} {n}", vector, metadata


def rows(
    generation: Generation, passages: Iterable[tuple[str, FloatArray, dict[str, int]]]
) -> Iterator[Prepared]:
    """Text, vector and metadata as documents of one chunk each."""
    for n, (text, vector, metadata) in enumerate(passages):
        document = Document(uri=f"d{n}", text=text, metadata=metadata)
        yield Prepared(
            document=document,
            document_id=identity.document_id(generation.collection, document),
            generation=generation,
            content_hash=n.to_bytes(32, "big"),
            markup="code",
            chunks=[Chunk(ordinal=0, start=0, end=len(text), content=text, tokens=150)],
            hashes=[n.to_bytes(16, "big")],
            vectors=encode_all(vector[None, :]),
        )


def write(db: pgrecall.Database, generation: Generation, prepared: Iterator[Prepared]) -> None:
    """Store them, without indexes if there are none yet."""
    while group := list(islice(prepared, 512)):
        run(documents.write(generation, group), db._session)


def fill(db: pgrecall.Database, count: int) -> pgrecall.Collection:
    """The collection, indexed."""
    embedder = pgrecall.open_embedder("static")
    passages = sources(20_000)
    docs = db.create_collection("filters")
    generation = run(collections.active("filters"), db._session)
    vectors = embedder.embed_documents(passages)
    write(db, generation, rows(generation, noisy(passages, vectors, count)))
    run(settle(generation, lambda: embedder, written=count), db._session)
    docs.index_metadata("position", type="int")
    return docs


def questions(count: int) -> list[str]:
    """Pieces of passages that are not stored as they stand."""
    return [text[100:190] for text in sources(20_000)[:: 20_000 // count]][:count]


def measured(docs: pgrecall.Collection, vectors: FloatArray, where: Any) -> tuple[Any, ...]:
    """Recall@10, p50 and p95 in ms, strategies, fewest rows."""
    recalls, times, strategies, fewest = [], [], set(), 10
    for vector in vectors:
        truth = docs.search(vector, mode="vector", where=where, exact=True)
        docs.search(vector, mode="vector", where=where)
        began = time.perf_counter()
        found = docs.search(vector, mode="vector", where=where)
        times.append((time.perf_counter() - began) * 1e3)
        last = min(h.vector_score or 0 for h in truth) - 1e-6 if truth else 0
        recalls.append(
            sum((h.vector_score or 0) >= last for h in found) / len(truth) if truth else 1.0
        )
        strategies.add(found.strategy)
        fewest = min(fewest, len(found))
    p50, p95 = np.percentile(times, [50, 95])
    return statistics.mean(recalls), p50, p95, "+".join(sorted(strategies)), fewest


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, pgrecall.connect(home=Path(home)) as db:
        docs = fill(db, arguments.rows)
        embedder = pgrecall.open_embedder("static")
        asked = embedder.embed_documents(questions(arguments.queries))
        curve = run(
            fetch("SELECT pgrecall.steps(), recall_curve FROM pgrecall.generations"), db._session
        )
        print("recall@10 by ef_search, measured at the end of the load:", *curve[0])
        base = report("no filter", docs, asked, None, None)
        for name, modulus in SHARES.items():
            report(f"{100 / modulus:g} %", docs, asked, {name: 1}, base)
        for modulus in SHARES.values():
            below = arguments.rows // modulus
            report(f"range, {100 / modulus:g} %", docs, asked, {"position": {"$lt": below}}, base)


def report(
    name: str, docs: pgrecall.Collection, asked: FloatArray, where: Any, base: float | None
) -> float:
    """One line of the table; the p50."""
    recall, p50, p95, strategies, fewest = measured(docs, asked, where)
    times = f"{p95 / base:5.1f}" if base else "     "
    print(
        f"{name:14} recall@10 {recall:.3f}  p50 {p50:6.2f}  p95 {p95:6.2f} ms {times}  "
        f"{strategies:10} at least {fewest} rows",
        flush=True,
    )
    return float(p50)


if __name__ == "__main__":
    main()
