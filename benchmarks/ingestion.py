"""Speed and memory of ingestion: files to searchable beside others, embedding beside wordllama's own, memory.

    pip install . -r benchmarks/peers.txt
    python benchmarks/ingestion.py peers [--files 600] [--rounds 3]
    python benchmarks/ingestion.py embedding
    python benchmarks/ingestion.py memory

peers: the standard library's modules, from files to an HNSW index that answers. All have the same static
embedder. Ours cuts as it does by default; the others count with tiktoken, as their documentation does, and get
the sizes in its tokens that mean as much text. They are given the texts of the files, which is less than their
own loaders do. Each of those on Postgres has a database on the same server, and no commit waits for the disk,
as in our own ingestion. They take turns. Processor time is that of this process and of the server. A library
that is not installed is left out.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import psutil
import psycopg

import pgrecall
from pgrecall.chunking import split
from pgrecall.store import migrate
from pgrecall.tokens import bpe, open_tokenizer

EMBEDDER = pgrecall.open_embedder("static")
DIMENSIONS = 256
QUESTION = "how are temporary files removed"
#: Documents of the memory test, and bytes of its one large file.
SIZES, LARGE = (1_000, 10_000, 100_000), 200_000_000


def modules(count: int) -> list[Path]:
    """Files that every machine with Python has: its standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = [path for path in sorted(root.rglob("*.py")) if "site-packages" not in path.parts]
    texts = [path for path in found if path.stat().st_size]
    # From all over the library, as far as the number goes.
    return texts[:: max(1, len(texts) // count)][:count]


def texts(files: Sequence[Path]) -> list[str]:
    return [path.read_text("utf-8", "replace").replace("\0", "") for path in files]


@cache
def sizes() -> tuple[int, int]:
    """Our chunk size and overlap in tokens of cl100k_base."""
    passages = texts(modules(100))
    ours = sum(map(EMBEDDER.tokenizer.count, passages))
    theirs = sum(map(open_tokenizer("cl100k_base").count, passages))
    config = pgrecall.ChunkConfig()
    return config.max_tokens * theirs // ours, config.overlap_tokens * theirs // ours


def lang_chain_splitter() -> Any:
    """What ``RecursiveCharacterTextSplitter.from_tiktoken_encoder`` makes, without its download."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    encoding = bpe.bundled_encoding("cl100k_base")
    size, overlap = sizes()
    return RecursiveCharacterTextSplitter(
        chunk_size=size,
        chunk_overlap=overlap,
        length_function=lambda text: len(encoding.encode(text, disallowed_special=())),
    )


class Peer(Protocol):
    """A library, used as its documentation says."""

    label: str

    def __init__(self, url: str, folder: Path) -> None:
        """With an empty database, or an empty folder of its own."""

    def ingest(self, files: Sequence[Path]) -> int:
        """From files to searchable; the number of chunks."""


class PgRecall:
    """Ourselves."""

    label = "pgrecall"

    def __init__(self, url: str, folder: Path) -> None:
        migrate.upgrade(url)
        self._db = pgrecall.connect(url)

    def ingest(self, files: Sequence[Path]) -> int:
        docs = self._db.create_collection("files")
        report = docs.ingest(files)
        assert not report.failed, report.failed
        assert docs.search(QUESTION)
        self._db.close()
        return report.chunks


def lang_chain_embedding() -> Any:
    """Our embedder as one of LangChain's."""
    from langchain_core.embeddings import Embeddings

    class Static(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return EMBEDDER.embed_documents(texts).tolist()

        def embed_query(self, text: str) -> list[float]:
            return EMBEDDER.embed_query(text).tolist()

    return Static()


class LangChain:
    """PGVectorStore, the recursive splitter with tiktoken's lengths, and the HNSW index behind the rows."""

    label = "langchain-postgres"

    def __init__(self, url: str, folder: Path) -> None:
        from langchain_postgres import PGEngine

        self._engine = PGEngine.from_connection_string(url.replace("://", "+psycopg://", 1))

    def ingest(self, files: Sequence[Path]) -> int:
        from langchain_postgres import PGVectorStore
        from langchain_postgres.v2.indexes import HNSWIndex

        metadata = [{"source": str(path)} for path in files]
        documents = lang_chain_splitter().create_documents(texts(files), metadata)
        documents = [item for item in documents if item.page_content.strip()]
        self._engine.init_vectorstore_table("files", vector_size=DIMENSIONS)
        store = PGVectorStore.create_sync(self._engine, lang_chain_embedding(), "files")
        store.add_documents(documents)
        store.apply_vector_index(HNSWIndex())
        assert store.similarity_search(QUESTION)
        return len(documents)


class LlamaIndex:
    """The SentenceSplitter and PGVectorStore, with the hnsw_kwargs of its documentation."""

    label = "LlamaIndex"

    def __init__(self, url: str, folder: Path) -> None:
        from llama_index.vector_stores.postgres import PGVectorStore

        self._open = lambda **more: PGVectorStore.from_params(
            connection_string=url.replace("://", "+psycopg2://", 1),
            async_connection_string=url.replace("://", "+asyncpg://", 1),
            table_name="files",
            embed_dim=DIMENSIONS,
            **more,
        )

    def ingest(self, files: Sequence[Path]) -> int:
        from llama_index.core import Document, StorageContext, VectorStoreIndex
        from llama_index.core.base.embeddings.base import BaseEmbedding
        from llama_index.core.node_parser import SentenceSplitter

        class Static(BaseEmbedding):
            def _get_text_embedding(self, text: str) -> list[float]:
                return EMBEDDER.embed_query(text).tolist()

            def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
                return EMBEDDER.embed_documents(texts).tolist()

            def _get_query_embedding(self, query: str) -> list[float]:
                return EMBEDDER.embed_query(query).tolist()

            async def _aget_query_embedding(self, query: str) -> list[float]:
                return EMBEDDER.embed_query(query).tolist()

        embedding = Static(embed_batch_size=512)
        documents = [
            Document(text=text, metadata={"source": str(path)})
            for path, text in zip(files, texts(files), strict=True)
        ]
        size, overlap = sizes()
        splitter = SentenceSplitter(chunk_size=size, chunk_overlap=overlap)
        nodes = splitter.get_nodes_from_documents(documents)
        # The index behind the rows, which is the quicker order.
        VectorStoreIndex(
            nodes,
            storage_context=StorageContext.from_defaults(vector_store=self._open()),
            embed_model=embedding,
        )
        kwargs = {
            "hnsw_m": 16,
            "hnsw_ef_construction": 64,
            "hnsw_ef_search": 40,
            "hnsw_dist_method": "vector_cosine_ops",
        }
        indexed = VectorStoreIndex.from_vector_store(
            self._open(hnsw_kwargs=kwargs), embed_model=embedding
        )
        assert indexed.as_retriever().retrieve(QUESTION)
        return len(nodes)


class Chroma:
    """A persistent client; it brings no splitter, so it gets LangChain's."""

    label = "Chroma"

    def __init__(self, url: str, folder: Path) -> None:
        import chromadb

        settings = chromadb.Settings(anonymized_telemetry=False)
        self._client = chromadb.PersistentClient(path=str(folder), settings=settings)

    def ingest(self, files: Sequence[Path]) -> int:
        docs = self._client.create_collection(
            "files", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        documents = lang_chain_splitter().create_documents(
            texts(files), [{"source": str(path)} for path in files]
        )
        documents = [item for item in documents if item.page_content.strip()]
        for start in range(0, len(documents), 1_000):
            batch = documents[start : start + 1_000]
            passages = [item.page_content for item in batch]
            docs.add(
                ids=[str(start + n) for n in range(len(batch))],
                embeddings=EMBEDDER.embed_documents(passages),
                documents=passages,
                metadatas=[item.metadata for item in batch],
            )
        vector = EMBEDDER.embed_query(QUESTION).tolist()
        assert docs.query(query_embeddings=[vector], n_results=10)["ids"][0]
        return len(documents)


PEERS: list[type[Peer]] = [PgRecall, LangChain, LlamaIndex, Chroma]


class Spent:
    """Wall and processor time since it was made."""

    def __init__(self, server: str) -> None:
        with psycopg.connect(server) as connection:
            backend = connection.info.backend_pid
            self._server = psutil.Process(backend).parent() if _is_here(server) else None
        self._wall, self._processor = time.perf_counter(), self._used()

    def seconds(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, self._used() - self._processor

    def _used(self) -> float:
        """Of this process and of a server beside it, with the processes that each has, and has had."""
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = time.process_time() + reaped.ru_utime + reaped.ru_stime
        server = [self._server, *self._server.children()] if self._server else []
        for process in [*psutil.Process().children(), *server]:
            try:
                used += sum(process.cpu_times()[:2])
            except psutil.Error:  # ended meanwhile: its parent counts it
                continue
        return used + (sum(self._server.cpu_times()[2:4]) if self._server else 0)


def _is_here(server: str) -> bool:
    return psycopg.conninfo.conninfo_to_dict(server).get("host", "/").startswith("/")


def fresh(server: str, name: str) -> str:
    """A new database."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name}".encode())
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
        connection.execute(b"CHECKPOINT")
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def peers(server: str, count: int, rounds: int) -> None:
    """Each library in turn, and how much longer it takes than we do."""
    files = modules(count)
    figures: dict[str, list[tuple[float, float, int]]] = {}
    for turn in range(-1, rounds):
        # Before the first round, a small one: whatever is imported and cached is so for all.
        part = files[:20] if turn < 0 else files
        for make in PEERS:
            url = fresh(server, f"ingestion_{make.__name__.lower()}")
            with tempfile.TemporaryDirectory() as folder:
                try:
                    peer = make(url, Path(folder))
                    spent = Spent(server)
                    chunks = peer.ingest(part)
                    used = spent.seconds()
                except ImportError as exc:
                    print(f"{make.label} is left out: {exc}", flush=True)
                    continue
                if turn >= 0:
                    figures.setdefault(make.label, []).append((*used, chunks))
                    print(turn, make.label, figures[make.label][-1], flush=True)
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{len(files)} files, {megabytes:.1f} MB; medians of {rounds}")
    base = [statistics.median(column) for column in zip(*figures[PgRecall.label], strict=True)]
    for label, runs in figures.items():
        wall, processor, chunks = (statistics.median(column) for column in zip(*runs, strict=True))
        print(
            f"  {label:20} {chunks:7,.0f} chunks, {chunks / wall:5,.0f} a second, "
            f"{wall:7.2f} s ({wall / base[0]:5.2f} x), "
            f"processor {processor:7.2f} s ({processor / base[1]:5.2f} x)"
        )


def embedding(rounds: int) -> None:
    """Chunks of mixed length, by processor time; wordllama's tokenizer alone beside it."""
    import wordllama

    # From the files inside its package, without a download.
    theirs = wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent, disable_download=True
    )
    passages: list[str] = []
    for n, text in enumerate(texts(modules(400))):
        size = (32, 64, 128, 256)[n % 4]
        config = pgrecall.ChunkConfig(max_tokens=size, overlap_tokens=0)
        chunks = split(text, config, tokenizer=EMBEDDER.tokenizer, markup="code")
        passages += [chunk.embedded_text for chunk in chunks]
    # It takes these for special tokens, we for text.
    passages = [text for text in passages if "<s>" not in text and "</s>" not in text]
    random.Random(1).shuffle(passages)
    passages = passages[:8_000]
    variants: dict[str, Callable[[], Any]] = {
        "pgrecall": lambda: EMBEDDER.embed_documents(passages),
        "wordllama": lambda: theirs.embed(passages, norm=True),
        "its tokenizer": lambda: theirs.tokenizer.encode_batch(passages, add_special_tokens=False),
    }
    difference = np.abs(variants["pgrecall"]() - variants["wordllama"]()).max()
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, call in variants.items():
            wall, processor = time.perf_counter(), time.process_time()
            call()
            spent = time.perf_counter() - wall, time.process_time() - processor
            seconds[name].append(spent)
    print(f"{len(passages):,} passages; largest difference of a component {difference:.0e}")
    base = [statistics.median(column) for column in zip(*seconds["pgrecall"], strict=True)]
    for name, runs in seconds.items():
        wall, processor = (statistics.median(column) for column in zip(*runs, strict=True))
        print(
            f"  {name:14} {len(passages) / wall:9,.0f} a second ({wall / base[0]:5.2f} x), processor "
            f"{processor:6.2f} s ({processor / base[1]:5.2f} x)"
        )


def memory(server: str) -> None:
    """Peak memory of a process for each size."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.txt"
        passages = texts(modules(400))
        with file.open("w") as stream:
            size = 0
            while size < LARGE:
                # Numbered, so that no two passages are the same.
                for text in passages:
                    piece = f"Copy {size}\n\n" + text.encode("ascii", "replace").decode()
                    size += stream.write(piece[: LARGE - size])
        for what in (*map(str, SIZES), str(file)):
            url = fresh(server, "ingestion_memory")
            call = [sys.executable, __file__, "one", what, "--url", url]
            print(subprocess.run(call, check=True, capture_output=True, text=True).stdout, end="")
            sys.stdout.flush()


def one(url: str, what: str) -> None:
    """One size, in a process of its own."""
    migrate.upgrade(url)
    with pgrecall.connect(url) as db:
        docs = db.create_collection("memory")
        if what.isdecimal():
            report = docs.ingest(
                pgrecall.Document(uri=str(n), text=f"Document {n} tells of {n % 97} things. " * 20)
                for n in range(int(what))
            )
        else:
            report = docs.ingest([what])
        assert not report.failed, report.failed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1 if sys.platform == "darwin" else 1_024
    )
    print(
        f"{Path(what).name:>10} {report.chunks:9,} chunks, peak {peak:7.0f} MiB, {report.seconds:6.1f} s"
    )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=("peers", "embedding", "memory", "one"))
    parser.add_argument("what", nargs="?", default="")
    parser.add_argument("--files", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--url")
    given = parser.parse_args()
    if given.part == "embedding":
        embedding(given.rounds)
    elif given.part == "one":
        one(given.url, given.what)
    else:
        with pgrecall.connect(given.url) as db:
            if given.part == "peers":
                peers(db.url, given.files, given.rounds)
            else:
                memory(db.url)


if __name__ == "__main__":
    main()
