from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgrecall.load import LoadOptions, read
from pgrecall.load.dispatch import load_here
from pgrecall.load.reading import load
from pgrecall.load.sniff import binary_kind, decode
from pgrecall.load.source import Source
from pgrecall.longtext import LongDocument
from pgrecall.types import Document, Failure

GERMAN = "Über die Größe der Städte läßt sich streiten, meint Jörg: „Schön wär's!“ \n" * 4
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. Вот так вот и живём.\n" * 4
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy, když přišla zima a s ní i dlouhé večery.\n" * 4
JAPANESE = "これは日本語の文章です。検索のために文字コードを判定します。テストを続けます。\n" * 4


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def one(path: Path, **options: object) -> Document:
    (item,) = read([path], LoadOptions(**options))  # type: ignore[arg-type]  # by name
    assert isinstance(item, Document), item
    return item


def reason(path: Path, **options: object) -> str:
    (item,) = read([path], LoadOptions(**options))  # type: ignore[arg-type]  # by name
    assert isinstance(item, Failure), item
    return item.reason


def test_plain_text(tmp_path: Path) -> None:
    document = one(write(tmp_path, "notes.txt", "one\r\ntwo\rthree\n"))
    assert document.text == "one\ntwo\nthree\n"
    assert (document.title, document.markup, document.mime_type) == ("notes", "plain", "text/plain")
    assert document.uri == (tmp_path / "notes.txt").as_posix()
    assert document.metadata == {}


def test_source_code(tmp_path: Path) -> None:
    document = one(write(tmp_path, "tool.py", "def f():\n\treturn 1\n"))
    assert document.text == "def f():\n\treturn 1\n"
    assert (document.title, document.markup) == ("tool.py", "code")
    assert document.metadata == {"language": "python"}


def test_names_that_say_nothing_are_judged_by_content(tmp_path: Path) -> None:
    assert one(write(tmp_path, "README", "plain words")).markup == "plain"
    assert one(write(tmp_path, "run", "#!/bin/sh\necho")).markup == "code"
    page = one(write(tmp_path, "page", "<!DOCTYPE html><title>T</title><p>words"))
    assert (page.text, page.title, page.mime_type) == ("words", "T", "text/html")
    assert one(write(tmp_path, "x.unheard", "words")).text == "words"


@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff"])
def test_empty_files(tmp_path: Path, content: str) -> None:
    for name in ("a.txt", "a.md", "a.py", "a.csv", "a.jsonl", "noname"):
        assert reason(write(tmp_path, name, content)) == "The file is empty."


def test_empty_files_of_a_folder_are_reported_unless_they_are_code(tmp_path: Path) -> None:
    for name in ("__init__.py", "py.typed", "a.md"):
        write(tmp_path, name, "")
    (item,) = read([tmp_path])
    assert item == Failure(uri=(tmp_path / "a.md").as_posix(), reason="The file is empty.")


def test_files_over_the_limit(tmp_path: Path) -> None:
    assert "max_bytes" in reason(write(tmp_path, "a.txt", "12345"), max_bytes=4)
    assert one(tmp_path / "a.txt", max_bytes=5).text == "12345"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (GERMAN, "utf-8"),
        (GERMAN, "utf-8-sig"),
        (GERMAN, "utf-16"),
        (GERMAN, "utf-16-le"),
        (GERMAN, "utf-16-be"),
        (GERMAN, "utf-32"),
        (GERMAN, "cp1252"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        ("naïve café", "latin-1"),
        (CZECH, "cp1250"),
    ],
)
def test_encodings_are_found(tmp_path: Path, content: str, encoding: str) -> None:
    document = one(write(tmp_path, "a.txt", content.encode(encoding)))
    assert document.text == content
    assert any(note.startswith("read as") for note in document.notes) != (encoding[:5] == "utf-8")


def test_encoding_that_is_given(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "ÿþ".encode("latin-1") + b"x")
    assert one(path, encoding="latin-1").text == "ÿþx"
    assert "not in the encoding utf-8" in reason(path, encoding="utf-8")


