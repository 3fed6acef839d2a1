"""Types and operators of pgvector are found wherever it is, whatever search_path the caller has."""

from __future__ import annotations

from typing import TypeVar

from pgrecall.flow import Flow
from pgrecall.store.session import fetch

T = TypeVar("T")


def finding_pgvector(steps: Flow[T]) -> Flow[T]:
    """Run steps of a transaction that name what is pgvector's; afterwards the path is as it was."""
    rows = yield from fetch(
        """
        SELECT current_setting('search_path'),
               set_config('search_path', concat_ws(', ', 'pg_catalog', extnamespace::regnamespace::text), true)
          FROM pg_catalog.pg_extension WHERE extname = 'vector'
        """
    )
    result = yield from steps
    yield from fetch("SELECT set_config('search_path', %s, true)", [rows[0][0]])
    return result
