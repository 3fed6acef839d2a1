"""A text that comes in parts has the chunks of the whole, however little of it is at hand."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrecall.chunking import ChunkConfig, split, split_parts
from pgrecall.tokens import open_tokenizer
from pgrecall.types import Markup
from tests.unit.test_chunking import CONFIGS, NAMES, TEXTS

#: Texts of some length: windows are no shorter than what a cut looks back at.
LONG_TEXTS = st.lists(st.tuples(TEXTS, st.integers(1, 12)), min_size=1, max_size=20).map(
    lambda pairs: "".join(text * times for text, times in pairs)
)


def parts(text: str, sizes: list[int]) -> Iterator[str]:
    """The text in parts of these sizes, again and again."""
    start = turn = 0
    while start < len(text):
        size = sizes[turn % len(sizes)]
        yield text[start : start + size]
        start += size
        turn += 1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("markup", ["plain", "code", "markdown"])
@settings(max_examples=20, deadline=None)
@given(
    text=LONG_TEXTS,
    config=st.sampled_from(CONFIGS),
    sizes=st.lists(st.integers(1, 700), min_size=1, max_size=4),
    window=st.sampled_from([1, 200, 900, 3000]),
)
def test_parts_have_the_chunks_of_the_whole(
    name: str, markup: Markup, text: str, config: ChunkConfig, sizes: list[int], window: int
) -> None:
    tokenizer = open_tokenizer(name)
    whole = split(text, config, tokenizer=tokenizer, markup=markup, title="A title")
    found = split_parts(
        parts(text, sizes),
        config,
        tokenizer=tokenizer,
        markup=markup,
        title="A title",
        window=window,
    )
    assert list(found) == whole


@pytest.mark.parametrize("blanks", ["\n", " \n", "\t"])
def test_a_long_run_of_blanks_is_let_go(blanks: str) -> None:
    tokenizer = open_tokenizer("wordllama")
    text = f"Before it.{blanks * 400_000}Behind it, a last line."
    tracemalloc.start()
    try:
        found = list(split_parts(pieces(text), tokenizer=tokenizer, window=20_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [chunk.content for chunk in found] == ["Before it.", "Behind it, a last line."]
    assert found == split(text, tokenizer=tokenizer)
    assert peak < 30_000_000


def pieces(text: str) -> Iterator[str]:
    for start in range(0, len(text), 10_000):
        yield text[start : start + 10_000]
