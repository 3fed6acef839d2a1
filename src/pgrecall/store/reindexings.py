"""Generations that workers fill: the tokens that they may still embed, and why finishing one failed."""

from __future__ import annotations

from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch


def begin(generation: Generation, tokens: int | None) -> Flow[None]:
    """So many tokens from now on, whatever was taken before; None: as many as it takes."""
    yield from fetch(
        "DELETE FROM pgrecall.reindexings WHERE generation_id = %s", [generation.generation_id]
    )
    yield from fetch(
        "INSERT INTO pgrecall.reindexings (generation_id, remaining) VALUES (%s, %s)",
        [generation.generation_id, tokens],
    )


def take(generation: Generation, tokens: int) -> Flow[bool]:
    """Whether so many are left; if so, they are taken, and else it is noted that they were not."""
    taken = yield from fetch(
        """
        UPDATE pgrecall.reindexings SET remaining = remaining - %s
         WHERE generation_id = %s AND (remaining IS NULL OR remaining >= %s) RETURNING true
        """,
        [tokens, generation.generation_id, tokens],
    )
    if not taken:
        yield from fetch(
            "UPDATE pgrecall.reindexings SET exceeded = true WHERE generation_id = %s",
            [generation.generation_id],
        )
    return bool(taken)


def account(generation: Generation, tokens: int) -> Flow[None]:
    """So many more were spent than taken; or fewer, if it is negative: these are given back."""
    yield from fetch(
        "UPDATE pgrecall.reindexings SET remaining = greatest(remaining - %s, 0) WHERE generation_id = %s",
        [tokens, generation.generation_id],
    )


def remaining(generation: Generation) -> Flow[tuple[int | None, bool]]:
    """How many are left, None without a limit; and whether documents were left out for want of them."""
    rows = yield from fetch(
        "SELECT remaining, exceeded FROM pgrecall.reindexings WHERE generation_id = %s",
        [generation.generation_id],
    )
    return (rows[0][0], rows[0][1]) if rows else (None, False)


def keep_error(number: int, reason: str) -> Flow[bool]:
    """Note why an attempt to finish the generation of that number failed; False if it was dropped meanwhile."""
    rows = yield from fetch(
        "UPDATE pgrecall.reindexings SET error = %s WHERE generation_id = %s RETURNING true",
        [reason.replace("\x00", ""), number],
    )
    return bool(rows)
