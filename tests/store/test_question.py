"""What the words of a question find: languages, names, phrases, exclusions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Database, Document
from tests.embedders import TinyEmbedder

TEXTS = {
    "reset": "The connection was reset by the peer: ERR_CONN_RESET in os.path.join, see v1.2.3.",
    "refused": "A connection is refused when nobody listens. The reset button helps nobody.",
    "paths": "Configuration lies in /etc/pgrecall/settings.toml on every host.",
    "coffee": "Java is an island, and a coffee that is drunk there.",
    "language": "Java is a programming language that runs on a virtual machine.",
    "hyphens": "State-of-the-art retrieval since COVID-19, real-time and up-to-date.",
    "beijing": "北京大学是中国最好的大学之一。",
    "shanghai": "上海交通大学在上海市。",
    "tokyo": "東京は日本の首都です。カタカナも使います。",
    "printed": "He said “Callisto”—and didn’t stop… Ganymede’s ﬁrst cafe\u0301, Pluto™, «Charon».",
    "thai": "กรุงเทพมหานครเป็นเมืองหลวงของประเทศไทย",
}
GERMAN = "Die Häuser stehen an den Flüssen, und die Katzen schliefen."


@pytest.fixture(scope="module")
def docs(template_database: str, create_database: Any) -> Iterator[Collection]:
    with create_database(template_database) as url, pgrecall.connect(url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(8))
        docs.ingest(Document(uri=uri, text=text) for uri, text in TEXTS.items())
        docs.ingest(Document(uri="german", text=GERMAN, language="german"))
        yield docs


def found(docs: Collection, question: str, mode: Any = "text") -> list[str]:
    return [hit.uri for hit in docs.search(question, mode=mode, k=20)]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("ERR_CONN_RESET", "reset"),
        ("err_conn_reset", "reset"),
        ("ERR_CONN", "reset"),
        ("ERR_CO", "reset"),
        ("os.path.join", "reset"),
        ("os.path", "reset"),
        ("path", "reset"),
        ("v1.2", "reset"),
        ("v1.2.3", "reset"),
        ("/etc/pgrecall/settings.toml", "paths"),
        ("settings.toml", "paths"),
        ("COVID-19", "hyphens"),
        ("Callisto", "printed"),
        ("Ganymede", "printed"),
        ("Ganymede's", "printed"),
        ("first", "printed"),
        ("café", "printed"),
        ("ｃａｆé", "printed"),
        ("Pluto", "printed"),
        ("Charon?", "printed"),
        ("state-of-the-art", "hyphens"),
        ("state of the art", "hyphens"),
        ("北京大学", "beijing"),
        ("上海的大学", "shanghai"),
        ("海", "shanghai"),
        ("首", "tokyo"),
        ("日本の首都", "tokyo"),
        ("カタカナ", "tokyo"),
        ("เมืองหลวง", "thai"),
        ("Haus am Fluss", "german"),
        ("eine Katze", "german"),
    ],
)
def test_the_first_hit(docs: Collection, question: str, expected: str) -> None:
    assert found(docs, question)[0] == expected


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ('"connection was reset"', {"reset"}),
        ('"reset connection"', set()),
        ('"programming languages" java', {"language"}),
        ("„programming language“", {"language"}),
        ("java -“programming language”", {"coffee"}),
        ("java -coffee", {"language"}),
        ('java -"programming language"', {"coffee"}),
        ("java -coffee -machine", set()),
        # One word in quotation marks is a word, and short options of commands are no exclusions.
        ('"connection" peer', {"reset", "refused"}),
        ("connection -t peer", {"reset", "refused"}),
        ("大学 -上海", {"beijing"}),
        ('"京大学是中国"', {"beijing"}),
        ('"北京交通大学"', set()),
    ],
)
def test_phrases_and_exclusions(docs: Collection, question: str, expected: set[str]) -> None:
    assert {*found(docs, question)} == expected
    hybrid = {*found(docs, question, "hybrid")}
    assert hybrid >= expected
    if '"' in question and expected != {"reset", "refused"}:
        assert hybrid <= {*TEXTS, "german"} - ({"coffee"} if expected == {"language"} else set())


def test_an_exclusion_holds_for_both_arms(docs: Collection) -> None:
    everything = {*TEXTS, "german"}
    assert {*found(docs, "java", "hybrid")} == everything
    assert {*found(docs, "java -coffee", "hybrid")} == everything - {"coffee"}
    assert {*found(docs, 'java "virtual machine"', "hybrid")} == {"language"}


def test_quotation_marks_in_prose_require_nothing(docs: Collection) -> None:
    question = (
        'We would like to know whether the "programming language" of that name has anything to do '
        "with a connection that was reset by its peer -coffee notwithstanding"
    )
    assert {"reset", "refused", "language", "coffee"} <= {*found(docs, question)}


@pytest.mark.parametrize("fusion", ["convex", "dbsf", "rrf"])
def test_a_name_that_stands_nowhere_ranks_nothing(docs: Collection, fusion: str) -> None:
    # None of its words is known, and the vectors decide alone.
    hits = docs.search("zork_blub", k=20, fusion=fusion)
    assert {(hit.text_score, hit.text_rank) for hit in hits} <= {(0, None), (None, None)}
    nearest = docs.search("zork_blub", mode="vector", k=20)
    assert [(hit.uri, hit.score) for hit in hits] == [(hit.uri, hit.score) for hit in nearest]
    # One that is known stands in two documents only.
    hits = docs.search("java zork_blub", k=20, fusion=fusion)
    assert {hit.uri for hit in hits if hit.text_score or hit.text_rank} == {"coffee", "language"}


def test_a_word_said_twice_counts_twice(docs: Collection) -> None:
    once = {hit.uri: hit.text_score or 0 for hit in docs.search("java connection", mode="text")}
    twice = {
        hit.uri: hit.text_score or 0 for hit in docs.search("java connection java", mode="text")
    }
    assert twice["coffee"] == pytest.approx(2 * once["coffee"])
    assert twice["refused"] == pytest.approx(once["refused"])


def test_a_language_that_postgres_does_not_know_is_reported(docs: Collection) -> None:
    report = docs.ingest(
        [
            Document(uri="klingon", text="nuqneH", language="klingon"),
            Document(uri="more", text="Something else about water."),
        ]
    )
    assert report.new == 1
    (failure,) = report.failed
    assert failure.uri == "klingon"
    assert 'text search configuration "klingon" does not exist' in failure.reason
    assert docs.delete("more") == 1


def test_names_in_a_language_whose_dictionary_knows_several_forms(db: Database) -> None:
    with psycopg.connect(db.url) as connection:
        connection.execute(
            """
            CREATE TEXT SEARCH DICTIONARY public.parts
                (TEMPLATE = ispell, DictFile = ispell_sample, AffFile = ispell_sample);
            CREATE TEXT SEARCH CONFIGURATION public.parts (COPY = simple);
            ALTER TEXT SEARCH CONFIGURATION public.parts
                ALTER MAPPING FOR asciiword WITH public.parts, simple;
            """
        )
    docs = db.create_collection("docs", embedder=TinyEmbedder(8), language="public.parts")
    docs.ingest(
        Document(uri=f"d{n}", text=text)
        for n, text in enumerate(["os.footballklubber", "os in a football klubber", "os.path"])
    )
    assert found(docs, "os.footballklubber")[0] == "d0"
    assert found(docs, "os.footballklubber", "hybrid")[0] == "d0"
    assert found(docs, "os.pa") == ["d2", "d0", "d1"]


def test_characters_that_stand_alone_among_letters_and_digits(db: Database) -> None:
    docs = db.create_collection("docs", embedder=TinyEmbedder(8))
    texts = {"meeting": "会議は2024年5月3日です。", "report": "ABC社2024年報告", "chapter": "第3章"}
    docs.ingest(Document(uri=uri, text=text) for uri, text in texts.items())
    assert {*found(docs, "2024年")} == {"meeting", "report"}
    assert found(docs, "5月") == ["meeting"]
    assert found(docs, "3章")[0] == "chapter"
    assert found(docs, "ABC") == ["report"]
    assert found(docs, '"2024年 報告"') == ["report"]
    assert found(docs, "2024 -月") == ["report"]
    assert found(docs, "会議は2024年5月3日です。")[0] == "meeting"


def test_korean_words_of_two_syllables_are_excluded(db: Database) -> None:
    docs = db.create_collection("docs", embedder=TinyEmbedder(8), language="simple")
    texts = {"seoul": "서울 대학교 도서관", "busan": "부산 대학교 도서관"}
    docs.ingest(Document(uri=uri, text=text) for uri, text in texts.items())
    for mode in ("text", "hybrid"):
        assert found(docs, "대학교 -서울", mode) == ["busan"]
        assert found(docs, '도서관 -"서울 대학교"', mode) == ["busan"]
