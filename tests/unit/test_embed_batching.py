from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrecall.embed.batching import batches
from pgrecall.errors import InvalidArgument


@given(
    counts=st.lists(st.integers(0, 50), max_size=60),
    max_items=st.integers(1, 8),
    max_tokens=st.integers(50, 120),
)
def test_batches_cover_everything_in_order_within_the_limits(
    counts: list[int], max_items: int, max_tokens: int
) -> None:
    cut = list(batches(counts, max_items=max_items, max_tokens=max_tokens))

    assert [position for part in cut for position in range(len(counts))[part]] == list(
        range(len(counts))
    )
    for part in cut:
        assert 0 < len(counts[part]) <= max_items
        assert sum(counts[part]) <= max_tokens
    for part, following in pairwise(cut):  # no batch could have taken one item more
        full = len(counts[part]) == max_items
        assert full or sum(counts[part]) + counts[following.start] > max_tokens


def test_an_item_over_the_limit_is_named() -> None:
    with pytest.raises(InvalidArgument, match="Text 2 has 11 tokens"):
        list(batches([1, 2, 11], max_items=5, max_tokens=10))
