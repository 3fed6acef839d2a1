"""Chunking against one pass of tiktoken over the same text.

    python benchmarks/chunking.py [--megabytes 10]

The texts are made of the standard library's own files: its docstrings as prose, the same as Markdown with a
heading for each module and a list item for each first line, and the sources as they are. Medians of three;
the variants take turns, so that a busy machine is fair to all.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sysconfig
import time
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path

import tiktoken

from pgrecall.chunking import split
from pgrecall.tokens import bpe, open_tokenizer
from pgrecall.types import Markup

ROUNDS = 3


def sources() -> Iterator[tuple[str, str]]:
    """Name and text of the standard library's modules."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if "site-packages" not in path.parts and "lib2to3" not in path.parts:
            try:
                yield path.stem, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def docstrings(source: str) -> list[str]:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:
        return []
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    found = (ast.get_docstring(node) for node in nodes if isinstance(node, kinds))
    return [text for text in found if text]


def markdown(name: str, texts: list[str]) -> str:
    items = (f"- {text.splitlines()[0]}" for text in texts)
    return "\n\n".join([f"# {name}", *texts, "## Summary", "\n".join(items)])


def filled(pieces: list[str], size: int) -> str:
    """The pieces, again and again, until the text has that many characters."""
    repeated = list(islice(cycle(pieces), size // (sum(map(len, pieces)) // len(pieces)) + 1))
    return "\n\n".join(repeated)[:size]


def texts(size: int) -> Iterator[tuple[str, Markup, str]]:
    modules = list(sources())
    documented = [(name, docs) for name, source in modules if (docs := docstrings(source))]
    yield "prose", "plain", filled(["\n\n".join(docs) for _, docs in documented], size)
    yield "Markdown", "markdown", filled([markdown(*pair) for pair in documented], size)
    yield "Python", "code", filled([source for _, source in modules], size)


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def medians(variants: dict[str, Callable[[], object]]) -> dict[str, float]:
    rounds = [{name: seconds(work) for name, work in variants.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(times[name] for times in rounds) for name in variants}


def variants(
    encoding: tiktoken.Encoding, text: str, markup: Markup
) -> dict[str, Callable[[], object]]:
    cl100k, wordllama = (open_tokenizer(name) for name in ("cl100k_base", "wordllama"))
    return {
        "tiktoken, one pass": lambda: encoding.encode_ordinary(text),
        "split, cl100k_base": lambda: split(text, tokenizer=cl100k, markup=markup),
        "split, wordllama": lambda: split(text, tokenizer=wordllama, markup=markup),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=10.0)
    size = int(parser.parse_args().megabytes * 1_000_000)
    encoding = bpe.bundled_encoding("cl100k_base")
    open_tokenizer("cl100k_base").starts("warm")
    for kind, markup, text in texts(size):
        megabytes = len(text.encode()) / 1e6
        times = medians(variants(encoding, text, markup))
        base = times["tiktoken, one pass"]
        for name, spent in times.items():
            ratio = spent / base
            print(f"{kind:9}{name:20}{megabytes / spent:7.2f} MB/s {ratio:6.2f} x", flush=True)


if __name__ == "__main__":
    main()
