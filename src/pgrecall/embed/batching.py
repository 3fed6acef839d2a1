"""How a long list of texts is cut into requests. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgrecall.errors import InvalidArgument


def batches(counts: Sequence[int], *, max_items: int, max_tokens: int) -> Iterator[slice]:
    """Cut items of ``counts`` tokens each into runs of at most max_items and max_tokens.

    The slices are in order, cover every item once and are never empty. Each is as long as the
    limits allow. Raises InvalidArgument for an item that is over max_tokens by itself.
    """
    start = tokens = 0
    for position, count in enumerate(counts):
        if count > max_tokens:
            raise InvalidArgument(
                f"Text {position} has {count:,} tokens, and a request takes at most "
                f"{max_tokens:,}: split it into smaller chunks."
            )
        if position - start == max_items or tokens + count > max_tokens:
            yield slice(start, position)
            start, tokens = position, 0
        tokens += count
    if start < len(counts):
        yield slice(start, len(counts))
