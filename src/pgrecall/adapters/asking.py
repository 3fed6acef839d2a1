"""How an adapter asks a collection, whichever flavour it was given."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, TypeAlias

from pgrecall import AsyncCollection, Collection, Hits
from pgrecall.errors import InvalidArgument
from pgrecall.retrieve import Questions, SearchOptions

#: What an adapter searches.
Source: TypeAlias = Collection | AsyncCollection


def checked(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The keywords of a search; raises InvalidArgument if it has no such keyword."""
    chosen = dict(options or {})
    known = SearchOptions.__annotations__
    if unknown := sorted(chosen.keys() - known):
        raise InvalidArgument(
            f"A search has no option {', '.join(unknown)}; there are: {', '.join(known)}."
        )
    return chosen


def search(source: Source, question: Questions, options: Mapping[str, Any]) -> Hits:
    """The hits, blocking. Raises InvalidArgument for a collection that has to be awaited."""
    if isinstance(source, AsyncCollection):
        raise InvalidArgument(
            "An AsyncCollection has to be awaited: call the asynchronous method, or pass a Collection."
        )
    return source.search(question, **checked(options))


async def search_async(source: Source, question: Questions, options: Mapping[str, Any]) -> Hits:
    """The hits, awaited."""
    hits: Hits = await awaited(source, "search", question, **checked(options))
    return hits


async def awaited(source: Source, verb: str, *args: Any, **options: Any) -> Any:
    """Call a method: natively on an AsyncCollection, in a thread on a Collection."""
    method = getattr(source, verb)
    if isinstance(source, AsyncCollection):
        return await method(*args, **options)
    return await asyncio.to_thread(method, *args, **options)