def test_utf8_with_a_few_broken_bytes_stays_utf8(tmp_path: Path) -> None:
    document = one(write(tmp_path, "a.txt", GERMAN.encode() + b"\xff" + RUSSIAN.encode()))
    assert document.text == f"{GERMAN}\ufffd{RUSSIAN}"
    assert "U+FFFD" in document.notes[0]


def test_late_characters_do_not_break_a_long_file(tmp_path: Path) -> None:
    content = "word " * 30_000 + "café"
    assert one(write(tmp_path, "a.txt", content.encode("cp1252"))).text == content


#: What files are made of, in this encoding or that, some of it broken.
PIECES = st.tuples(
    st.sampled_from(
        [GERMAN, RUSSIAN, CZECH, JAPANESE, "plain words\r\n", "a\rb\n", "\ufeff", "x\0"]
    ),
    st.sampled_from(
        [
            "utf-8",
            "utf-8",
            "utf-16",
            "utf-16-le",
            "utf-32",
            "cp1252",
            "cp1250",
            "koi8-r",
            "shift_jis",
        ]
    ),
).map(lambda pair: pair[0].encode(pair[1], "replace"))


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(PIECES | st.binary(max_size=3), min_size=1, max_size=4),
    times=st.integers(1, 40),
    name=st.sampled_from(["a.txt", "a.md"]),
    encoding=st.sampled_from([None, None, "utf-16", "latin-1", "utf-8"]),
)
@example([b"---\ntitle: A\n---\n\n# B\n", b"text\n"], 1, "a.md", None)
@example([b"---\na: 1\n---\n", b" \n"], 30, "a.md", None)
@example([b"```\n# No\n", b"```\n"], 1, "a.md", None)
@example([b" \n"], 40, "a.txt", None)
def test_a_long_file_is_read_as_a_short_one(
    pieces: list[bytes], times: int, name: str, encoding: str | None
) -> None:
    head, *rest = pieces
    data = (
        (head + b"".join(rest) * times + b"word " * 2_000) if pieces != [b" \n"] else head * 9_000
    )
    source = [Source(uri=name, path=None, data=data, name=name)]
    options = LoadOptions(encoding=encoding)
    with pytest.MonkeyPatch.context() as patch:
        # Every file is longer, and no text that is looked at as long.
        patch.setattr("pgrecall.load.sniff._SAMPLE_BYTES", 4_200)
        patch.setattr("pgrecall.load.text._BLOCK", 5_000)
        short = [*load(source[0], options)]
        patch.setattr("pgrecall.load.text.LONG", 4_200)
        assert [*load(source[0], options)] == short
        (item,) = load_here(source[0], options)
        assert isinstance(item, Failure | LongDocument)


def test_nul_characters_are_removed_and_noted(tmp_path: Path) -> None:
    document = one(write(tmp_path, "a.txt", "a\0b\0c"))
    assert (document.text, document.notes) == ("abc", ("removed 2 NUL characters",))


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"\x7fELF" + bytes(100),
        bytes(range(256)) * 20,
        b"\x1f\x8b\x08" + b"abc" * 40,
        bytes(5000),
    ],
)
def test_binary_content_under_a_text_name(tmp_path: Path, content: bytes) -> None:
    assert "though its name says text" in reason(write(tmp_path, "a.txt", content))
    unnamed = write(tmp_path, "blob", content)
    assert "not text" in reason(unnamed)
    (tmp_path / "a.txt").unlink()
    assert list(read([tmp_path])) == []


def test_random_bytes_are_binary() -> None:
    # Seeded: one in 32,768 begins with the mark of UTF-16, and is text to everybody.
    random = Random(7)
    assert all(binary_kind(random.randbytes(2048)) for _ in range(50))


@given(st.text(max_size=300))
def test_text_is_never_taken_for_binary_and_decodes_to_itself(text: str) -> None:
    data = text.encode("utf-8", "ignore").replace(b"\0", b"")
    plain = data.decode()
    if not plain.startswith("\ufeff"):
        decoded, notes = decode(data)
        assert decoded == plain.replace("\r\n", "\n").replace("\r", "\n")
        assert notes == []


