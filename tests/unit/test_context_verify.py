"""Holding an answer against its passages: which markers and quotes match, and which do not."""

from __future__ import annotations

import re
from collections.abc import Callable
from uuid import NAMESPACE_URL, uuid5

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pgrecall.context import Context, Place
from pgrecall.types import Citation

RINGS = "The rings are ice,\nmostly “pure” ice... and don't last. Saturn [12] loses them: 10,000 kg a second!"
MOONS = "Titan has rivers.\n\nThey are not water. Die Größe täuscht: «petit» is small. 土星の環は氷です。"


def passage(number: int, quote: str, *, start: int = 0, title: str | None = None) -> Citation:
    return Citation(
        number=number,
        uri=f"{number}.md",
        title=title,
        document_id=uuid5(NAMESPACE_URL, str(number)),
        tenant_id="",
        start=start,
        end=start + len(quote),
        quote=quote,
        headings=("Moons", "Of Saturn") if number == 2 else (),
    )


def context(*citations: Citation) -> Context:
    return Context(citations=citations)


SATURN = context(passage(1, RINGS, start=100, title="Saturn's rings"), passage(2, MOONS))


@pytest.mark.parametrize(
    "quote",
    [
        "The rings are ice",
        "The rings are ice, mostly",
        "  The rings\n\n are \t ice,  ",
        "mostly 'pure' ice",
        'mostly "pure" ice',
        "mostly «pure» ice",
        "ice... and",
        "ice… and",
        "and don’t last",
        "and don't last.",
        "The rings … last.",
        "The rings ... loses them",
        "The rings [...] loses them",
        "The rings […] Saturn (...) second!",
        "The rings . . . last",
        "... mostly",
        "last. ...",
        "Saturn [12] loses",
        "10,000",
        "Titan has rivers. They are not water.",
        "Die Größe täuscht",
        "環は氷",
    ],
)
@pytest.mark.parametrize("marks", ["“”", '""', "„“", "«»", "»«", "「」", "‘’", "””"])
def test_what_stands_there_is_found(quote: str, marks: str) -> None:
    if marks == '""' and '"' in quote:
        quote = quote.replace('"', "'")
    if marks == "«»" and "«" in quote:
        quote = quote.replace("«", "“").replace("»", "”")
    answer = f"It says {marks[0]}{quote.strip()}{marks[1]}."
    checked = SATURN.verify(answer)
    assert checked.ok, checked.problems
    (found,) = checked.quotes
    assert answer[found.start : found.end] == found.text == quote.strip()


@pytest.mark.parametrize(
    "quote",
    [
        "The ring are ice",
        "the rings are ice",
        "The rings are ice mostly",
        "The rings are not ice",
        "rings are ice are",
        "ings are ice",
        "The rings are i",
        "The rings are ice.",
        "are ice … The rings",
        "The rings … Titan",
        "10.000 kg",
        "0,000 kg",
        "don't  last...ing",
        "Titan has rivers They",
        "Grösse",
        "環が氷",
        "They are water",
    ],
)
@pytest.mark.parametrize("marks", ["“”", '""', "«»", "„“", "「」"])
def test_what_stands_nowhere_is_told(quote: str, marks: str) -> None:
    checked = SATURN.verify(f"It says {marks[0]}{quote}{marks[1]} [1][2].")
    (told,) = checked.quotes
    assert (told.text, told.places, told.found) == (quote, (), False)
    assert not checked.ok
    assert checked.problems == [f'"{" ".join(quote.split())}" stands in no passage.']


def test_the_place_is_told_in_offsets_of_the_document() -> None:
    (quote,) = SATURN.verify("“ice, mostly … don’t last” [1]").quotes
    (place,) = quote.places
    assert place == Place(number=1, uri="1.md", start=place.start, end=place.end)
    text = " " * 100 + RINGS
    assert text[place.start : place.end] == "ice,\nmostly “pure” ice... and don't last"


def test_a_quote_has_to_stand_in_a_passage_that_its_paragraph_cites() -> None:
    checked = SATURN.verify('"Titan has rivers" [1].\n\n"The rings are ice" [1].\n* "Titan" [1, 2]')
    assert [quote.found for quote in checked.quotes] == [False, True, True]
    assert [quote.cited for quote in checked.quotes] == [(1,), (1,), (1, 2)]
    assert checked.problems == ['"Titan has rivers" stands in [2], not in [1].']


