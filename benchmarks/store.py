"""Storage and vector search against bare psycopg, on the same rows and vectors, in one run.

    python benchmarks/store.py [--rows 20000] [--url postgresql://...]

Storage: bare COPY in binary form and CREATE INDEX USING hnsw, into a table of text, metadata and vector,
and into one with every column and index that pgrecall has; against the write path of an ingestion, from
chunked and embedded documents to a settled collection. Search: a prepared statement with the same columns
and the same ef_search, against ``Collection.search(mode="vector")`` with a vector, and with words.
Medians; the variants take turns, so that a busy machine is fair to all. Processor time is that of this process
and of a server beside it.
"""

from __future__ import annotations

import argparse
import statistics
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from ingestion import Spent
from psycopg import sql
from psycopg.types.json import Jsonb

import pgrecall
from pgrecall.chunking import split
from pgrecall.flow import run
from pgrecall.ingest.job import WRITERS
from pgrecall.pipeline import spread
from pgrecall.settle import settle
from pgrecall.store import collections, documents, identity, indexes
from pgrecall.store.collections import Generation
from pgrecall.store.prepared import LONG, Prepared
from pgrecall.store.rows import COPY, COPY_TYPES, chunk_rows
from pgrecall.store.session import prepare
from pgrecall.store.vectors import Asked, encode_all
from pgrecall.types import FloatArray

EF_SEARCH = 100
BARE_COLUMNS = "document_id uuid, ordinal int, content text, metadata jsonb, embedding halfvec(256)"


def texts() -> Iterator[tuple[str, str]]:
    """Real text that every machine with Python has: its standard library."""
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        text = path.read_text("utf-8", "replace").replace("\0", "")
        if text.strip():
            yield str(path), text


def prepared(rows: int, embedder: pgrecall.Embedder, generation: Generation) -> list[Prepared]:
    """Documents of about ``rows`` chunks in all, chunked and embedded."""
    made: list[Prepared] = []
    count = 0
    for uri, text in texts():
        document = pgrecall.Document(
            uri=uri, text=text, title=Path(uri).name, metadata={"n": count}
        )
        chunks = split(text, tokenizer=embedder.tokenizer, markup="code", title=document.title)
        if len(chunks) > LONG:
            continue
        made.append(
            Prepared(
                document=document,
                document_id=identity.document_id(generation.collection, document),
                generation=generation,
                content_hash=identity.document_hash(document, "code"),
                markup="code",
                chunks=chunks,
                hashes=[identity.chunk_hash(chunk) for chunk in chunks],
                vectors=encode_all(
                    embedder.embed_documents([chunk.embedded_text for chunk in chunks])
                ),
            )
        )
        count += len(chunks)
        if count >= rows:
            break
    return made


def grouped(items: list[Prepared], chunks: int = 512) -> Iterator[list[Prepared]]:
    """As ingestion groups documents into transactions."""
    group: list[Prepared] = []
    for item in items:
        if group and sum(len(p.chunks) for p in group) + len(item.chunks) > chunks:
            yield group
            group = []
        group.append(item)
    yield group


#: Seconds by the clock, and of processors.
Seconds = tuple[float, float]


def store_ours(db: pgrecall.Database, items: list[Prepared], generation: Generation) -> Seconds:
    """The write path, settled."""
    spent = Spent(db.url)
    for _ in spread(
        grouped(items), lambda group: run(documents.write(generation, group), db._session), WRITERS
    ):
        pass
    written = sum(len(item.chunks) for item in items)
    embedder = pgrecall.open_embedder(generation.embedder)
    run(settle(generation, lambda: embedder, written=written), db._session)
    return spent.seconds()