@given(st.binary(max_size=300))
def test_decoding_never_fails(data: bytes) -> None:
    text, _ = decode(data)
    assert "\r" not in text


def test_front_matter_becomes_metadata(tmp_path: Path) -> None:
    source = (
        "---\ntitle: The Guide\ndate: 2024-05-06\nupdated: 2024-05-06 07:08:09\n"
        "tags: [a, b]\ndraft: false\nnested: {k: .nan}\n2024: year\n---\n\n# Heading\n\ntext\n"
    )
    document = one(write(tmp_path, "a.md", source))
    assert document.title == "The Guide"
    assert document.text == "# Heading\n\ntext\n"
    assert document.metadata == {
        "date": "2024-05-06",
        "updated": "2024-05-06T07:08:09",
        "tags": ["a", "b"],
        "draft": False,
        "nested": {"k": None},
        "2024": "year",
    }
    assert (document.markup, document.mime_type) == ("markdown", "text/markdown")


def test_front_matter_in_toml(tmp_path: Path) -> None:
    source = '+++\ntitle = "T"\nday = 2024-05-06\n[extra]\nn = 1\n+++\ntext'
    document = one(write(tmp_path, "a.md", source))
    assert (document.title, document.text) == ("T", "text")
    assert document.metadata == {"day": "2024-05-06", "extra": {"n": 1}}


#: Ten lists, each nine times the one before it: small to write, too large to copy.
LAUGHS = "k0: &k0 [x]\n" + "".join(
    f"k{level}: &k{level} [{', '.join([f'*k{level - 1}'] * 9)}]\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    "matter",
    [
        "title: [unclosed",
        "just words",
        "- a\n- list",
        "a: &x [*x]",
        "[" * 400,
        "[" * 16_000,
        "{a: " * 4_000,
        "a: b\n" * 5_000,
        "a: !!python/object:os.system x",
        "a: !!binary aGVsbG8=",
        LAUGHS,
    ],
)
def test_broken_front_matter_stays_text_and_is_noted(tmp_path: Path, matter: str) -> None:
    source = f"---\n{matter}\n---\ntext"
    document = one(write(tmp_path, "a.md", source))
    assert document.text == source
    assert document.notes[0].startswith("kept the front matter as text")
    assert document.metadata == {}


def test_thematic_break_is_no_front_matter(tmp_path: Path) -> None:
    document = one(write(tmp_path, "a.md", "---\n\nNo fence follows.\n"))
    assert document.text.startswith("---")
    assert document.notes == ()


def test_front_matter_alone_is_kept(tmp_path: Path) -> None:
    document = one(write(tmp_path, "a.md", "---\ntitle: T\n---\n"))
    assert (document.title, document.text) == ("T", "---\ntitle: T\n---\n")


@pytest.mark.parametrize(
    ("source", "title"),
    [
        ("intro\n\n# First # \n\n# Second", "First"),
        ("```\n# comment\n```\n# Real", "Real"),
        ("## Only a second level", "a"),
        ("#nospace", "a"),
    ],
)
def test_title_of_markdown(tmp_path: Path, source: str, title: str) -> None:
    assert one(write(tmp_path, "a.md", source)).title == title


def test_notebook(tmp_path: Path) -> None:
    source = (
        '{"cells": [{"cell_type": "markdown", "source": ["# Title\\n", "words"]},'
        ' {"cell_type": "code", "source": "x = 1", "outputs": [{"data": "iVBORw0"}]},'
        ' {"cell_type": "code", "source": []}, 3],'
        ' "metadata": {"kernelspec": {"language": "julia"}}}'
    )
    document = one(write(tmp_path, "a.ipynb", source))
    assert document.text == "# Title\nwords\n\n```julia\nx = 1\n```"
    assert (document.title, document.metadata) == ("Title", {"language": "julia"})
    assert "not valid JSON" in reason(write(tmp_path, "b.ipynb", "{"))
    assert "no cells" in reason(write(tmp_path, "c.ipynb", "[]"))
    assert "no cells with text" in reason(write(tmp_path, "d.ipynb", '{"cells": []}'))
