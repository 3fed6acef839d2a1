from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from pgrecall.load import LoadOptions, read
from pgrecall.load.pages import join_pages
from pgrecall.load.pdftext import paragraphs
from pgrecall.types import Document, Failure


def pdf(pages: Sequence[Sequence[str]], information: str = "") -> bytes:
    """A PDF of text lines, written by hand: catalogue, pages, one font."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        shown = "".join(f"({line}) Tj 0 -14 Td " for line in lines)
        stream = f"BT /F1 12 Tf 50 750 Td {shown}ET" if lines else "0 0 200 200 re f"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    objects.append(f"<< {information} >>")
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, io.SEEK_END)
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(out.tell())
        out.write(f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1"))
    start = out.tell()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"<< /Size {size} /Root 1 0 R /Info {len(objects)} 0 R >>"
    out.write(f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n{trailer}\n".encode())
    out.write(f"startxref\n{start}\n%%EOF".encode())
    return out.getvalue()


def encrypted(password: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf([["secret text"]]))))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def load(
    folder: Path, content: bytes, name: str = "paper.pdf", **options: object
) -> Document | Failure:
    path = folder / name
    path.write_bytes(content)
    (item,) = read([path], LoadOptions(**options))  # type: ignore[arg-type]  # by name
    return item


def reason(item: Document | Failure) -> str:
    assert isinstance(item, Failure), item
    return item.reason


def test_pages_and_information(tmp_path: Path) -> None:
    content = pdf([["first page"], [], ["third page"]], "/Title (The Paper) /Author (Ann)")
    item = load(tmp_path, content)
    assert isinstance(item, Document)
    assert item.text == "first page\n\nthird page"
    assert item.pages == (0, 12, 12)
    assert (item.title, item.metadata) == ("The Paper", {"author": "Ann"})
    assert (item.mime_type, item.markup) == ("application/pdf", "plain")


def test_title_falls_back_to_the_file_name(tmp_path: Path) -> None:
    item = load(tmp_path, pdf([["x y z"]]))
    assert isinstance(item, Document)
    assert item.title == "paper"


def test_pdf_under_another_name(tmp_path: Path) -> None:
    for name in ("paper.txt", "paper", "paper.md"):
        item = load(tmp_path, pdf([["words"]]), name)
        assert isinstance(item, Document)
        assert (item.text, item.mime_type) == ("words", "application/pdf")


def test_encrypted(tmp_path: Path) -> None:
    found = reason(load(tmp_path, encrypted("geheim")))
    assert found == "The PDF is encrypted; remove its password first."


def test_encrypted_without_a_user_password_can_be_read(tmp_path: Path) -> None:
    item = load(tmp_path, encrypted(""))
    assert isinstance(item, Document)
    assert item.text == "secret text"


def test_scanned(tmp_path: Path) -> None:
    found = reason(load(tmp_path, pdf([[], [], []])))
    assert found.startswith("The PDF has no text layer (3 pages); recognise its text (--ocr eng)")


@pytest.mark.parametrize(
    "content",
    [
        b"%PDF-1.7\n",
        b"%PDF-1.7\n" + b"garbage " * 500,
        b"no pdf at all",
        pdf([["x"]])[:200],
        pdf([["x"]]).replace(b"/Pages 2 0 R", b"/Pages 9 0 R"),
        pdf([["x"]]).replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]"),
    ],
)
def test_broken(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    assert reason(load(tmp_path, content)).startswith("The PDF ")
    assert capfd.readouterr() == ("", "")


def test_broken_page_is_skipped_and_noted(tmp_path: Path) -> None:
    content = pdf([["one"], ["two"], ["three"]]).replace(b"/Contents 7 0 R", b"/Contents /Nope")
    item = load(tmp_path, content)
    assert isinstance(item, Document)
    assert item.text == "one\n\nthree"


def test_every_cut_of_a_pdf_is_survived(tmp_path: Path) -> None:
    content = pdf([["some words", "more words"], ["last"]], "/Title (T)")
    for end in range(8, len(content), 37):
        item = load(tmp_path, content[:end] + b"\0\xff" + content[end + 5 :])
        assert isinstance(item, Document | Failure)


def test_limit(tmp_path: Path) -> None:
    assert "max_bytes" in reason(load(tmp_path, pdf([["x"]]), max_bytes=100))


LINE = "The quick brown fox jumps over the lazy dog and then sleeps in the"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f"{LINE}\n{LINE}\nsun.", f"{LINE} {LINE} sun."),
        (
            f"Heading\n{LINE}\n{LINE}\nsun.\nHeading\nshort",
            f"Heading\n{LINE} {LINE} sun.\nHeading\nshort",
        ),
        (f"{LINE} infor-\nmation {LINE}", f"{LINE} information {LINE}"),
        (f"{LINE} state-of-\nthe-art", f"{LINE} state-of-the-art"),
        (f"{LINE} Anglo-\nSaxon", f"{LINE} Anglo-Saxon"),
        (f"{LINE}\n• one\n• two", f"{LINE}\n• one\n• two"),
        (f"{LINE}\n2.1 Section\n{LINE}", f"{LINE}\n2.1 Section\n{LINE}"),
        ("a b\nc d\ne f", "a b\nc d\ne f"),
        (f"{LINE}\n\n\n\n{LINE}", f"{LINE}\n\n{LINE}"),
        ("", ""),
    ],
)
def test_lines_become_paragraphs(page: str, expected: str) -> None:
    assert paragraphs(page) == expected


def test_pages_start_where_their_text_does() -> None:
    texts = ["one", "", "two\nlines", ""]
    text, starts = join_pages(texts)
    for start, page in zip(starts, texts, strict=True):
        assert text[start:].startswith(page)
    assert starts == tuple(sorted(starts))
    assert max(starts) <= len(text)
