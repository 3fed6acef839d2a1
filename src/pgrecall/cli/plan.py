"""What ``pgrecall ingest --plan`` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pgrecall.cli.output import (
    as_json,
    duration,
    money,
    out,
    print_failures,
    print_json,
    print_notes,
    remark,
)

if TYPE_CHECKING:
    from pgrecall.types import Plan


def print_plan(plan: Plan, *, as_json_: bool) -> None:
    """The plan: a table of documents and chunks, then what it takes."""
    if as_json_:
        print_json(as_json(plan))
        return
    for name, line in (
        ("documents", ", ".join(f"{count:,} {what}" for what, count in _documents(plan))),
        ("chunks", f"{plan.chunks:,}: {plan.embedded:,} to embed, {plan.reused:,} reused"),
        ("tokens", f"{plan.tokens:,} ({plan.embedder})"),
        ("cost", _cost(plan)),
        ("time", _time(plan)),
    ):
        out().print(f"{name:9}  {line}", markup=False)
    print_failures(plan.failed)
    print_notes(plan.notes)
    if plan.left:
        remark(f"The budget leaves out {plan.left:,} documents, of {plan.left_tokens:,} tokens.")


def _documents(plan: Plan) -> Iterator[tuple[str, int]]:
    for what in ("new", "changed", "renamed", "unchanged", "removed"):
        if what != "renamed" or plan.renamed:
            yield what, getattr(plan, what)
    yield "failed", len(plan.failed)


def _cost(plan: Plan) -> str:
    if plan.price is None:
        return "unknown: there is no list price of this model in this version of pgrecall"
    if not plan.price:
        return "none: it runs on your own machine"
    return (
        f"{money(plan.cost)} at ${plan.price:g} per million tokens "
        f"(list price of {plan.price_as_of}, {plan.price_source})"
    )


def _time(plan: Plan) -> str:
    if plan.seconds is None:
        return "unknown: there was no run with this embedder yet"
    return f"about {duration(plan.seconds)}, by the last runs"
