"""Which extension ranks the words of a collection, if any: chosen by name, and its index."""

from __future__ import annotations

from psycopg import sql

from pgrecall.errors import ExtensionMissing, InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch

#: The name of an extension, and the index that it ranks by, with the parameters of Lucene's BM25 for
#: passages (Anserini: k1 = 0.9, b = 0.4). What is indexed are lexemes, so nothing is left to be split.
INDEXES = {
    "pg_textsearch": "USING bm25 (pgrecall.occurrences(tsv))"
    " WITH (text_config = 'pg_catalog.simple', k1 = 0.9, b = 0.4)",
}


def check(extension: str | None) -> Flow[None]:
    """Raises InvalidArgument for a name that is none, ExtensionMissing if the database lacks it."""
    if extension is None:
        return
    if extension not in INDEXES:
        raise InvalidArgument(
            f"text_search is {' or '.join(map(repr, INDEXES))}, or None for the text arm that needs no "
            f"extension, not {extension!r}."
        )
    rows = yield from fetch("SELECT 1 FROM pg_extension WHERE extname = %s", [extension])
    if not rows:
        raise ExtensionMissing(
            f"This database has no extension {extension}: install it on the server, run CREATE EXTENSION "
            f"{extension}, and choose it then; without it the text arm needs no extension."
        )


def forget(generation: Generation) -> Flow[None]:
    """Drop the index of an extension that the collection does not use any more."""
    if generation.text_search is None:
        name = sql.Identifier("pgrecall", f"{generation.table}_bm25")
        yield from fetch(sql.SQL("DROP INDEX IF EXISTS {}").format(name))