def store_bare(
    connection: psycopg.Connection[tuple[object, ...]], items: list[Prepared]
) -> Seconds:
    """COPY and CREATE INDEX, the least that any program needs."""
    connection.execute("DROP TABLE IF EXISTS bare")
    connection.execute(f"CREATE TABLE bare ({BARE_COLUMNS})".encode())
    spent = Spent(connection.info.dsn)
    with (
        connection.transaction(),
        connection.cursor() as cursor,
        cursor.copy("COPY bare FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(("uuid", "int4", "text", "jsonb", "bytea"))
        for item in items:
            metadata = Jsonb(dict(item.document.metadata))
            for chunk, vector in zip(item.chunks, item.vectors, strict=True):
                row = (item.document_id, chunk.ordinal, chunk.content, metadata, vector)
                copy.write_row(row)
    connection.execute("CREATE INDEX ON bare USING hnsw (embedding halfvec_cosine_ops)")
    connection.execute("ANALYZE bare")
    return spent.seconds()


def store_equal(
    connection: psycopg.Connection[tuple[object, ...]],
    items: list[Prepared],
    generation: Generation,
) -> Seconds:
    """As ``store_bare``, with every column and index that a generation's partition has."""
    connection.execute("DROP TABLE IF EXISTS equal")
    connection.execute("CREATE TABLE equal (LIKE pgrecall.chunks INCLUDING ALL)")
    spent = Spent(connection.info.dsn)
    with (
        connection.transaction(),
        connection.cursor() as cursor,
        cursor.copy(COPY.replace("pgrecall.chunks", "equal").encode()) as copy,
    ):
        copy.set_types(COPY_TYPES)
        for item in items:
            for row in chunk_rows(item, slice(None), item.vectors):
                copy.write_row(row)
    for definition in indexes.DEFINITIONS.values():
        connection.execute(
            sql.SQL("CREATE INDEX ON equal ")
            + sql.SQL(definition).format(
                vectors=sql.SQL("USING hnsw ((embedding::halfvec({})) halfvec_cosine_ops)").format(
                    sql.Literal(generation.dimensions)
                ),
                m=sql.Literal(indexes.NEIGHBOURS),
                ef_construction=sql.Literal(indexes.EF_CONSTRUCTION),
            )
        )
    connection.execute("ANALYZE equal")
    return spent.seconds()


def timed(call: Callable[[Any], object], argument: object) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call(argument)
    return time.perf_counter() - began


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--url")
    arguments = parser.parse_args()
    embedder = pgrecall.open_embedder("static")
    with pgrecall.connect(arguments.url) as db:
        generation = _anew(db)
        items = prepared(arguments.rows, embedder, generation)
        rows = sum(len(item.chunks) for item in items)
        seconds: dict[str, list[Seconds]] = {"bare": [], "equal": [], "pgrecall": []}
        with psycopg.connect(db.url, autocommit=True) as connection:
            prepare(connection)
            for _ in range(arguments.rounds):
                generation = _anew(db)
                items = [replace(item, generation=generation) for item in items]
                seconds["bare"].append(store_bare(connection, items))
                seconds["equal"].append(store_equal(connection, items, generation))
                seconds["pgrecall"].append(store_ours(db, items, generation))
            print(f"storage of {rows:,} rows x {embedder.dimensions}, HNSW included")
            report_storage(rows, seconds)
            search(db, connection, generation, arguments.queries)
            connection.execute("DROP TABLE bare, equal")
        db.drop_collection("benchmark")


def _anew(db: pgrecall.Database) -> Generation:
    """The collection, empty."""
    if "benchmark" in [item.name for item in db.collections()]:
        db.drop_collection("benchmark")
    db.create_collection("benchmark")
    return run(collections.active("benchmark"), db._session)


def report_storage(rows: int, seconds: dict[str, list[Seconds]]) -> None:
    """Rows per second, and our rate as a share of each."""
    medians = {
        name: [statistics.median(column) for column in zip(*values, strict=True)]
        for name, values in seconds.items()
    }
    base = medians["pgrecall"]
    for name, (wall, processor) in medians.items():
        print(
            f"  {name:10} {wall:7.2f} s {rows / wall:9,.0f} rows/s  {wall / base[0]:5.2f},"
            f" processor {processor:7.2f} s  {processor / base[1]:5.2f}"
        )


def search(
    db: pgrecall.Database,
    connection: psycopg.Connection[tuple[object, ...]],
    generation: Generation,
    queries: int,
) -> None:
    """Latency of the top 10, in turns."""
    embedder = pgrecall.open_embedder("static")
    docs = db.collection("benchmark")
    questions = [f"{text[100:160]} {n}" for n, (_, text) in zip(range(200), texts(), strict=False)]
    vectors = [embedder.embed_query(question) for question in questions]
    statement = sql.SQL(
        "SELECT content, uri, title, metadata, tenant_id, document_id, ordinal, start_offset,"
        " end_offset, page, headings, 1 - (embedding::halfvec({n}) <=> %s::halfvec({n}))"
        " FROM {partition} ORDER BY embedding::halfvec({n}) <=> %s::halfvec({n}) LIMIT 10"
    ).format(n=sql.Literal(generation.dimensions), partition=generation.partition)
    text = statement.as_string(connection).encode()
    connection.execute(f"SET hnsw.ef_search = {EF_SEARCH}".encode())
    times: dict[str, list[float]] = {"bare": [], "vector": [], "words": []}

    def bare(vector: FloatArray) -> object:
        wire = [Asked(encode_all(vector[None])[0])] * 2
        return connection.execute(text, wire, prepare=True, binary=True).fetchall()

    def ours(question: str | FloatArray) -> object:
        return docs.search(question, k=10, mode="vector", ef_search=EF_SEARCH)

    for n in range(queries):
        vector, question = vectors[n % len(vectors)], questions[n % len(vectors)]
        # Whoever asks first finds the pages cold, so they take turns.
        turns = [("bare", bare, vector), ("vector", ours, vector), ("words", ours, question)]
        for name, ask, asked in turns[n % 3 :] + turns[: n % 3]:
            times[name].append(timed(ask, asked))
    curve = connection.execute(
        "SELECT recall_curve FROM pgrecall.generations WHERE generation_id = %s",
        [generation.generation_id],
    ).fetchone()
    print(f"recall@10 by ef_search: {curve}")
    base = statistics.median(times["bare"])
    print(f"top 10, ef_search {EF_SEARCH}, {queries} queries each")
    for name, values in times.items():
        p50, p95 = np.percentile(values, [50, 95]) * 1e3
        print(f"  {name:10} p50 {p50:6.2f} ms  p95 {p95:6.2f} ms  {p50 / (base * 1e3):5.2f}")


if __name__ == "__main__":
    main()
