"""Chunking: laws that hold for every text, and where the cuts fall in texts as people write them."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgrecall.chunking import ChunkConfig, split
from pgrecall.errors import InvalidArgument
from pgrecall.tokens import Tokenizer, open_tokenizer
from pgrecall.types import Chunk, Markup

NAMES = ["cl100k_base", "wordllama"]
CONFIGS = [
    ChunkConfig(),
    ChunkConfig(max_tokens=16, overlap_tokens=0, min_tokens=0),
    ChunkConfig(max_tokens=16, overlap_tokens=8, min_tokens=16),
    ChunkConfig(max_tokens=24, overlap_tokens=5, min_tokens=4),
    ChunkConfig(max_tokens=40, overlap_tokens=0, respect_headings=False),
    ChunkConfig(max_tokens=64, overlap_tokens=32, min_tokens=8, include_header=False),
]
TITLES = [
    None,
    "",
    "Handbook",
    "  A title\nof two lines ",
    "A very long title " * 30,
    "漢字👩‍👩‍👧‍👦" * 50,
]
FRAGMENTS = st.sampled_from(
    [
        "word ",
        "and so on, ",
        "Here is a sentence. ",
        "Is it? ",
        "\n",
        "\n\n",
        "\r\n",
        "\r\n\r\n",
        "   ",
        "\t",
        "\n# Heading\n",
        "\n## Part *two*\n",
        "\n###### \n",
        "\nTitle\n=====\n",
        "\n- item",
        "\n  1. nested",
        "> ",
        "\n```py\n",
        "\n```\n",
        "\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        "\n---\n",
        "\ndef f(x):\n    return x\n",
        "漢字かな交じり文。",
        "한국어 문장. ",
        "👩‍👩‍👧‍👦",
        "🇩🇪🇫🇷",
        "e\u0301\u0323\u0308",
        "x" * 90,
        "0123456789" * 5,
        "\u2581",
        "<|endoftext|>",
        "\x00",
        "\u2028",
        "\u00a0",
        "\ud800",
        "\ufeff",
        "}" * 30,
        "Dr. No: ",
    ]
)
TEXTS = st.lists(
    FRAGMENTS
    | st.tuples(FRAGMENTS, st.integers(2, 60)).map(lambda pair: pair[0] * pair[1])
    | st.text(max_size=9),
    max_size=40,
).map("".join)


def check(text: str, chunks: list[Chunk], config: ChunkConfig, tokenizer: Tokenizer) -> None:
    """Every law that the chunks of a text obey."""
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.content
        assert chunk.content
        assert chunk.content.strip() == chunk.content
        assert chunk.tokens <= config.max_tokens
        assert config.include_header or not chunk.header
    assert [chunk.tokens for chunk in chunks] == [tokenizer.count(c.embedded_text) for c in chunks]
    for before, after in pairwise(chunks):
        assert before.start < after.start
        assert before.end < after.end
        repeated = text[after.start : before.end]
        assert not repeated or tokenizer.count(repeated) <= config.overlap_tokens
    end = 0
    for chunk in chunks:
        assert not text[end : chunk.start].strip()
        end = chunk.end
    assert not text[end:].strip()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("markup", ["plain", "markdown", "code"])
@settings(max_examples=50)
@given(text=TEXTS, config=st.sampled_from(CONFIGS), title=st.sampled_from(TITLES))
def test_laws(name: str, markup: Markup, text: str, config: ChunkConfig, title: str | None) -> None:
    tokenizer = open_tokenizer(name)
    chunks = split(text, config, tokenizer=tokenizer, markup=markup, title=title)
    check(text, chunks, config, tokenizer)
    assert chunks == split(text, config, tokenizer=tokenizer, markup=markup, title=title)


@pytest.mark.parametrize("text", ["", " ", "\n\r\n\t\u3000\u2028"])
def test_nothing_gives_nothing(text: str) -> None:
    assert split(text) == []


def test_a_short_text_is_one_chunk() -> None:
    [chunk] = split("  One line.\n\nAnother.\n", title="Notes")
    assert (chunk.start, chunk.content) == (2, "One line.\n\nAnother.")
    assert chunk.embedded_text == "Notes\n\nOne line.\n\nAnother."


@pytest.mark.parametrize("markup", ["plain", "code"])
def test_a_short_text_that_fits_is_not_cut_to_make_room_for_an_overlap(markup: Markup) -> None:
    text = prose("rows", 22)
    config = ChunkConfig(max_tokens=open_tokenizer("cl100k_base").count(f"Table\n\n{text}"))
    [chunk] = split(f"\n{text} ", config, markup=markup, title="Table")
    assert (chunk.content, chunk.tokens) == (text, config.max_tokens)
    smaller = ChunkConfig(max_tokens=config.max_tokens - 1)
    assert len(split(text, smaller, markup=markup, title="Table")) == 2


def prose(topic: str, sentences: int) -> str:
    return " ".join(
        f"Sentence number {i} tells something new about {topic}." for i in range(sentences)
    )


def test_overlap_repeats_whole_sentences() -> None:
    config = ChunkConfig(max_tokens=100, overlap_tokens=30)
    text = prose("tides", 60)
    chunks = split(text, config)
    assert len(chunks) > 5
    for before, after in pairwise(chunks):
        repeated = text[after.start : before.end]
        assert repeated.startswith("Sentence number")
        assert repeated.endswith(".")


def test_overlap_takes_words_where_no_sentence_fits() -> None:
    config = ChunkConfig(max_tokens=60, overlap_tokens=10)
    text = " ".join(f"word{i}" for i in range(300))
    chunks = split(text, config)
    for before, after in pairwise(chunks):
        assert after.start < before.end
        assert after.content.startswith("word")


# Headings


def sections(markdown: str) -> list[tuple[tuple[str, ...], str]]:
    chunks = split(markdown, ChunkConfig(min_tokens=0), markup="markdown")
    return [(chunk.headings, chunk.content.splitlines()[-1]) for chunk in chunks]


def test_headings_above_a_chunk() -> None:
    text = "# Guide\n\n" + prose("guides", 40) + "\n\n## Setup\n\n" + prose("setup", 40)
    text += "\n\n### On Linux\n\n" + prose("Linux", 40) + "\n\n# Help\n\n" + prose("help", 40)
    chunks = split(text, markup="markdown", title="Manual")
    paths = list(dict.fromkeys(chunk.headings for chunk in chunks))
    assert paths == [("Guide",), ("Guide", "Setup"), ("Guide", "Setup", "On Linux"), ("Help",)]
    for chunk in chunks:
        assert chunk.header == " > ".join(["Manual", *chunk.headings])
        assert chunk.embedded_text == f"{chunk.header}\n\n{chunk.content}"
    # No chunk runs from one big section into the next.
    topics = [
        {t for t in ("guides", "setup", "Linux", "help") if f"about {t}." in c.content}
        for c in chunks
    ]
    assert all(len(topic) == 1 for topic in topics)


def test_small_sections_share_a_chunk_and_the_headings_common_to_them() -> None:
    text = "# Glossary\n\n## Ant\n\nA small one.\n\n## Bee\n\nA busy one.\n"
    [chunk] = split(text, markup="markdown")
    assert chunk.headings == ("Glossary",)


def test_no_heading_inside_a_code_fence() -> None:
    text = "# Shell\n\n```sh\n# not a heading\nmake\n```\n\n"
    text += "~~~\n# nor this\n```\n# nor that\n~~~\n\n# Real\n\nText."
    assert [path for path, _ in sections(text)] == [("Shell",), ("Real",)]


def test_setext_headings() -> None:
    text = "Guide\n=====\n\nOne.\n\nSetup\n-----\n\nTwo.\n\nA paragraph.\n\n---\n\nThree."
    found = sections(text)
    assert found == [(("Guide",), "One."), (("Guide", "Setup"), "Three.")]


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("# `code` and *stress* ##", "code and stress"),
        ("#   A [link](https://example.org/x) here", "A link here"),
        ("# Anchor {#here}", "Anchor"),
        ("# snake_case_name", "snake_case_name"),
    ],
)
def test_headings_are_plain_text(line: str, heading: str) -> None:
    assert sections(f"{line}\n\nBody.") == [((heading,), "Body.")]


def test_no_hash_without_space_is_a_heading() -> None:
    assert sections("#hashtag\n\nBody.") == [((), "Body.")]


def test_a_title_that_is_the_first_heading_stands_once() -> None:
    [chunk] = split("# Guide\n\nBody.", markup="markdown", title="Guide")
    assert chunk.header == "Guide"


def test_a_long_title_is_shortened_and_the_innermost_heading_kept() -> None:
    config = ChunkConfig(max_tokens=40, overlap_tokens=0)
    chunks = split("# Inner\n\n" + prose("x", 9), config, markup="markdown", title="Long " * 200)
    assert all(chunk.header.endswith("Inner") for chunk in chunks)
    assert all(open_tokenizer("cl100k_base").count(chunk.header) <= 10 for chunk in chunks)


# Blocks

TABLE = "| name | size |\n|------|------|\n" + "".join(f"| row {i} | {i}00 |\n" for i in range(8))
LIST = "".join(f"- point {i} is short.\n" for i in range(8))
CODE = "```py\ndef area(r):\n    return 3.14 * r * r\n\n\nprint(area(2))\n# done. Really.\n```\n"


@pytest.mark.parametrize("block", [TABLE, LIST, CODE], ids=["table", "list", "code"])
@pytest.mark.parametrize("before", [3, 6, 8, 11, 14])
def test_a_block_that_fits_stays_whole(block: str, before: int) -> None:
    text = f"{prose('this', before)}\n\n{block}\n{prose('that', 20)}\n"
    chunks = split(text, ChunkConfig(max_tokens=200, overlap_tokens=0), markup="markdown")
    assert len(chunks) > 1
    assert any(block.strip() in chunk.content for chunk in chunks)


def test_code_is_cut_at_its_top_level_definitions() -> None:
    body = "".join(f"    total += step_{{}}({i}) * {i}\n" for i in range(9))
    text = "".join(
        f"def function_{i}(total):\n{body.replace('{}', str(i))}    return total\n\n\n"
        for i in range(12)
    )
    chunks = split(text, ChunkConfig(overlap_tokens=0), markup="code")
    assert len(chunks) > 3
    assert all(chunk.content.startswith("def function_") for chunk in chunks)


def test_no_cut_inside_a_grapheme_cluster() -> None:
    family = "👩‍👩‍👧‍👦"
    chunks = split(family * 60, ChunkConfig(max_tokens=64, overlap_tokens=0))
    assert all(chunk.content == family * (len(chunk.content) // len(family)) for chunk in chunks)


# Texts that nobody wrote

PATHOLOGICAL: list[tuple[str, Callable[[int], str]]] = [
    ("no spaces", lambda size: "abcdefghij0123456789-_/" * (2 * size // 23)),
    ("white space", lambda size: "a" + "  \n\t \n" * (2 * size // 6) + "b"),
    ("emoji", lambda size: "👩‍👩‍👧‍👦😀" * (size // 8)),
    ("combining marks", lambda size: "e" + "\u0301\u0323\u0308" * (3 * size // 30)),
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("make", [m for _, m in PATHOLOGICAL], ids=[n for n, _ in PATHOLOGICAL])
def test_time_is_linear_and_limits_hold(name: str, make: Callable[[int], str]) -> None:
    tokenizer = open_tokenizer(name)
    short, long = make(60_000), make(240_000)
    assert seconds(long, tokenizer) < 8 * seconds(short, tokenizer) + 0.1
    check(long, split(long, tokenizer=tokenizer), ChunkConfig(), tokenizer)


def seconds(text: str, tokenizer: Tokenizer) -> float:
    """The best of three: a collection of garbage or a busy machine is no property of the code."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        split(text, tokenizer=tokenizer)
        taken.append(time.process_time() - started)
    return min(taken)


# Configuration


@pytest.mark.parametrize(
    "values",
    [
        {"max_tokens": 15},
        {"max_tokens": 64, "overlap_tokens": 33},
        {"overlap_tokens": -1},
        {"min_tokens": 1.5},
        {"max_tokens": True},
        {"respect_headings": "yes"},
        {"include_header": None},
    ],
)
def test_a_configuration_that_cannot_work_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match=list(values)[-1]):
        ChunkConfig(**values)


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_survives_its_dictionary(config: ChunkConfig) -> None:
    assert ChunkConfig.from_dict(config.to_dict()) == config


def test_missing_keys_of_a_dictionary_take_defaults_and_unknown_ones_are_refused() -> None:
    assert ChunkConfig.from_dict({"max_tokens": 128}) == ChunkConfig(max_tokens=128)
    with pytest.raises(InvalidArgument, match="no size"):
        ChunkConfig.from_dict({"size": 3})
