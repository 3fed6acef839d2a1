"""``pgrecall ask``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pgrecall.cli.candidates import Asked
from pgrecall.cli.groups import grouped
from pgrecall.cli.options import (
    AsJson,
    Collection,
    OrderOption,
    Question,
    Url,
    one_of,
    open_database,
)
from pgrecall.cli.output import as_json, complain, print_json, remark, write
from pgrecall.types import Citation, Order

if TYPE_CHECKING:
    from pgrecall.answer import Answer
    from pgrecall.context import Verification


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(grouped(ask))


def ask(
    question: Question,
    collection: Collection = "default",
    model: Annotated[
        str | None,
        typer.Option(
            envvar="PGRECALL_LLM_MODEL", show_default=False, help="Who answers, e.g. gpt-4o-mini."
        ),
    ] = None,
    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="PGRECALL_LLM_BASE_URL", show_default=False, help="Where. Without it: OpenAI."
        ),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest context.")] = 3000,
    order: OrderOption = "best_first",
    *,
    asked: Asked,
    strict: Annotated[
        bool, typer.Option(help="Exit with 1 if a citation does not match its source.")
    ] = False,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Let a language model answer from the best passages, and check what it cites."""
    from pgrecall.answer import language_model

    chosen = language_model(model, base_url=base_url)
    with open_database(url) as db:
        answer = db.collection(collection).ask(
            question,
            model=chosen,
            max_tokens=max_tokens,
            order=one_of(Order, "--order", order),
            **asked.options(),
        )
    if as_json_:
        answer.read()
        print_json(_object(answer, answer.verify()))
    else:
        _tell(answer)
        _print_sources(answer)
    raise typer.Exit(1 if strict and not answer.verify().ok else 0)


def _tell(answer: Answer) -> None:
    """Print the answer as it comes; its last line is ended, however it ends."""
    try:
        for piece in answer:
            write(piece)
    finally:
        if answer.text and not answer.text.endswith("\n"):
            write("\n")


def _print_sources(answer: Answer) -> None:
    found = answer.verify()
    numbers = {marker.number for marker in found.markers if marker.found}
    cited = [item for item in answer.context.citations if item.number in numbers]
    write("".join(f"\n{_source(item)}" for item in cited) + "\n" if cited else "")
    if not cited:
        remark("The answer cites no passage.")
    for problem in found.problems:
        complain(problem)


def _source(citation: Citation) -> str:
    page = f" p. {citation.page}" if citation.page else ""
    return f"[{citation.number}] {citation.uri}:{citation.start}-{citation.end}{page}"


def _object(answer: Answer, found: Verification) -> dict[str, object]:
    return {
        "question": answer.question,
        "answer": answer.text,
        "model": answer.model.name,
        "ok": found.ok,
        "problems": found.problems,
        "markers": [as_json(marker) for marker in found.markers],
        "quotes": [{**as_json(quote), "found": quote.found} for quote in found.quotes],
        "citations": [as_json(citation) for citation in answer.context.citations],
        "context_tokens": answer.context.tokens,
    }
