"""Chunking against one pass of a tokenizer over the same text.

    python benchmarks/chunking.py [--megabytes 10] [--rounds 9]

The texts are made of the standard library's own files: its docstrings as prose, the same as Markdown with a
heading for each module and a list item for each first line, and the sources as they are. A pass is that of
tiktoken with cl100k_base over the whole text; beside it stands one of the package tokenizers with the static
model's tokenizer, on pieces of 10,000 characters, since a long text takes it six times as long. The variants
take turns, so that a busy machine is fair to all: medians, and ratios within a round, with their quartiles.
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
from tokenizers import Tokenizer

from pgrecall.chunking import split
from pgrecall.tokens import bpe, open_tokenizer
from pgrecall.tokens.huggingface import wordllama_file
from pgrecall.types import Markup

PASS, OWN_PASS = "tiktoken, one pass", "tokenizers, one pass"
#: Characters that the package tokenizers is given at a time.
PIECE = 10_000


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


def measured(variants: dict[str, Callable[[], object]], rounds: int) -> list[dict[str, float]]:
    """Processor time of each variant, by round."""
    return [{name: seconds(work) for name, work in variants.items()} for _ in range(rounds)]


def variants(
    encoding: tiktoken.Encoding, text: str, markup: Markup
) -> dict[str, Callable[[], object]]:
    static = Tokenizer.from_file(str(wordllama_file()))
    static.no_truncation()
    pieces = [text[start : start + PIECE] for start in range(0, len(text), PIECE)]
    cl100k, wordllama = (open_tokenizer(name) for name in ("cl100k_base", "wordllama"))
    return {
        PASS: lambda: encoding.encode_ordinary(text),
        OWN_PASS: lambda: [static.encode(piece, add_special_tokens=False) for piece in pieces],
        "split, cl100k_base": lambda: split(text, tokenizer=cl100k, markup=markup),
        "split, wordllama": lambda: split(text, tokenizer=wordllama, markup=markup),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    encoding = bpe.bundled_encoding("cl100k_base")
    open_tokenizer("cl100k_base").starts("warm")
    for kind, markup, text in texts(int(given.megabytes * 1_000_000)):
        megabytes = len(text.encode()) / 1e6
        rounds = measured(variants(encoding, text, markup), given.rounds)
        for name in rounds[0]:
            speed = megabytes / statistics.median(times[name] for times in rounds)
            ratios = [times[name] / times[PASS] for times in rounds]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(f"{kind:9}{name:20}{speed:7.2f} MB/s {middle:6.2f} x ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
