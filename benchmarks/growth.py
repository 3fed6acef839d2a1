"""Search and index build by the number of rows.

    python benchmarks/growth.py [FOLDER...] [--rows 10000 100000 1000000] [--plot docs/images/growth.svg]

With folders: passages of all source and text files under them, each passage once, in an order by chance.
Without: the passages of filters.py, repeated until there are enough, in each round with a fifth of the longer
words replaced by words of other passages: no two rows are equal, and words are as common or rare as in the
original. The questions are the words of 90 characters of passages; the arm of words is also asked six of the
most common words. Each size is a collection of its own, built from nothing. The plot needs matplotlib
(benchmarks/peers.txt).
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from filters import rows, sources, write

import pgrecall
from pgrecall.flow import run
from pgrecall.settle import settle
from pgrecall.store import collections, indexes
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch, transaction
from pgrecall.types import FloatArray, Mode

SUFFIXES = (
    *(
        ".py",
        ".pyi",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".cuh",
        ".rs",
        ".go",
        ".js",
        ".ts",
        ".pl",
        ".pm",
    ),
    *(".md", ".rst", ".txt", ".html", ".sql", ".json", ".yaml"),
)
#: Bytes of the files that are read: larger ones are mostly data.
FILES = range(300, 2_000_000)
MODES: tuple[Mode, ...] = ("vector", "text", "hybrid")
WORD = re.compile(r"[^\W\d_]{4,}")
CHANGED = 0.2
#: Passages that are embedded together.
GROUP = 5_000


def varied(count: int) -> list[str]:
    """So many passages, all different."""
    originals = sources(20_000)
    words = [word for text in originals for word in WORD.findall(text)]
    chance = random.Random(0)

    def other(match: re.Match[str]) -> str:
        return chance.choice(words) if chance.random() < CHANGED else match[0]

    return [
        originals[n] if n < len(originals) else WORD.sub(other, originals[n % len(originals)])
        for n in range(count)
    ]


def gathered(folders: Sequence[Path], count: int) -> list[str]:
    """So many different passages of 600 characters of the files there; fewer, if there are no more."""
    found: dict[bytes, str] = {}
    paths = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in SUFFIXES and path.is_file() and not path.is_symlink()
    ]
    random.Random(0).shuffle(paths)
    for path in paths:
        if len(found) >= 2 * count:
            break
        if path.stat().st_size in FILES:
            text = path.read_text("utf-8", errors="replace").replace("\0", "")
            for start in range(0, len(text) - 300, 600):
                passage = text[start : start + 600]
                found.setdefault(blake2b(passage.encode(), digest_size=16).digest(), passage)
    passages = list(found.values())
    random.Random(1).shuffle(passages)
    return passages[:count]


def embedded(passages: list[str]) -> FloatArray:
    """Their vectors, a group at a time: token ids of all of them would fill the memory."""
    embedder = pgrecall.open_embedder("static")
    vectors = np.empty((len(passages), embedder.dimensions), np.float32)
    for start in range(0, len(passages), GROUP):
        group = passages[start : start + GROUP]
        vectors[start : start + len(group)] = embedder.embed_documents(group)
    return vectors


@dataclass(slots=True)
class Figures:
    """Of one size: p50 and p95 in ms by mode and of common words, breadth of the scan, index."""

    times: dict[Mode, tuple[float, float]]
    common: tuple[float, float]
    ef_search: int
    build_seconds: float
    index_bytes: int


def build(db: pgrecall.Database, generation: Generation) -> tuple[float, int]:
    """Build the HNSW index alone: seconds and bytes."""
    began = time.perf_counter()
    run(transaction(indexes.create(generation, "embedding")), db._session)
    seconds = time.perf_counter() - began
    index = f"pgrecall.{generation.table}_embedding"
    size = run(fetch("SELECT pg_relation_size(to_regclass(%s))", [index]), db._session)
    return seconds, int(size[0][0])


def asked_of(passages: list[str], count: int) -> list[str]:
    """The words of pieces of passages that every size holds; no quotes, which a search would honour."""
    pieces = [text[100:190] for text in passages[:: len(passages) // count]][:count]
    return [" ".join(re.findall(r"\w+", piece)) or "nothing" for piece in pieces]


def common_words(passages: list[str], count: int) -> list[str]:
    """Questions of six of the sixty words that most passages hold."""
    held = Counter(word for text in passages for word in set(WORD.findall(text.lower())))
    most = [word for word, _ in held.most_common(60)]
    chance = random.Random(2)
    return [" ".join(chance.sample(most, 6)) for _ in range(count)]


def times(docs: pgrecall.Collection, asked: list[str], mode: Mode) -> tuple[float, float]:
    """p50 and p95 in ms: every question once, behind a tenth of them to warm up."""
    taken = []
    for question in asked[: len(asked) // 10] + asked:
        began = time.perf_counter()
        docs.search(question, mode=mode)
        taken.append((time.perf_counter() - began) * 1e3)
    p50, p95 = np.percentile(taken[-len(asked) :], [50, 95])
    return float(p50), float(p95)


def breadth(docs: pgrecall.Collection, question: str) -> int:
    """The ef_search that searches of the collection take."""
    hits = docs.search(question, mode="vector", explain=True)
    return hits.explanation[0].ef_search or 0


def filled(
    db: pgrecall.Database, passages: list[str], vectors: FloatArray
) -> tuple[pgrecall.Collection, float, int]:
    """A collection of these passages, its recall measured; seconds and bytes of its HNSW index."""
    name = f"growth {len(passages)}"
    docs = db.create_collection(name)
    generation = run(collections.active(name), db._session)
    numbered = ((text, vectors[n], {"n": n}) for n, text in enumerate(passages))
    write(db, generation, rows(generation, numbered))
    seconds, size = build(db, generation)
    run(settle(generation, lambda: _embedder(), written=len(passages)), db._session)
    return docs, seconds, size


def _embedder() -> pgrecall.Embedder:
    return pgrecall.open_embedder("static")


def report(count: int, figures: Figures) -> str:
    """A row of the table."""
    cells = [f"{p50:.1f}, {p95:.1f}" for p50, p95 in (*figures.times.values(), figures.common)]
    cells += [
        str(figures.ef_search),
        f"{figures.build_seconds:.1f} s",
        f"{figures.index_bytes / 2**20:.0f} MB",
    ]
    return f"| {count:,} | {' | '.join(cells)} |"


def plot(results: dict[int, Figures], path: Path) -> None:
    """p50 of the modes, and the build of the index, by rows."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "pgrecall"
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    search, index = figure.subplots(1, 2, width_ratios=[3, 2])
    counts = list(results)
    for mode, marker, colour in zip(MODES, "osD", ["#0b5fa5", "#e09f3e", "#d1495b"], strict=True):
        p50 = [results[count].times[mode][0] for count in counts]
        search.plot(counts, p50, marker=marker, color=colour, label=mode)
    built = [results[count].build_seconds for count in counts]
    index.plot(counts, built, marker="o", color="#555555")
    search.set(title="search, p50 in ms", ylim=0)
    search.legend(frameon=False)
    for count, seconds in zip(counts, built, strict=True):
        index.annotate(
            f"{seconds:.0f}", (count, seconds), (-4, 6), textcoords="offset points", ha="right"
        )
    index.set(title="HNSW build in s", yscale="log", yticks=[])
    for axes in (search, index):
        axes.set(xscale="log", xlabel="rows")
        axes.set_xticks(counts, [f"{count:,}" for count in counts], rotation=30)
        axes.minorticks_off()
        axes.grid(axis="y", color="#dddddd", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000, 1_000_000]
    )
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    most = max(arguments.rows)
    passages = gathered(arguments.folders, most) if arguments.folders else varied(most)
    if len(passages) < most:
        parser.error(f"The folders hold only {len(passages):,} different passages.")
    vectors = embedded(passages)
    smallest = passages[: min(arguments.rows)]
    asked = asked_of(smallest, arguments.queries)
    common = common_words(smallest, arguments.queries)
    results: dict[int, Figures] = {}
    print(
        f"| rows | {' | '.join(f'{m} p50, p95 in ms' for m in MODES)} | six common words, text "
        "| ef_search | HNSW build | HNSW size |"
    )
    print(f"|{'---|' * 8}")
    with tempfile.TemporaryDirectory() as home, pgrecall.connect(home=Path(home)) as db:
        for count in sorted(arguments.rows):
            docs, seconds, size = filled(db, passages[:count], vectors[:count])
            by_mode = {mode: times(docs, asked, mode) for mode in MODES}
            results[count] = Figures(
                by_mode, times(docs, common, "text"), breadth(docs, asked[0]), seconds, size
            )
            print(report(count, results[count]), flush=True)
            db.drop_collection(docs.name)
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
