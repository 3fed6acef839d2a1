"""Languages found out: which texts say one, and which keep the collection's."""

# ruff: noqa: RUF001

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrecall import Document
from pgrecall.load import LoadOptions, read
from pgrecall.load.detect import language_of

# From article 1 of the Universal Declaration of Human Rights.
TEXTS = {
    "english": "All human beings are born free and equal in dignity and rights.",
    "german": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "french": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "italian": "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
    "dutch": "Alle mensen worden vrij en gelijk in waardigheid en rechten geboren.",
    "swedish": "Alla människor är födda fria och lika i värde och rättigheter.",
    "finnish": "Kaikki ihmiset syntyvät vapaina ja tasavertaisina arvoltaan ja oikeuksiltaan.",
    "hungarian": "Minden emberi lény szabadon születik és egyenlő méltósága és joga van.",
    "turkish": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
    "russian": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    # Languages without a configuration of their own.
    "simple": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
}
CODE = "def total(items):\n    # the sum of all the items here\n    return sum(items)\n"
GERMAN = TEXTS["german"]


@pytest.mark.parametrize("language", TEXTS)
def test_a_sentence(language: str) -> None:
    assert language_of(TEXTS[language]) == language


@pytest.mark.parametrize(
    "text",
    [
        "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心。",
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์",
    ],
)
def test_languages_without_spaces(text: str) -> None:
    assert language_of(text) == "simple"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Olives",
        "ERR_CONN_RESET v1.2.3",
        "| Name | Ort |\n|---|---|\n| Herr Müller der Bäcker dort | eine kleine Stadt am Fluss |\n",
        "id: 17\nname: Müller\nplace: Köln\nprice: 12.50\n",
        "1;2;3\n4;5;6\n" * 20,
        "```python\n# this is the text of a program in english words\n```\n",
    ],
)
def test_what_says_nothing(text: str) -> None:
    assert language_of(text) is None


def test_prose_around_code_and_tables_decides() -> None:
    text = f"# Titel\n\n{GERMAN}\n\n```\nthe code in between is written in english words\n```\n\n| a | b |\n"
    assert language_of(text * 50) == "german"


def test_documents_that_say_their_language_keep_it(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(GERMAN, "utf-8")
    (tmp_path / "b.html").write_text(
        f"<html lang='fr'><body><p>{GERMAN}</p></body></html>", "utf-8"
    )
    (tmp_path / "c.py").write_text(CODE, "utf-8")
    (tmp_path / "d.md").write_text(f"---\nlang: pl\n---\n{TEXTS['simple']}", "utf-8")
    (tmp_path / "e.csv").write_text(f"id,text\n1,{GERMAN}\n", "utf-8")
    given = [Document(uri="g", text=GERMAN), Document(uri="h", text=GERMAN, language="dutch")]

    def languages(language: str | None) -> list[str | None]:
        found = read([tmp_path, *given], LoadOptions(language=language))
        return [item.language for item in found if isinstance(item, Document)]

    detected = ["german", "french", None, "simple", "german", "german", "dutch"]
    assert languages("detect") == detected
    assert languages(None) == [None, "french", None, None, None, None, "dutch"]
    assert languages("finnish") == ["finnish"] * 5 + [None, "dutch"]


@given(st.text(st.characters(), min_size=20, max_size=200))
def test_any_text(text: str) -> None:
    found = language_of(text)
    assert found is None or found.isalpha()


def test_without_the_extra_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['pycld2'] = None\n"
        "from pgrecall.load.detect import language_of\n"
        "try: language_of('some words of no matter')\n"
        "except ImportError as exc: print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "pgrecall[languages]" in done.stdout