def test_where_a_paragraph_cites_nothing_any_passage_will_do() -> None:
    assert SATURN.verify('"Titan has rivers".\n\n"The rings are ice" [1].').ok


@pytest.mark.parametrize(
    ("answer", "found", "unknown"),
    [
        ("Ice [1].", [1], []),
        ("Ice [1][2].", [1, 2], []),
        ("Ice [1, 2].", [1, 2], []),
        ("Ice [1; 3].", [1], [3]),
        ("Ice [1-2], [1–3].", [1, 2, 1, 2], [3]),
        ("Ice [ 2 ].", [2], []),
        ("Ice [0] or [3] or [007].", [], [0, 3, 7]),
        ("Ice [1-999999999].", [1, 2], [999999999]),
        ("Ice [1234567890123456789012345].", [], []),
        ("No [x], [1a], [] or [-1].", [], []),
        ("`a[3]` and\n```\nb[4]\n```\n[2]", [2], []),
        ("```\nnever closed [5]", [], []),
        ("", [], []),
    ],
)
def test_markers(answer: str, found: list[int], unknown: list[int]) -> None:
    checked = SATURN.verify(answer)
    assert [marker.number for marker in checked.markers if marker.found] == found
    assert [marker.number for marker in checked.markers if not marker.found] == unknown
    assert checked.problems == [f"[{number}] names no passage." for number in unknown]
    assert all(re.fullmatch(r"\[[^]]+\]", answer[m.start : m.end]) for m in checked.markers)


def test_a_number_that_stands_in_the_passage_is_not_a_marker() -> None:
    assert SATURN.verify('"Saturn [12] loses them" [1]').ok
    assert [m.number for m in SATURN.verify('"Saturn [12] loses them" [1]').markers] == [1]


def test_a_marker_inside_the_quotation_marks_is_the_answers() -> None:
    checked = SATURN.verify("“The rings are ice [1] [2].” And “The rings are ice [1][9]”.")
    assert [quote.text for quote in checked.quotes][1] == "The rings are ice"
    assert [marker.number for marker in checked.markers] == [1, 2, 1, 9]
    assert [quote.found for quote in checked.quotes] == [False, True]


@pytest.mark.parametrize(
    "answer",
    [
        "The pipe is 5\" wide and 6' long.",
        'It is 5" wide. The "rings" are 6" wide.',
        "Don't say the dogs’ bowl.",
        'An opening " that is never closed.',
        "Never “closed, and «this, and „that.",
        'Nothing "" or " " or "..." or "?!".',
        'Say `print("hello")` or\n```\nx = "hello"\n```',
        'See "Saturn\'s rings" [1], under "Of Saturn" [2].',
    ],
)
def test_what_is_no_quote_is_not_held_against_an_answer(answer: str) -> None:
    assert SATURN.verify(answer).ok


@pytest.mark.parametrize(
    "answer",
    [
        "He said “The rings are “pure” zebra”.",
        'He said "The rings are "pure" zebra".',
        "He said „The rings are ‚pure‘ zebra“.",
        "He said «The rings are “pure” zebra».",
        "He said “The rings are zebra“.",
        '5" and \'so\' and "zebra".',
        "Dogs’ “zebra”, don’t.",
        "土星は「zebra」と「zebra」",
        '说"zebra"的',
        '"The rings\n\nare zebra"',
        '("zebra")',
        '"zebra"[1]',
        '"zebra " [1]',
        '**"zebra"**',
    ],
)
def test_quotation_marks_are_paired_as_a_reader_pairs_them(answer: str) -> None:
    checked = SATURN.verify(answer)
    assert checked.quotes
    assert all("zebra" in quote.text and not quote.found for quote in checked.quotes)


def test_long_quotes_are_shortened_when_told() -> None:
    (problem,) = SATURN.verify(f'"{"zebra " * 100}"').problems
    assert len(problem) < 120


