from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrecall.load import LoadOptions, read
from pgrecall.types import Document, Failure


def load(
    folder: Path, name: str, content: str | bytes, **options: object
) -> list[Document | Failure]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read([path], LoadOptions(**options)))  # type: ignore[arg-type]  # by name


def documents(items: list[Document | Failure]) -> list[Document]:
    assert all(isinstance(item, Document) for item in items), items
    return [item for item in items if isinstance(item, Document)]


def short(items: list[Document | Failure]) -> list[str]:
    """The text of documents, the reason of failures."""
    return [item.text if isinstance(item, Document) else item.reason for item in items]


def test_csv_rows_are_documents(tmp_path: Path) -> None:
    content = (
        'id,title,text,year,zip\n7,One,"first\r\nrow, quoted",2024,01234\n8,Two,second,1999.5,\n'
    )
    one, two = documents(load(tmp_path, "faq.csv", content))
    base = (tmp_path / "faq.csv").as_posix()
    assert (one.uri, one.title, one.text) == (f"{base}#7", "One", "first\nrow, quoted")
    assert one.metadata == {"year": 2024, "zip": "01234"}
    assert (two.uri, two.metadata) == (f"{base}#8", {"year": 1999.5})


def test_csv_without_a_text_column(tmp_path: Path) -> None:
    (one,) = documents(load(tmp_path, "a.csv", "name,age,note\nAnn,30,\n"))
    assert one.text == "name: Ann\nage: 30"
    assert one.metadata == {"name": "Ann", "age": 30}
    assert one.uri.endswith("a.csv#1")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(tmp_path: Path, delimiter: str) -> None:
    content = delimiter.join(['"a, b"', "text", "c"]) + "\n" + delimiter.join(["1", "x", "2"])
    (one,) = documents(load(tmp_path, "a.csv", content))
    assert (one.text, one.metadata) == ("x", {"a, b": 1, "c": 2})


def test_tsv_keeps_commas(tmp_path: Path) -> None:
    (one,) = documents(load(tmp_path, "a.tsv", "text\tn\na,b,c\t1\n"))
    assert one.text == "a,b,c"


def test_options_choose_the_fields(tmp_path: Path) -> None:
    content = "key,q,a,lang,x\nk1,question,answer,en,1\n"
    options = {
        "text_field": "a",
        "title_field": "q",
        "id_field": "key",
        "metadata_fields": ("lang",),
    }
    (one,) = documents(load(tmp_path, "a.csv", content, **options))
    assert (one.text, one.title, one.metadata) == ("answer", "question", {"lang": "en"})
    assert one.uri.endswith("#k1")
    (wrong,) = load(tmp_path, "a.csv", content, text_field="nope")
    assert isinstance(wrong, Failure)
    assert "no field 'nope'; it has 'key', 'q', 'a'" in wrong.reason


def test_broken_csv_rows_do_not_stop_the_others(tmp_path: Path) -> None:
    content = 'text,n\n"two\nlines",1\nx,2,surplus\n\n,5\ngood,3\n'
    assert short(load(tmp_path, "a.csv", content)) == [
        "two\nlines",
        "Line 4: the row has 3 fields, and the header has 2.",
        "Line 6: the row has no text.",
        "good",
    ]


def test_csv_headers_that_are_empty_or_twice(tmp_path: Path) -> None:
    (one,) = documents(load(tmp_path, "a.csv", "text,,n,n\nx,1,2,3\n"))
    assert one.metadata == {"column_2": 1, "n": 2, "column_4": 3}


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_a_header_without_rows_is_no_empty_file(tmp_path: Path, name: str) -> None:
    for content in ("id,title,body", "\n\nid,title,body\n\n"):
        assert short(load(tmp_path, name, content)) == ["The file has a header and no rows."]
    assert short(load(tmp_path, name, "\n")) == ["The file is empty."]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings_of_rows(tmp_path: Path, encoding: str) -> None:
    rows = "".join(f"Zeile {number} über Größe,{number}\n" for number in range(50))
    found = documents(load(tmp_path, "a.csv", ("text,n\n" + rows).encode(encoding)))
    assert len(found) == 50
    assert found[49].text == "Zeile 49 über Größe"
    lines = "".join(
        json.dumps({"text": "über Größe"}, ensure_ascii=False) + "\n" for _ in range(50)
    )
    found = documents(load(tmp_path, "a.jsonl", lines.encode(encoding)))
    assert [item.text for item in found] == ["über Größe"] * 50


