"""What tests do over and over: ask the database in SQL, and drive a coroutine to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")


def rows(url: str, query: str, *params: object) -> list[Any]:
    """The rows of one statement, in a transaction of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), params or None)
        return cursor.fetchall() if cursor.description else []


def go(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it; tasks that it leaves behind are an error."""

    async def main() -> T:
        result = await coroutine
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    return asyncio.run(main())