def test_an_answer_without_passages() -> None:
    assert Context().verify("I do not know.").ok
    assert not Context().verify('"Ice" [1]').ok


WORDS = st.sampled_from(
    ["ice", "rings", "Saturn", "10,000", "don't", "naïve", "(so)", "a/b", "[12]", "^$*"]
)
SPACES = st.sampled_from([" ", "\n", "  ", "\t", "\u00a0", "\n\n"])
texts = st.lists(WORDS, min_size=5, max_size=40)
TYPOGRAPHY: list[Callable[[str], str]] = [
    lambda word: word,
    lambda word: word.replace("'", "’"),
    lambda word: word.replace("'", "‘"),
]


def joined(words: list[str], spaces: list[str]) -> str:
    return "".join(word + space for word, space in zip(words, spaces, strict=False)).strip()


@st.composite
def quoted(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A passage, and the words of a stretch of it."""
    words = draw(texts)
    spaces = draw(st.lists(SPACES, min_size=len(words), max_size=len(words)))
    start = draw(st.integers(0, len(words) - 3))
    end = draw(st.integers(start + 3, len(words)))
    return joined(words, spaces), words[start:end]


@given(
    found=quoted(),
    spaces=st.lists(SPACES, min_size=8, max_size=8).map(lambda spaces: spaces * 5),
    typography=st.sampled_from(TYPOGRAPHY),
    gap=st.none() | st.tuples(st.integers(1, 5), st.sampled_from(["…", "...", "[…]", "(...)"])),
    marks=st.sampled_from(["“”", '""', "«»", "„“", "「」"]),
)
def test_every_true_quote_is_accepted(
    found: tuple[str, list[str]],
    spaces: list[str],
    typography: Callable[[str], str],
    gap: tuple[int, str] | None,
    marks: str,
) -> None:
    text, words = found
    shown = [typography(word) for word in words]
    if gap and len(shown) > gap[0] + 1:
        shown[1 : 1 + gap[0]] = [gap[1]]
    assume(any(re.search(r"\w", word) for word in shown))
    answer = f"So: {marks[0]}{joined(shown, spaces)}{marks[1]} [2]."
    checked = context(passage(1, "Nothing."), passage(2, text, start=7)).verify(answer)
    assert checked.ok, checked.problems
    (place,) = checked.quotes[0].places
    source = (" " * 7 + text)[place.start : place.end]
    assert gap or source.split() == words


@given(
    found=quoted(),
    at=st.integers(0, 100),
    change=st.sampled_from(["insert", "replace", "case", "letter", "glue"]),
    marks=st.sampled_from(["“”", '""', "«»", "„“", "「」"]),
)
@example(("ice ice ice", ["ice", "ice", "ice"]), 1, "glue", "“”")
def test_every_altered_quote_is_rejected(
    found: tuple[str, list[str]], at: int, change: str, marks: str
) -> None:
    text, words = found
    at %= len(words)
    word = words[at]
    altered = {
        "insert": f"{word} zebra",
        "replace": "zebra",
        "case": word.swapcase(),
        "letter": f"{word}x",
        "glue": word + words[(at + 1) % len(words)],
    }[change]
    assume(altered != word)
    quote = " ".join([*words[:at], altered, *words[at + 1 :]])
    assume(quote not in " ".join(text.split()))
    checked = context(passage(1, text)).verify(f"So: {marks[0]}{quote}{marks[1]} [1].")
    assert not checked.ok
    assert all(quote.startswith(part.text) for part in checked.quotes)


@given(
    text=st.lists(
        st.sampled_from(
            [*'"“”„«»‘’「」`[]().… \n\n-*', "ice", "rings", "1", "2", "...", "```", "[1]"]
        ),
        max_size=60,
    ).map("".join)
)
def test_any_text_is_taken_apart_without_losing_its_place(text: str) -> None:
    checked = SATURN.verify(text)
    assert all(text[quote.start : quote.end] == quote.text for quote in checked.quotes)
    assert all(text[marker.start] == "[" for marker in checked.markers)
    assert checked.ok == (checked.problems == [])
    ends = [0, *(quote.end for quote in checked.quotes)]
    assert all(quote.start >= end for quote, end in zip(checked.quotes, ends, strict=False))