def test_huge_fields(tmp_path: Path) -> None:
    text = "word " * 100_000
    (one,) = documents(load(tmp_path, "a.csv", f'text,n\n"{text}",1\n'))
    assert len(one.text) == len(text)
    first, second = load(
        tmp_path, "a.jsonl", json.dumps({"text": text}) + '\n{"text": "b"}', max_bytes=99
    )
    assert isinstance(first, Failure)
    assert "longer than max_bytes" in first.reason
    assert isinstance(second, Document)


def test_long_values_stay_out_of_the_metadata(tmp_path: Path) -> None:
    content = json.dumps({"text": "x", "long": "y" * 2_000, "n": 1})
    (one,) = documents(load(tmp_path, "a.jsonl", content))
    assert one.metadata == {"n": 1}
    assert "'long'" in one.notes[0]
    (one,) = documents(load(tmp_path, "a.jsonl", content, metadata_fields=("long",)))
    assert len(one.metadata["long"]) == 2_000


def test_json_lines(tmp_path: Path) -> None:
    content = (
        '{"_id": "d1", "title": "T", "text": "one", "metadata": {"lang": "en"}, "tags": ["a"]}\n'
        "\n"
        '{"url": "https://example.org/a", "Body": "two", "n": null}\n'
        '{"broken": \n'
        "[1, 2]\n"
        '{"text": "NaN and NUL \\u0000", "score": NaN}\n'
        '{"text": " "}\n'
        '{"a": 1, "b": {"c": [true]}}\n'
    )
    items = load(tmp_path, "a.jsonl", content)
    base = (tmp_path / "a.jsonl").as_posix()
    assert short(items) == [
        "one",
        "two",
        "Line 4: it is not valid JSON: Expecting value at column 11.",
        "Line 5: it is not a JSON object.",
        "NaN and NUL ",
        "Line 7: the row has no text.",
        'a: 1\nb: {"c": [true]}',
    ]
    assert [item.uri.removeprefix(base) for item in items] == [
        *("#d1", "https://example.org/a", "#3", "#4", "#5", "#6", "#7")
    ]
    found = [item.metadata for item in items if isinstance(item, Document)]
    assert found == [
        {"lang": "en", "tags": ["a"]},
        {},
        {"score": None},
        {"a": 1, "b": {"c": [True]}},
    ]


@pytest.mark.parametrize("line", ["[" * 100_000, "9" * 5_000, '{"a":' * 50_000])
def test_json_that_would_exhaust_the_parser(tmp_path: Path, line: str) -> None:
    items = load(tmp_path, "a.jsonl", line + '\n{"text": "fine"}\n')
    assert isinstance(items[0], Failure)
    assert short(items[1:]) == ["fine"]


def test_file_of_nothing_but_broken_rows_is_given_up(tmp_path: Path) -> None:
    items = load(tmp_path, "a.jsonl", "not json\n" * 5_000)
    assert len(items) == 1_002
    assert "More than 1,000 rows" in short(items)[-1]


def test_json_array_of_objects_is_a_table(tmp_path: Path) -> None:
    found = documents(load(tmp_path, "a.json", '\ufeff [{"id": 5, "text": "a"}, {"text": "b"}]'))
    assert [item.uri.rpartition("#")[2] for item in found] == ["5", "2"]


@pytest.mark.parametrize("content", ['{"a": [1]}', "[1, 2]", "[", "[]", "[" * 100_000])
def test_other_json_is_text(tmp_path: Path, content: str) -> None:
    (one,) = documents(load(tmp_path, "a.json", content))
    assert (one.text, one.markup, one.metadata) == (content, "code", {"language": "json"})


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    with path.open("w") as file:
        for number in range(5_000):
            file.write(json.dumps({"id": number, "text": "word " * 200}) + "\n")
    items = read([path])
    next(items)
    tracemalloc.start()
    count = sum(1 for _ in items)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4_999
    assert peak < 2**20


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".csv", ".tsv", ".jsonl", ".json"]))
def test_any_bytes_give_documents_or_failures(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(content)
    for item in read([path]):
        assert isinstance(item, Document | Failure)
