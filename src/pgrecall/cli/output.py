"""Printing: results to standard output, remarks to standard error."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from math import floor, log10
from typing import TYPE_CHECKING, Any

from pgrecall.types import Failure, Hit

if TYPE_CHECKING:
    from rich.console import Console

#: What moves a terminal's cursor, colours it or turns the text around; names of files may hold it.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
#: Characters of a hit that are shown.
EXCERPT = 240
#: Failures and notes that are listed by name; --json has them all.
LISTED = 20


@cache
def out() -> Console:
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True, emoji=False)


@cache
def err() -> Console:
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def complain(message: str) -> None:
    """One line on standard error."""
    err().print(f"[bold red]error:[/] {escape(message)}")


def remark(message: str) -> None:
    """Something that is not a result."""
    err().print(escape(message), style="dim")


def write(text: str) -> None:
    """A result as it stands, at once: no markup, no tabs made blanks."""
    sys.stdout.write(text)
    sys.stdout.flush()


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own."""
    sys.stdout.write(json.dumps(value, default=str, ensure_ascii=False) + "\n")


def as_json(value: Any) -> dict[str, Any]:
    """The fields of a dataclass; slots have no __dict__."""
    return dataclasses.asdict(value)


def print_hit(number: int, hit: Hit) -> None:
    """A hit as a person reads it: where it is, how good it is, what it says."""
    place = f"{hit.uri}:{hit.start}-{hit.end}" + (f" p. {hit.page}" if hit.page else "")
    # A document's first heading is often its title.
    above = hit.headings[1:] if hit.headings[:1] == (hit.title,) else hit.headings
    heading = " > ".join([hit.title, *above] if hit.title else above)
    out().print(f"[bold]{number}. {hit.score:.3f}[/]  {escape(heading)}")
    out().print(f"   {escape(place)}", style="cyan")
    excerpt = " ".join(hit.text.split())
    shown = excerpt if len(excerpt) <= EXCERPT else excerpt[: EXCERPT - 1] + "…"
    out().print(f"   {escape(shown)}\n")


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A table; the first column is text, the others are figures."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    # As wide as it is: a terminal wraps what is too long, a pipe takes it as it comes.
    Console(emoji=False, width=max(out().width, 1000)).print(table)


def escape(text: str) -> str:
    """The text with its brackets, none of them markup, and nothing that a terminal would obey."""
    from rich.markup import escape

    return escape(_CONTROL.sub(lambda found: ascii(found[0])[1:-1], text))


def print_failures(failed: Sequence[Failure]) -> None:
    """The first of them, a line each."""
    for failure in failed[:LISTED]:
        complain(f"{one_line(failure.uri)}: {failure.reason}")
    _and_more(len(failed))


def print_notes(notes: Sequence[tuple[str, str]]) -> None:
    """The first of what is to be said of sources and documents, a line each."""
    for source, note in notes[:LISTED]:
        remark(f"{one_line(source)}: {note}")
    _and_more(len(notes))


def _and_more(count: int) -> None:
    if count > LISTED:
        remark(f"... and {count - LISTED:,} more; --json lists them all")


def one_line(name: str) -> str:
    """A name that stays on its line."""
    return name.replace("\n", "\\n")


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def money(dollars: float | None) -> str:
    """US dollars for people; what no price is known for is no amount."""
    if dollars is None:
        return "unknown"
    # Two digits of what is less than a cent.
    places = 2 if dollars >= 0.01 or not dollars else 1 - floor(log10(dollars))
    return f"${dollars:,.{places}f}"


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
