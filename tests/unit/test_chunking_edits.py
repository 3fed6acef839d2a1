"""An edit gives new chunks near it, and nowhere else."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import cycle

import pytest

from pgrecall.chunking import split
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
