"""``pgrecall search`` and ``pgrecall context``."""

from __future__ import annotations

from typing import Annotated

import typer

from pgrecall.cli.candidates import (
    Also,
    Candidates,
    Deduplicate,
    Diversity,
    Expand,
    ExpandBy,
    HalfLife,
    MinSimilarity,
    PerDocument,
    Recent,
    Rerank,
    refinement,
)
from pgrecall.cli.options import (
    AsJson,
    Collection,
    ModeOption,
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
from pgrecall.types import Mode, Order


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(search)
    app.command()(context)


def search(
    question: Question,
    collection: Collection = "default",
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 5,
    mode: ModeOption = "hybrid",
    where: Where = None,
    tenant: Tenant = None,
    exact: Annotated[bool, typer.Option(help="Exact vector search, without the index.")] = False,
    min_similarity: MinSimilarity = None,
    rerank: Rerank = None,
    recent: Recent = None,
    half_life: HalfLife = 365.0,
    deduplicate: Deduplicate = False,
    diversity: Diversity = 0.0,
    per_document: PerDocument = None,
    expand: Expand = None,
    expand_by: ExpandBy = None,
    candidates: Candidates = None,
    also: Also = None,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Find the passages that answer a question best."""
    with open_database(url) as db:
        hits = db.collection(collection).search(
            [question, *(also or [])],
            k=k,
            mode=one_of(Mode, "--mode", mode),
            where=parsed(where),
            tenant_id=tenant,
            exact=exact,
            **refinement(
                min_similarity=min_similarity,
                rerank=rerank,
                recent=recent,
                half_life=half_life,
                deduplicate=deduplicate,
                diversity=diversity,
                per_document=per_document,
                expand=expand,
                expand_by=expand_by,
                candidates=candidates,
            ),
        )
    for number, hit in enumerate(hits, start=1):
        if as_json_:
            print_json(as_json(hit))
        else:
            print_hit(number, hit)
    for note in hits.notes:
        remark(note)
    if not hits:
        remark("Nothing found.")


def context(
    question: Question,
    collection: Collection = "default",
    max_tokens: Annotated[int, typer.Option(help="Longest context.")] = 3000,
    tokenizer: Annotated[
        str, typer.Option(help="The model that will read it, e.g. gpt-4o, or an encoding.")
    ] = "cl100k_base",
    order: OrderOption = "best_first",
    mode: ModeOption = "hybrid",
    where: Where = None,
    tenant: Tenant = None,
    min_similarity: MinSimilarity = None,
    rerank: Rerank = None,
    recent: Recent = None,
    half_life: HalfLife = 365.0,
    deduplicate: Deduplicate = False,
    diversity: Diversity = 0.0,
    per_document: PerDocument = None,
    expand: Expand = None,
    expand_by: ExpandBy = None,
    candidates: Candidates = None,
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
            mode=one_of(Mode, "--mode", mode),
            where=parsed(where),
            tenant_id=tenant,
            **refinement(
                min_similarity=min_similarity,
                rerank=rerank,
                recent=recent,
                half_life=half_life,
                deduplicate=deduplicate,
                diversity=diversity,
                per_document=per_document,
                expand=expand,
                expand_by=expand_by,
                candidates=candidates,
            ),
        )
    for note in packed.notes:
        remark(note)
    if as_json_:
        print_json(as_json(packed))
        return
    write(f"{packed.text}\n")
    err().print(f"{packed.tokens} tokens, {len(packed.citations)} passages", style="dim")
