"""``pgrecall collections``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pgrecall.cli.options import AsJson, Collection, Url, open_database
from pgrecall.cli.output import as_json, out, print_json, print_table, remark, size

if TYPE_CHECKING:
    from pgrecall.collection import Defaults
    from pgrecall.store.status import CollectionStatus


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("collections")(list_collections)
    app.command()(configure)


def list_collections(
    drop: Annotated[
        str | None,
        typer.Option(show_default=False, help="Remove this collection and all its documents."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removing.")] = False,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """List the collections, or remove one."""
    with open_database(url) as db:
        if drop is not None:
            if not yes:
                typer.confirm(f"Remove {drop!r} and all its documents?", abort=True, err=True)
            db.drop_collection(drop)
            return
        _print([item.status() for item in db.collections()], as_json_=as_json_)


def configure(
    collection: Collection = "default",
    recall: Annotated[
        float | None, typer.Option(show_default=False, help="Share of the nearest rows to find.")
    ] = None,
    vector_weight: Annotated[
        float | None, typer.Option(show_default=False, help="Share of the vector arm, 0 to 1.")
    ] = None,
    text_search: Annotated[
        str | None,
        typer.Option(show_default=False, help="What ranks words: pg_textsearch, or built-in."),
    ] = None,
    log_queries: Annotated[
        bool | None,
        typer.Option(
            "--log-queries/--no-log-queries",
            show_default=False,
            help="Keep questions for `pgrecall eval recall`.",
        ),
    ] = None,
    clear_queries: Annotated[
        bool, typer.Option("--clear-queries", help="Forget the questions that were kept.")
    ] = False,
    url: Url = None,
) -> None:
    """Set what searches of a collection do unless they say otherwise, and show it."""
    given: Defaults = {}
    if recall is not None:
        given["recall"] = recall
    if vector_weight is not None:
        given["vector_weight"] = vector_weight
    if text_search is not None:
        given["text_search"] = None if text_search == "built-in" else text_search
    if log_queries is not None:
        given["log_queries"] = log_queries
    with open_database(url) as db:
        target = db.collection(collection)
        target.configure(**given)
        if clear_queries:
            count = target.clear_queries()
            remark(f"{count} question{'' if count == 1 else 's'} forgotten.")
        for name, value in sorted(target.defaults.items()):
            out().print(f"{name}: {value}", markup=False)


def _print(found: list[CollectionStatus], *, as_json_: bool) -> None:
    if as_json_:
        for item in found:
            print_json(as_json(item))
        return
    if not found:
        remark("No collections yet: pgrecall ingest FOLDER makes one.")
        return
    print_table(
        [
            "collection",
            "embedder",
            "documents",
            "failed",
            "chunks",
            "tokens",
            "size",
            "index",
            "generation",
        ],
        [
            [
                item.name,
                item.embedder,
                f"{item.documents:,}",
                f"{item.failed:,}",
                f"{item.chunks:,}",
                f"{item.tokens:,}",
                size(item.bytes),
                "hnsw" if item.indexed else "none yet",
                ", ".join(
                    str(number) if state == "active" else f"{number} {state}"
                    for number, state in item.generations.items()
                ),
            ]
            for item in found
        ],
    )
