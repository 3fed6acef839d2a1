"""An edit gives new chunks near it, and nowhere else."""

from __future__ import annotations

import random
import textwrap
from collections.abc import Callable
from itertools import cycle, pairwise

import pytest

from pgrecall.chunking import ChunkConfig, split
from pgrecall.tokens import open_tokenizer
from pgrecall.types import Markup

#: Chunks that one edited paragraph may make new: its own, two neighbours, and one whose overlap reaches back.
MOST_NEW = 4
WORDS = [
    "harbour",
    "tide",
    "engine",
    "signal",
    "ledger",
    "copper",
    "window",
    "market",
    "garden",
    "letter",
    "bridge",
    "winter",
    "valley",
    "paper",
    "lantern",
    "river",
    "compass",
    "station",
    "kettle",
    "orchard",
    "thunder",
    "mirror",
    "pencil",
    "blanket",
    "captain",
    "feather",
    "island",
    "journey",
    "kitchen",
    "meadow",
    "needle",
    "ocean",
    "pocket",
    "quarrel",
    "ribbon",
    "shadow",
    "temple",
    "umbrella",
    "violin",
    "whistle",
    "yellow",
    "anchor",
    "basket",
    "candle",
    "desert",
]

Edit = Callable[[list[str], int, random.Random], list[str]]


def paragraph(rng: random.Random) -> str:
    sentences = (
        " ".join(rng.choices(WORDS, k=rng.randint(5, 18))).capitalize() + "."
        for _ in range(rng.randint(2, 7))
    )
    return " ".join(sentences)


def document(rng: random.Random, markup: Markup) -> list[str]:
    paragraphs = [paragraph(rng) for _ in range(520)]
    if markup == "markdown":
        for i in range(0, len(paragraphs), 13):
            paragraphs[i] = "#" * rng.randint(1, 3) + " " + " ".join(rng.choices(WORDS, k=3))
    return paragraphs


def changed(paragraphs: list[str], at: int, rng: random.Random) -> list[str]:
    return [*paragraphs[:at], paragraph(rng), *paragraphs[at + 1 :]]


def inserted(paragraphs: list[str], at: int, rng: random.Random) -> list[str]:
    return [*paragraphs[:at], paragraph(rng), *paragraphs[at:]]


def deleted(paragraphs: list[str], at: int, rng: random.Random) -> list[str]:
    return paragraphs[:at] + paragraphs[at + 1 :]


def embedded(paragraphs: list[str], markup: Markup, name: str) -> set[str]:
    chunks = split(
        "\n\n".join(paragraphs), tokenizer=open_tokenizer(name), markup=markup, title="Log"
    )
    return {chunk.embedded_text for chunk in chunks}


@pytest.mark.parametrize("name", ["cl100k_base", "wordllama"])
@pytest.mark.parametrize("markup", ["markdown", "plain"])
def test_an_edited_paragraph_makes_few_chunks_new(name: str, markup: Markup) -> None:
    rng = random.Random(7)
    paragraphs = document(rng, markup)
    before = embedded(paragraphs, markup, name)
    assert 150 < len(before) < 350
    bodies = [i for i, text in enumerate(paragraphs) if not text.startswith("#")]
    edits: list[Edit] = [changed, inserted, deleted]
    for at, edit in zip(rng.sample(bodies, 20), cycle(edits), strict=False):
        new = embedded(edit(paragraphs, at, rng), markup, name) - before
        assert len(new) <= MOST_NEW, f"{edit.__name__} paragraph {at}"


def sentences(rng: random.Random) -> list[str]:
    return [paragraph(rng).split(". ")[0].rstrip(".") + "." for _ in range(1900)]


def wrapped(rng: random.Random) -> list[str]:
    return [textwrap.fill(text, 72) for text in document(rng, "plain")]


@pytest.mark.parametrize("kind", ["markdown", "plain", "wrapped", "sentences"])
def test_random_edits_stay_where_they_are(kind: str) -> None:
    rng = random.Random(kind)
    markup: Markup = "markdown" if kind == "markdown" else "plain"
    makers = {"wrapped": wrapped, "sentences": sentences}
    paragraphs = makers[kind](rng) if kind in makers else document(rng, markup)
    before = embedded(paragraphs, markup, "wordllama")
    assert 150 < len(before) < 350
    bodies = [i for i, text in enumerate(paragraphs) if not text.startswith("#")]
    edits: list[Edit] = [changed, inserted, deleted]
    new = [
        len(embedded(edit(paragraphs, at, rng), markup, "wordllama") - before)
        for at, edit in zip(rng.sample(bodies, 100), cycle(edits), strict=False)
    ]
    # One in a few hundred makes more: where a paragraph divides a chunk, and all around it is full.
    assert sum(count > MOST_NEW for count in new) <= 1
    assert max(new) <= MOST_NEW + 1
    assert sum(new) <= 2.4 * len(new)


def test_no_two_neighbours_would_fit_into_one_chunk() -> None:
    rng = random.Random(3)
    text = "\n\n".join(sentences(rng))
    config = ChunkConfig(overlap_tokens=0)
    tokenizer = open_tokenizer("wordllama")
    chunks = split(text, config, tokenizer=tokenizer)
    # The sizes that decide count the blank lines behind, and a little slack.
    least = config.max_tokens - 8
    for one, other in pairwise(chunks):
        assert tokenizer.count(text[one.start : other.end]) > least
