"""Filtered search beside others: recall, latency and rows returned by how many rows match.

    pip install . -r benchmarks/peers.txt
    python benchmarks/peers.py [--rows 100000] [--plot docs/images/filters.svg]

The data, filters and questions of filters.py. Each library is used by its own API with the settings that its
documentation shows: an HNSW index over cosine distances, and no index on the metadata that it does not make
itself. All of them have the same rows and vectors, those on Postgres a database each on the same server,
vacuumed and analyzed after the load. Every question is asked of all of them in turn, so that a busy machine
is fair. Ground truth is computed by numpy. A library that is not installed is left out.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import numpy as np
import psycopg
from filters import SHARES, noisy, questions, sources

import pgrecall
from pgrecall import ChunkConfig, Document
from pgrecall.store import migrate
from pgrecall.tokens import Tokenizer
from pgrecall.types import FloatArray

K = 10
BATCH = 1_000
#: A filter is equality on one key of the metadata.
Where = dict[str, int] | None


@dataclass(frozen=True, slots=True)
class Rows:
    """What all of them store; vectors are normalised, shape (count, dimensions)."""

    texts: list[str]
    vectors: FloatArray
    metadata: list[dict[str, int]]

    def batches(self) -> Iterator[tuple[range, list[list[float]]]]:
        """Numbers of rows and their vectors as lists, which most APIs want."""
        for start in range(0, len(self.texts), BATCH):
            numbers = range(start, min(start + BATCH, len(self.texts)))
            yield numbers, self.vectors[start : numbers.stop].tolist()


class Peer(Protocol):
    """A library, used as its documentation says."""

    label: str

    def fill(self, rows: Rows) -> None:
        """Store the rows and index them."""

    def search(self, vector: FloatArray, where: Where) -> list[int]:
        """Numbers of the K nearest rows."""


def ident(number: int) -> str:
    """The id of a row, where ids are UUIDs."""
    return str(UUID(int=number))


def number_of(identity: str) -> int:
    """The row of an id."""
    return UUID(identity).int


class StoredVectors:
    """The static embedder, which knows the vector of each text already, by the number at its end."""

    name = "stored"
    max_tokens = 8_192

    def __init__(self, vectors: FloatArray) -> None:
        self._vectors = vectors
        self._static = pgrecall.open_embedder("static")
        self.dimensions = vectors.shape[1]
        self.tokenizer: Tokenizer = self._static.tokenizer

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        return self._vectors[[int(text.rsplit(" ", 1)[1]) for text in texts]]

    def embed_query(self, text: str) -> FloatArray:
        return self._static.embed_query(text)


class PgRecall:
    """Ourselves: a document for each row, ingested."""

    label = "pgrecall"

    def __init__(self, url: str, folder: Path) -> None:
        self._db = pgrecall.connect(url)

    def fill(self, rows: Rows) -> None:
        chunking = ChunkConfig(max_tokens=1_024, include_header=False)
        embedder = StoredVectors(rows.vectors)
        self._docs = self._db.create_collection("peers", embedder=embedder, chunking=chunking)
        report = self._docs.ingest(
            [
                Document(uri=ident(n), text=rows.texts[n], metadata=rows.metadata[n])
                for n in range(len(rows.texts))
            ]
        )
        assert report.chunks == len(rows.texts), report

    def search(self, vector: FloatArray, where: Where) -> list[int]:
        found = self._docs.search(vector, k=K, mode="vector", where=where)
        return [number_of(hit.uri) for hit in found]


class LangChain:
    """PGVectorStore with columns for the metadata, since only these can be filtered."""

    label = "langchain-postgres"

    def __init__(self, url: str, folder: Path) -> None:
        from langchain_core.embeddings import DeterministicFakeEmbedding
        from langchain_postgres import PGEngine

        self._engine = PGEngine.from_connection_string(url.replace("://", "+psycopg://", 1))
        self._embedding = DeterministicFakeEmbedding(size=1)

    def fill(self, rows: Rows) -> None:
        from langchain_postgres import Column, PGVectorStore
        from langchain_postgres.v2.indexes import HNSWIndex

        keys = list(rows.metadata[0])
        self._engine.init_vectorstore_table(
            "rows",
            vector_size=rows.vectors.shape[1],
            metadata_columns=[Column(key, "INTEGER") for key in keys],
        )
        self._store = PGVectorStore.create_sync(
            engine=self._engine,
            table_name="rows",
            embedding_service=self._embedding,
            metadata_columns=keys,
        )
        for numbers, vectors in rows.batches():
            self._store.add_embeddings(
                [rows.texts[n] for n in numbers],
                vectors,
                [rows.metadata[n] for n in numbers],
                [ident(n) for n in numbers],
            )
        self._store.apply_vector_index(HNSWIndex())

    def search(self, vector: FloatArray, where: Where) -> list[int]:
        found = self._store.similarity_search_by_vector(vector.tolist(), k=K, filter=where)
        return [number_of(document.id) for document in found]


class LlamaIndex:
    """PGVectorStore with the hnsw_kwargs of its documentation; the index is made after the load."""

    label = "LlamaIndex"

    def __init__(self, url: str, folder: Path) -> None:
        from llama_index.vector_stores.postgres import PGVectorStore

        self._open = PGVectorStore.from_params
        self._urls = {
            "connection_string": url.replace("://", "+psycopg2://", 1),
            "async_connection_string": url.replace("://", "+asyncpg://", 1),
        }

    def fill(self, rows: Rows) -> None:
        from llama_index.core.schema import TextNode

        dimensions = rows.vectors.shape[1]
        store = self._open(**self._urls, table_name="rows", embed_dim=dimensions)
        for numbers, vectors in rows.batches():
            store.add(
                [
                    TextNode(
                        id_=ident(n),
                        text=rows.texts[n],
                        embedding=vector,
                        metadata=rows.metadata[n],
                    )
                    for n, vector in zip(numbers, vectors, strict=True)
                ]
            )
        self._store = self._open(
            **self._urls,
            table_name="rows",
            embed_dim=dimensions,
            hnsw_kwargs={
                "hnsw_m": 16,
                "hnsw_ef_construction": 64,
                "hnsw_ef_search": 40,
                "hnsw_dist_method": "vector_cosine_ops",
            },
        )
        self.search(rows.vectors[0], None)  # makes the index

    def search(self, vector: FloatArray, where: Where) -> list[int]:
        from llama_index.core.vector_stores import (
            MetadataFilter,
            MetadataFilters,
            VectorStoreQuery,
        )

        filters = where and MetadataFilters(
            filters=[MetadataFilter(key=key, value=value) for key, value in where.items()]
        )
        query = VectorStoreQuery(
            query_embedding=vector.tolist(), similarity_top_k=K, filters=filters
        )
        return [number_of(identity) for identity in self._store.query(query).ids]


class Haystack:
    """PgvectorDocumentStore and its retriever; the index is made after the load."""

    label = "Haystack"

    def __init__(self, url: str, folder: Path) -> None:
        os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")
        from haystack.utils import Secret
        from haystack_integrations.document_stores.pgvector import PgvectorDocumentStore

        self._open: Callable[..., Any] = PgvectorDocumentStore
        self._secret = Secret.from_token(url)

    def fill(self, rows: Rows) -> None:
        from haystack import Document as HaystackDocument
        from haystack_integrations.components.retrievers.pgvector import (
            PgvectorEmbeddingRetriever,
        )

        options = {
            "connection_string": self._secret,
            "embedding_dimension": rows.vectors.shape[1],
        }
        store = self._open(**options)
        for numbers, vectors in rows.batches():
            store.write_documents(
                [
                    HaystackDocument(
                        id=ident(n), content=rows.texts[n], embedding=vector, meta=rows.metadata[n]
                    )
                    for n, vector in zip(numbers, vectors, strict=True)
                ]
            )
        store.close()
        indexed = self._open(**options, search_strategy="hnsw")
        self._retriever = PgvectorEmbeddingRetriever(document_store=indexed, top_k=K)
        self.search(rows.vectors[0], None)  # makes the index

    def search(self, vector: FloatArray, where: Where) -> list[int]:
        conditions = [
            {"field": f"meta.{key}", "operator": "==", "value": value}
            for key, value in (where or {}).items()
        ]
        found = self._retriever.run(vector.tolist(), filters=conditions[0] if conditions else None)
        return [number_of(document.id) for document in found["documents"]]


class Vecs:
    """A collection with create_index; it keeps no text, so the text is part of the metadata."""

    label = "vecs"

    def __init__(self, url: str, folder: Path) -> None:
        import vecs

        self._client = vecs.create_client(url.replace("://", "+psycopg2://", 1))

    def fill(self, rows: Rows) -> None:
        from vecs import IndexMeasure, IndexMethod

        self._docs = self._client.get_or_create_collection("rows", dimension=rows.vectors.shape[1])
        for numbers, vectors in rows.batches():
            self._docs.upsert(
                [
                    (ident(n), vector, {**rows.metadata[n], "text": rows.texts[n]})
                    for n, vector in zip(numbers, vectors, strict=True)
                ]
            )
        self._docs.create_index(method=IndexMethod.hnsw, measure=IndexMeasure.cosine_distance)

    def search(self, vector: FloatArray, where: Where) -> list[int]:
        filters = {key: {"$eq": value} for key, value in (where or {}).items()} or None
        found = self._docs.query(
            vector.tolist(), limit=K, filters=filters, include_value=True, include_metadata=True
        )
        return [number_of(record[0]) for record in found]


class Chroma:
    """A persistent client on the disk of the server."""

    label = "Chroma"

    def __init__(self, url: str, folder: Path) -> None:
        import chromadb

        settings = chromadb.Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(path=str(folder), settings=settings)

    def fill(self, rows: Rows) -> None:
        self._docs = self._client.create_collection(
            "rows", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        for numbers, vectors in rows.batches():
            self._docs.add(
                ids=[ident(n) for n in numbers],
                embeddings=vectors,
                documents=[rows.texts[n] for n in numbers],
                metadatas=[rows.metadata[n] for n in numbers],
            )

    def search(self, vector: FloatArray, where: Where) -> list[int]:
        found = self._docs.query(query_embeddings=[vector.tolist()], n_results=K, where=where)
        return [number_of(identity) for identity in found["ids"][0]]


PEERS: list[Callable[[str, Path], Peer]] = [
    PgRecall,
    LangChain,
    LlamaIndex,
    Haystack,
    Vecs,
    Chroma,
]


@dataclass(slots=True)
class Figures:
    """Of one library and one filter."""

    recall: float
    fewest: int
    p50: float
    p95: float


def prepare(count: int) -> Rows:
    """The rows of filters.py, vectors normalised."""
    passages = sources(20_000)
    embedded = pgrecall.open_embedder("static").embed_documents(passages)
    texts, vectors, metadata = zip(*noisy(passages, embedded, count), strict=True)
    stacked = np.array(vectors, np.float32)
    stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
    return Rows(list(texts), stacked, list(metadata))


def load(rows: Rows, server: str, home: Path) -> dict[str, tuple[Peer, float]]:
    """Each library that is installed, filled, and how many seconds that took."""
    loaded = {}
    for make in PEERS:
        name = make.__name__.lower()
        url = urlsplit(server)._replace(path=f"/peer_{name}").geturl()
        try:
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE peer_{name}".encode())
                # As pgrecall's own ingestion; who commits each row would wait for the disk each time.
                connection.execute(
                    f"ALTER DATABASE peer_{name} SET synchronous_commit = off".encode()
                )
            if make is PgRecall:
                migrate.upgrade(url)
            peer = make(url, home / name)
        except ImportError as exc:
            print(f"{name} is left out: {exc}", flush=True)
            continue
        began = time.perf_counter()
        peer.fill(rows)
        seconds = time.perf_counter() - began
        print(f"{peer.label}: {len(rows.texts):,} rows in {seconds:.0f} s", flush=True)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        loaded[peer.label] = (peer, seconds)
    return loaded


def measure(
    peers: Sequence[Peer], asked: FloatArray, rows: Rows, where: Where
) -> dict[str, Figures]:
    """Every question to all of them in turn."""
    matching = np.array([not where or where.items() <= row.items() for row in rows.metadata])
    wanted = min(K, int(matching.sum()))
    recalls: dict[str, list[float]] = {peer.label: [] for peer in peers}
    times: dict[str, list[float]] = {peer.label: [] for peer in peers}
    fewest = {peer.label: K for peer in peers}
    for vector in asked[:10]:
        for peer in peers:
            peer.search(vector, where)
    for vector in asked:
        # Equal to the last one within the precision of float32 is as good.
        similarity = np.where(matching, rows.vectors @ vector, -2)
        last = np.partition(similarity, -wanted)[-wanted] - 1e-6
        for peer in peers:
            began = time.perf_counter()
            found = peer.search(vector, where)
            times[peer.label].append((time.perf_counter() - began) * 1e3)
            assert all(matching[found]), f"{peer.label} returned rows that do not match"
            recalls[peer.label].append(sum(similarity[n] >= last for n in set(found)) / wanted)
            fewest[peer.label] = min(fewest[peer.label], len(found))
    return {
        label: Figures(
            float(np.mean(recalls[label])),
            fewest[label],
            *(float(value) for value in np.percentile(times[label], [50, 95])),
        )
        for label in times
    }


def table(results: dict[str, dict[str, Figures]], seconds: dict[str, float]) -> str:
    """Two tables in Markdown: what was found, and how long it took."""
    shares = list(results)
    head = f"| {' | '.join(shares)} |\n|{'---|' * (len(shares) + 1)}\n"
    found = f"| recall@{K} (fewest rows of {K}) {head}"
    took = f"| p50, p95 in ms {head}"
    for label in seconds:
        figures = [results[share][label] for share in shares]
        found += f"| {label} | {' | '.join(f'{f.recall:.3f} ({f.fewest})' for f in figures)} |\n"
        took += f"| {label} | {' | '.join(f'{f.p50:.1f}, {f.p95:.1f}' for f in figures)} |\n"
    loads = ", ".join(f"{label} {duration:.0f} s" for label, duration in seconds.items())
    return f"{found}\n{took}\nloaded and indexed: {loads}"


def plot(results: dict[str, dict[str, Figures]], path: Path) -> None:
    """Recall by share of matching rows: a panel for each library, the others in grey behind it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "pgrecall"
    shares = list(results)
    recalls = {
        label: [results[share][label].recall for share in shares] for label in results[shares[0]]
    }
    columns = 3
    lines = -(-len(recalls) // columns)
    figure = Figure(figsize=(9, 2.4 * lines + 0.4), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(recalls) :]:
        axes.remove()
    for axes, label in zip(panels.flat, recalls, strict=False):
        for behind in recalls.values():
            axes.plot(shares, behind, color="#d8d8d8", linewidth=1)
        colour = "#0b5fa5" if label == PgRecall.label else "#3d3d3d"
        axes.plot(shares, recalls[label], color=colour, marker="o", linewidth=2, clip_on=False)
        axes.set_title(label, fontsize=11)
        axes.set_ylim(0, 1.04)
        axes.tick_params(axis="x", labelrotation=40)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("share of the rows that match the filter", fontsize=10)
    figure.supylabel(f"recall@{K}", fontsize=10)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    rows = prepare(arguments.rows)
    asked = pgrecall.open_embedder("static").embed_documents(questions(arguments.queries))
    with tempfile.TemporaryDirectory() as home, pgrecall.connect(home=Path(home)) as db:
        loaded = load(rows, db.url, Path(home))
        peers = [peer for peer, _ in loaded.values()]
        results = {"no filter": measure(peers, asked, rows, None)}
        for name, modulus in SHARES.items():
            results[f"{100 / modulus:g} %"] = measure(peers, asked, rows, {name: 1})
    print(table(results, {label: seconds for label, (_, seconds) in loaded.items()}))
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
