"""Quality of the three modes on retrieval sets in BEIR's layout, beside BM25.

    pip install ir-measures bm25s PyStemmer
    python benchmarks/quality.py FOLDER [FOLDER ...] [--embedders NAME,NAME]

Each folder holds corpus.jsonl (_id, title, text), queries.jsonl (_id, text) and qrels.tsv (a header; query-id,
corpus-id, score). A document's rank is that of its best chunk; judged are the queries that have a positive
judgement and that all embedders take whole, at most --queries of them. BM25 is bm25s with k1 = 0.9, b = 0.4,
the English stemmer and stop words, over title and text of whole documents.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import ir_measures
from ir_measures import R, nDCG

import pgrecall
from pgrecall import Document, Embedder
from pgrecall.types import Mode

NDCG, RECALL = nDCG @ 10, R @ 100
Run = dict[str, dict[str, float]]


def takes(embedders: Sequence[Embedder], question: str) -> bool:
    """Whether it is short enough for all of them."""
    return all(embedder.tokenizer.count(question) <= embedder.max_tokens for embedder in embedders)


class Collected:
    """A set as it lies on disk."""

    def __init__(self, folder: Path, most: int, embedders: Sequence[Embedder]) -> None:
        self.name = folder.name
        self.corpus = [
            json.loads(line) for line in (folder / "corpus.jsonl").open(encoding="utf-8")
        ]
        texts = [json.loads(line) for line in (folder / "queries.jsonl").open(encoding="utf-8")]
        self.qrels: dict[str, dict[str, int]] = {}
        for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]:
            query, document, score = line.split("\t")[:3]
            if int(score) > 0:
                self.qrels.setdefault(query, {})[document] = int(score)
        judged = [query for query in texts if query["_id"] in self.qrels]
        taken = [query for query in judged if takes(embedders, query["text"])]
        self.too_long = len(judged) - len(taken)
        judged = taken
        if len(judged) > most:
            judged = random.Random(1).sample(judged, most)
        self.queries = {query["_id"]: query["text"] for query in judged}

    def documents(self) -> list[Document]:
        """What goes in; documents without any text are left out."""
        return [
            Document(uri=row["_id"], title=row.get("title") or None, text=row["text"])
            for row in self.corpus
            if row["text"].strip()
        ]

    def judge(self, run: Run) -> str:
        """Both measures of a run."""
        qrels = {query: self.qrels[query] for query in self.queries}
        found = ir_measures.calc_aggregate([NDCG, RECALL], qrels, run)
        return f"nDCG@10 {found[NDCG]:.4f}  recall@100 {found[RECALL]:.4f}"


def bm25(given: Collected) -> Run:
    """The yardstick."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")

    def words(texts: list[str]) -> Any:
        return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False)

    index = bm25s.BM25(k1=0.9, b=0.4)
    texts = [f"{row.get('title') or ''} {row['text']}".strip() for row in given.corpus]
    index.index(words(texts), show_progress=False)
    run: Run = {}
    for query, text in given.queries.items():
        places, scores = index.retrieve(words([text]), k=100, show_progress=False)
        run[query] = {
            given.corpus[place]["_id"]: float(score)
            for place, score in zip(places[0], scores[0], strict=True)
        }
    return run


def ours(docs: pgrecall.Collection, given: Collected, mode: Mode) -> tuple[Run, float]:
    """The run of a mode, and its median time in ms."""
    run: Run = {}
    times = []
    for query, text in given.queries.items():
        began = time.perf_counter()
        hits = docs.search(text, mode=mode, k=150)
        times.append((time.perf_counter() - began) * 1e3)
        best = run.setdefault(query, {})
        for rank, hit in enumerate(hits):
            best.setdefault(hit.uri, 1.0 / (1 + rank))
    return run, statistics.median(times)


def measure(docs: pgrecall.Collection, given: Collected) -> None:
    """What taking the set in costs with an embedder, and what is found in the three modes."""
    began = time.process_time()
    report = docs.ingest(given.documents())
    seconds = time.process_time() - began
    print(
        f"  {docs.embedder_name}: {report.chunks} chunks, {report.tokens} tokens, {seconds:.1f} s of "
        f"processor, {1000 * seconds / report.chunks:.1f} for 1,000 chunks"
    )
    for mode in reversed(get_args(Mode)):
        run, ms = ours(docs, given, mode)
        print(f"  {mode:7} {given.judge(run)}  p50 {ms:.1f} ms", flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--text-search", help="an extension, such as pg_textsearch")
    parser.add_argument("--url", help="a server with that extension; without it the embedded one")
    parser.add_argument("--embedders", default="static", help="names, with commas between")
    parser.add_argument("--home", type=Path, help="where the embedded server stays")
    arguments = parser.parse_args()
    embedders = [pgrecall.open_embedder(name) for name in arguments.embedders.split(",")]
    with (
        tempfile.TemporaryDirectory() as home,
        pgrecall.connect(arguments.url, home=arguments.home or Path(home)) as db,
    ):
        for folder in arguments.folders:
            given = Collected(folder, arguments.queries, embedders)
            print(
                f"{given.name}  {len(given.corpus)} documents, {len(given.queries)} queries, "
                f"{given.too_long} left out as too long"
            )
            print(f"  bm25    {given.judge(bm25(given))}", flush=True)
            for number, embedder in enumerate(embedders):
                name = f"{given.name}-{number}"
                docs = db.create_collection(
                    name, embedder=embedder, text_search=arguments.text_search
                )
                measure(docs, given)


if __name__ == "__main__":
    main()
