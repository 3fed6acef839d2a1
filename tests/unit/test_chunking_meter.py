"""The meter counts any slice of its text exactly, though it tokenises next to nothing of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrecall.chunking.meter import Meter, Pieces
from pgrecall.tokens import open_tokenizer
from pgrecall.tokens.bpe import TiktokenTokenizer
from tests.unit.test_tokens import NAMES, TEXTS

BEFORE = (
    st.sampled_from(["", "Title\n\n", "What is it?\n\n", "A > B's 2nd\n\n", "!\n\n", "漢\n\n"])
    | TEXTS
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=300, deadline=None)
@given(text=TEXTS, before=BEFORE, data=st.data())
def test_every_slice_is_counted_exactly(
    name: str, text: str, before: str, data: st.DataObject
) -> None:
    tokenizer = open_tokenizer(name)
    meter = Meter(text, Pieces(tokenizer))
    for _ in range(4):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        assert meter.count(start, end, before) == tokenizer.count(before + text[start:end])


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, before=BEFORE, data=st.data())
def test_the_ids_of_a_slice_are_those_it_has_alone(
    text: str, before: str, data: st.DataObject
) -> None:
    tokenizer = open_tokenizer("wordllama")
    meter = Meter(text, Pieces(tokenizer, ids=True))
    for _ in range(4):
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        ids = meter.ids(start, end, before).tolist()
        assert ids == tokenizer.encode(before + text[start:end])
        assert len(ids) == meter.count(start, end, before)


@pytest.mark.parametrize("name", NAMES)
def test_slices_of_real_text_are_counted_exactly(name: str) -> None:
    tokenizer = open_tokenizer(name)
    text = Path(__file__).read_text(encoding="utf-8")
    meter = Meter(text, Pieces(tokenizer))
    for start in range(0, len(text), 7):
        for end in (start + 40, start + 300, start + 1000):
            assert meter.count(start, end, "Tests\n\n") == tokenizer.count(
                "Tests\n\n" + text[start:end]
            )


def test_a_slice_between_seams_costs_next_to_no_tokenisation() -> None:
    tokenizer = Counting("cl100k_base")
    text = "The harbour lies in the north of the town. " * 50
    meter = Meter(text, Pieces(tokenizer))
    for start in range(0, 2000, 43):
        meter.count(start, start + 42)
    assert tokenizer.characters < 100


class Counting(TiktokenTokenizer):
    """Knows how many characters it had to look at to count."""

    characters = 0

    def _count(self, text: str) -> int:
        self.characters += len(text)
        return super()._count(text)
