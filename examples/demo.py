"""A first look at pgrecall: ingest the texts in examples/solar-system, ask, pack a context.

    python examples/demo.py

No configuration: without PGRECALL_DATABASE_URL, a Postgres of its own starts in the background.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import fill, shorten
from time import perf_counter
from typing import Any

import pgrecall

CORPUS = Path(__file__).parent / "solar-system"
WIDTH = 80
INDENT = " " * 8

QUESTIONS: list[tuple[str, Mapping[str, Any] | None]] = [
    ("how old are the rings of Saturn", None),
    ("straight lines on a planet that were an optical illusion", None),
    ("samples of asteroids brought to Earth", {"type": "sample return", "year": {"$gte": 2000}}),
]
CONTEXT_QUESTION = "How do we know that Europa has an ocean?"

NEXT = f"""\
Now try it yourself:

  source .venv/bin/activate
  export PGRECALL_COLLECTION=demo
  pgrecall search "which world has rivers that are not water"
  pgrecall context "why did the landers on Mars fail"
  pgrecall ingest ./a-folder-of-yours
  pgrecall db psql

More questions, with the documents that answer them: {CORPUS.parent.name}/questions.jsonl"""


def main() -> int:
    """Run the demo; 1 if a document could not be taken in."""
    heading("Start")
    with timed("connected"):
        db = pgrecall.connect()
    with db:
        docs = db.create_collection("demo", exist_ok=True)
        report = docs.ingest([CORPUS])
        show_report(report)
        for question, where in QUESTIONS:
            ask(docs, question, where)
        show_context(docs, CONTEXT_QUESTION)
    print(f"\n{NEXT}")
    return 1 if report.failed else 0


def show_report(report: pgrecall.IngestReport) -> None:
    """What the ingestion did; a second run has nothing to do."""
    if report.documents == report.unchanged:
        print(f"nothing changed: {report.unchanged} documents checked in {report.seconds:.2f} s")
    else:
        print(
            f"ingested {report.new} new and {report.changed} changed documents "
            f"({report.unchanged} unchanged)\n"
            f"{report.chunks} chunks, {report.embedded} of them embedded, in {report.seconds:.2f} s"
        )
    for failure in report.failed:
        print(f"failed: {failure.uri}: {failure.reason}", file=sys.stderr)


def ask(docs: pgrecall.Collection, question: str, where: Mapping[str, Any] | None) -> None:
    """Search, and show the hits with their scores."""
    heading(question)
    if where:
        print(f"where={where}")
    with timed("searched"):
        hits = docs.search(question, k=3, where=where)
    for hit in hits:
        print(f"\n{hit.score:6.3f}  {source(hit)}")
        print(f"{INDENT}vector {score(hit.vector_score)}, text {score(hit.text_score)}")
        print(fill(snippet(hit.text), WIDTH, initial_indent=INDENT, subsequent_indent=INDENT))


def show_context(docs: pgrecall.Collection, question: str) -> None:
    """Pack the best passages into 600 tokens, and check the citations."""
    heading(question)
    with timed("packed"):
        context = docs.context(question, max_tokens=600)
    print(f"{context.tokens} tokens for a language model, {len(context.citations)} citations:\n")
    for line in context.text.splitlines():
        print(fill(line, WIDTH, break_on_hyphens=False))
    print()
    for cited in context.citations:
        place = f"characters {cited.start} to {cited.end}"
        print(f"[{cited.number}] {source(cited)}, {place}")


def snippet(text: str) -> str:
    """The beginning of a text, without its headings, in about three lines."""
    body = " ".join(line for line in text.splitlines() if not line.startswith("#"))
    return shorten(body, 3 * (WIDTH - len(INDENT)), placeholder=" ...")


def source(found: pgrecall.Hit | pgrecall.Citation) -> str:
    """The place of a hit within the corpus, with its page if it has one."""
    name = found.uri.rpartition(f"{CORPUS.name}/")[2]
    return f"{name}, page {found.page}" if found.page else name


def score(value: float | None) -> str:
    """A score of one arm; "-" if that arm did not run."""
    return "-" if value is None else f"{value:.3f}"


def heading(text: str) -> None:
    """A title with a rule below."""
    print(f"\n{text}\n{'-' * min(len(text), WIDTH)}")


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long the block took."""
    start = perf_counter()
    yield
    print(f"{what} in {(perf_counter() - start) * 1000:,.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
