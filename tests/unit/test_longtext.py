"""Texts and sequences in files are what they would be in memory."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrecall.errors import UnreadableSource
from pgrecall.longtext import LongDocument, LongText, Spooled, in_memory, length_of, parts_of
from pgrecall.types import Document

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(WORDS, max_size=8), times=st.sampled_from([1, 9_000]))
def test_a_text_comes_back(parts: list[str], times: int) -> None:
    text = "".join(part * times for part in parts)
    long = LongText(part * times for part in parts)
    document = LongDocument(uri="a.txt", text="", long=long)
    assert "".join(parts_of(document)) == text
    assert length_of(document) == len(text)
    assert long.blank == (not text.strip())
    for beginning in (text[:1], text[: len(text) // 2], text):
        rest = long.after(beginning)
        assert "".join(rest.parts()) == text[len(beginning) :]
        assert rest.length == len(text) - len(beginning)
    assert "".join(long.parts()) == text


@settings(max_examples=50, deadline=None)
@given(
    size=st.integers(0, 1_300),
    bounds=st.tuples(*[st.none() | st.integers(-1_400, 1_400)] * 2),
    step=st.none() | st.integers(1, 600) | st.integers(-600, -1),
)
def test_a_sequence_is_a_list(
    size: int, bounds: tuple[int | None, int | None], step: int | None
) -> None:
    items = list(range(size))
    spooled = Spooled(items)
    assert len(spooled) == size
    assert list(spooled) == items
    part = slice(*bounds, step)
    assert spooled[part] == items[part]
    assert [spooled[place] for place in range(-size, size, 211)] == [
        items[place] for place in range(-size, size, 211)
    ]


def test_a_document_can_be_taken_into_memory() -> None:
    short = Document(uri="a.txt", text="Ünï " * 100_000, title="A", metadata={"a": 1})
    long = LongDocument(
        uri="a.txt", text="", title="A", metadata={"a": 1}, long=LongText([short.text])
    )
    assert in_memory(long) == short == in_memory(short)
    assert len(list(parts_of(long))) > 1


def test_a_disk_that_is_full_is_told() -> None:
    with files_of_at_most(1_000_000), pytest.raises(UnreadableSource, match="TMPDIR"):
        LongText("word " * 20_000 for _ in range(20))
    with files_of_at_most(1_000_000), pytest.raises(UnreadableSource, match="TMPDIR"):
        Spooled("word " * 10 + str(number) for number in range(50_000))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As if there were no more room on the disk: the system refuses to write more into any file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
