"""``pgrecall search``, ``similar`` and ``context``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from pgrecall.cli.candidates import Also, Asked
from pgrecall.cli.groups import grouped
from pgrecall.cli.options import (
    AsJson,
    Collection,
    OrderOption,
    Question,
    Tenant,
    Url,
    Where,
    one_of,
    open_database,
    parsed,
)
from pgrecall.cli.output import as_json, err, print_hit, print_json, remark, write
from pgrecall.types import Hit, Image, Order, Stage


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(grouped(search))
    app.command()(similar)
    app.command()(grouped(context))


def search(
    question: Annotated[
        str | None, typer.Argument(help="What you want to know.", show_default=False)
    ] = None,
    collection: Collection = "default",
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 5,
    *,
    asked: Asked,
    exact: Annotated[bool, typer.Option(help="Exact vector search, without the index.")] = False,
    recall: Annotated[
        float | None,
        typer.Option(help="Share of the nearest rows to find, 0 to 1.", show_default=False),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say how the search ran.")] = False,
    also: Also = None,
    image: Annotated[
        str | None,
        typer.Option(metavar="FILE", show_default=False, help="Find what is like this picture."),
    ] = None,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Find the passages, or pictures, that answer a question best."""
    questions: list[Any] = [*([] if question is None else [question]), *(also or [])]
    options = asked.options()
    if image is not None:
        questions.append(Image(image))
        options["mode"] = "vector"
    if not questions:
        raise typer.BadParameter("Ask something: a question, or --image FILE.")
    with open_database(url) as db:
        hits = db.collection(collection).search(
            questions,
            k=k,
            exact=exact,
            recall=recall,
            explain=explain,
            **options,
        )
    _print(hits, as_json_)
    for note in [*hits.notes, *map(_explained, hits.explanation)]:
        remark(note)
    if hits.timings:
        remark(", ".join(f"{stage} {ms:.1f} ms" for stage, ms in hits.timings.items()))


def _explained(stage: Stage) -> str:
    breadth = f", ef_search {stage.ef_search}" if stage.ef_search else ""
    indexes = ", ".join(stage.indexes) or "no index"
    return (
        f"{stage.arm}: {stage.strategy}{breadth}, {stage.matching:,} rows match, {indexes}; "
        f"{stage.planning_ms:.1f} ms planning, {stage.execution_ms:.1f} ms running"
    )


def similar(
    uri: Annotated[str, typer.Argument(help="A document's uri.", show_default=False)],
    collection: Collection = "default",
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 5,
    where: Where = None,
    tenant: Tenant = None,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Find the passages of other documents that are most like a document."""
    with open_database(url) as db:
        hits = db.collection(collection).similar(uri, k=k, where=parsed(where), tenant_id=tenant)
    _print(hits, as_json_)


def _print(hits: Iterable[Hit], as_json_: bool) -> None:
    number = 0
    for number, hit in enumerate(hits, start=1):
        if as_json_:
            print_json(as_json(hit))
        else:
            print_hit(number, hit)
    if not number:
        remark("Nothing found.")


def context(
    question: Question,
    collection: Collection = "default",
    max_tokens: Annotated[int, typer.Option(help="Longest context.")] = 3000,
    tokenizer: Annotated[
        str, typer.Option(help="The model that will read it, e.g. gpt-4o, or an encoding.")
    ] = "cl100k_base",
    order: OrderOption = "best_first",
    *,
    asked: Asked,
    also: Also = None,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Print the best passages within a token budget, with citations, for the prompt of a model."""
    with open_database(url) as db:
        packed = db.collection(collection).context(
            [question, *(also or [])],
            max_tokens=max_tokens,
            tokenizer=tokenizer,
            order=one_of(Order, "--order", order),
            **asked.options(),
        )
    for note in packed.notes:
        remark(note)
    if as_json_:
        print_json(as_json(packed))
        return
    write(f"{packed.text}\n")
    err().print(f"{packed.tokens} tokens, {len(packed.citations)} passages", style="dim")
