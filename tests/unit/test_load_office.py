from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pytest

import pgrecall.load
from pgrecall.load import LoadOptions, Source, read
from pgrecall.load.dispatch import load_here
from pgrecall.types import Document, Failure

docx = pytest.importorskip("docx")
openpyxl = pytest.importorskip("openpyxl")
pptx = pytest.importorskip("pptx")


def load(path: Path, **options: object) -> Document | Failure:
    (item,) = read([path], LoadOptions(**options))  # type: ignore[arg-type]  # by name
    return item


def word(path: Path) -> Path:
    document = docx.Document()
    document.core_properties.title = "Report"
    document.core_properties.author = "Ann"
    document.add_heading("Chapter", level=1)
    document.add_paragraph("Some words.")
    document.add_heading("Part", level=2)
    document.add_paragraph("one", style="List Bullet")
    document.add_paragraph("two", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip((*table.rows[0].cells, *table.rows[1].cells), "abcd", strict=True):
        cell.text = text
    document.save(path)
    return path


def test_word(tmp_path: Path) -> None:
    item = load(word(tmp_path / "a.docx"))
    assert isinstance(item, Document)
    assert item.text == (
        "# Chapter\n\nSome words.\n\n## Part\n\n- one\n- two\n\n| a | b |\n| --- | --- |\n| c | d |"
    )
    assert (item.title, item.markup, item.metadata) == ("Report", "markdown", {"author": "Ann"})


def test_word_under_another_name(tmp_path: Path) -> None:
    item = load(word(tmp_path / "a.txt"))
    assert isinstance(item, Document)
    assert item.mime_type.endswith("wordprocessingml.document")


def test_slides_are_pages(tmp_path: Path) -> None:
    presentation = pptx.Presentation()
    for title, body in (("First", "alpha"), ("Second", "beta")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    slide.notes_slide.notes_text_frame.text = "a note"
    presentation.save(tmp_path / "a.pptx")
    item = load(tmp_path / "a.pptx")
    assert isinstance(item, Document)
    assert item.text == "## First\n\nalpha\n\n## Second\n\nbeta\n\na note"
    assert item.pages == (0, item.text.index("## Second"))


def test_sheets(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.title = "Prices"
    for row in (("item", "price"), ("tea", 3.5), (None, None), ("a|b", None)):
        workbook.active.append(row)
    workbook.create_sheet("Empty")
    workbook.save(tmp_path / "a.xlsx")
    item = load(tmp_path / "a.xlsx")
    assert isinstance(item, Document)
    assert item.text == "## Prices\n\n| item | price |\n| --- | --- |\n| tea | 3.5 |\n| a\\|b |"


def broken(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_xml", ".xml"), content)
    return path


def test_files_that_are_no_office_documents(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    for content in (b"plain text", b"PK\x03\x04 cut", b"\xd0\xcf\x11\xe0" + bytes(600)):
        path.write_bytes(content)
        item = load(path)
        assert isinstance(item, Failure)
        assert "save it as" in item.reason or "not an Office document" in item.reason
    item = load(broken(path, word__document_xml="<broken"))
    assert isinstance(item, Failure)
    assert item.reason.startswith("The document is broken")


def test_zip_bomb_is_not_opened(tmp_path: Path) -> None:
    path = broken(tmp_path / "a.docx", word__document_xml="<a>" + "x" * 5_000_000 + "</a>")
    assert path.stat().st_size < 10_000
    item = load(path, max_bytes=2**20)
    assert isinstance(item, Failure)
    assert "unpacks to" in item.reason


def test_other_archives_are_not_text(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "x")
    (tmp_path / "a.txt").write_bytes(buffer.getvalue())
    item = load(tmp_path / "a.txt")
    assert isinstance(item, Failure)
    assert "zip archive" in item.reason


def test_missing_extra_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = word(tmp_path / "a.docx")
    monkeypatch.delitem(sys.modules, "pgrecall.load.officetext", raising=False)
    monkeypatch.delattr(pgrecall.load, "officetext", raising=False)
    monkeypatch.setitem(sys.modules, "docx", None)
    source = Source(uri=str(path), path=str(path))
    (item,) = load_here(source, LoadOptions())  # in this process, whose modules are as set above
    assert isinstance(item, Failure)
    assert "pip install 'pgrecall[office]'" in item.reason
