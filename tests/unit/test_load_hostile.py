"""Files made to cost much: bounded time and memory, one clear line each, and the run goes on."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import socket
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter

from pgrecall.errors import UnreadableSource
from pgrecall.load import LoadOptions, Source, read
from pgrecall.load.child import Child
from pgrecall.types import Document, Failure
from tests.unit.test_load_pdf import pdf

docx = pytest.importorskip("docx")
openpyxl = pytest.importorskip("openpyxl")

LAUGHS = "<!DOCTYPE l [<!ENTITY a0 'ha'>" + "".join(
    f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 11)
)
CONTAINER = "<container><rootfiles><rootfile full-path='b.opf'/></rootfiles></container>"
OPF = (
    "<package xmlns:dc='http://purl.org/dc/elements/1.1/'><metadata><dc:title>Book</dc:title>"
    "<dc:creator>Ann</dc:creator><dc:language>de</dc:language></metadata><manifest>"
    "<item id='a' href='a.xhtml' media-type='application/xhtml+xml'/>"
    "<item id='b' href='b%20c.xhtml' media-type='application/xhtml+xml'/></manifest>"
    "<spine><itemref idref='b'/><itemref idref='a'/><itemref idref='a'/></spine></package>"
)
OFFICE = "urn:oasis:names:tc:opendocument:xmlns:"


def archive(path: Path, parts: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in parts.items():
            kind = zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED
            target.writestr(name, content, kind)
    return path


def epub(path: Path, **changed: str | bytes) -> Path:
    parts: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        "b.opf": OPF,
        "a.xhtml": "<html><body><h1>Two</h1><p>second</p></body></html>",
        "b c.xhtml": "<html><body><h1>One</h1><p>first</p></body></html>",
    }
    return archive(path, parts | changed)


def odt(path: Path, body: str, head: str = "", manifest: str = "<m/>") -> Path:
    content = (
        f"{head}<o:document-content xmlns:o='{OFFICE}office:1.0' xmlns:t='{OFFICE}text:1.0' "
        f"xmlns:table='{OFFICE}table:1.0'><o:body><o:text>{body}</o:text></o:body>"
        "</o:document-content>"
    )
    return archive(
        path,
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": content,
            "META-INF/manifest.xml": manifest,
        },
    )


def one(path: Path, **options: object) -> Document | Failure:
    (item,) = read([path], LoadOptions(**options))  # type: ignore[arg-type]  # by name
    return item


def text(path: Path) -> str:
    item = one(path)
    assert isinstance(item, Document), item
    return item.text


def reason(path: Path, **options: object) -> str:
    item = one(path, **options)
    assert isinstance(item, Failure), item.text[:200]
    assert "\n" not in item.reason
    return item.reason


def test_a_book(tmp_path: Path) -> None:
    item = one(epub(tmp_path / "a.epub"))
    assert isinstance(item, Document)
    assert item.text == "# One\n\nfirst\n\n# Two\n\nsecond"
    assert (item.title, item.metadata, item.language) == (
        "Book",
        {"author": "Ann", "lang": "de"},
        "german",
    )


def test_a_protected_book(tmp_path: Path) -> None:
    listed = "<e><CipherReference URI='a.xhtml'/></e>"
    assert "DRM" in reason(epub(tmp_path / "a.epub", **{"META-INF/encryption.xml": listed}))


def test_an_open_document(tmp_path: Path) -> None:
    body = (
        "<t:h t:outline-level='2'>Head</t:h><t:p>some <t:span>words</t:span><t:s/>more</t:p>"
        "<t:list><t:list-item><t:p>item</t:p></t:list-item></t:list><table:table><table:table-row>"
        "<table:table-cell><t:p>a</t:p></table:table-cell><table:table-cell><t:p>b</t:p>"
        "</table:table-cell></table:table-row></table:table>"
    )
    expected = "## Head\n\nsome words more\n\n- item\n\n| a | b |\n| --- | --- |"
    assert text(odt(tmp_path / "a.odt", body)) == expected
    assert text(odt(tmp_path / "named.bin", body)) == expected
    locked = odt(tmp_path / "b.odt", body, manifest="<manifest:encryption-data/>")
    assert "password" in reason(locked)


def test_rich_text(tmp_path: Path) -> None:
    pytest.importorskip("striprtf")
    path = tmp_path / "a.rtf"
    path.write_bytes(rb"{\rtf1\ansi {\b bold} caf\'e9\par next}")
    assert text(path).split() == ["bold", "café", "next"]


def test_a_message_and_what_is_attached(tmp_path: Path) -> None:
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("deep words")
    mail = EmailMessage()
    mail["Subject"], mail["From"] = "Grüße", "Ann <ann@example.org>"
    mail["Date"] = "Fri, 01 Mar 2024 10:00:00 +0100"
    mail.set_content("the body\n")
    mail.add_alternative("<p>the body, again</p>", subtype="html")
    for _ in range(2):
        mail.add_attachment(b"a,b\n1,2\n", "text", "csv", filename="t.csv")
    mail.add_attachment(b"\x89PNG\r\n\x1a\n\0\0", "image", "png", filename="logo.png")
    mail.add_attachment(inner)
    path = tmp_path / "m.eml"
    path.write_bytes(mail.as_bytes())
    items = list(read([path]))
    assert all(isinstance(item, Document) for item in items), items
    assert [
        (item.uri.rpartition("/")[2], item.text) for item in items if isinstance(item, Document)
    ] == [
        ("m.eml", "the body"),
        ("m.eml#t.csv#1", "a: 1\nb: 2"),
        ("m.eml#t-2.csv#1", "a: 1\nb: 2"),
        ("m.eml#4.eml", "deep words"),
    ]
    first = items[0]
    assert isinstance(first, Document)
    assert first.title == "Grüße"
    assert first.metadata == {"from": "Ann <ann@example.org>", "date": "2024-03-01T10:00:00+01:00"}


@pytest.mark.parametrize("charset", ["no-such-charset", "utf-8", "us-ascii"])
def test_a_message_in_the_wrong_charset(tmp_path: Path, charset: str) -> None:
    path = tmp_path / "m.eml"
    head = f"Subject: x\nContent-Type: text/plain; charset={charset}\nDate: never\n\n"
    path.write_bytes(head.encode() + "Grüße aus Köln".encode("cp1252"))
    assert text(path) == "Grüße aus Köln"


def test_messages_in_messages_without_end(tmp_path: Path) -> None:
    deep, path = b"Subject: x\n\nwords", tmp_path / "m.eml"
    for _ in range(300):
        deep = b"Content-Type: message/rfc822\n\n" + deep
    path.write_bytes(b"Subject: outer\n" + deep)
    items = list(read([path]))
    assert any(isinstance(item, Failure) for item in items)
    assert len(items) < 20


@pytest.mark.parametrize("kind", ["docx", "xlsx", "epub", "odt", "svg"])
def test_a_billion_laughs(tmp_path: Path, kind: str) -> None:
    path, entity = tmp_path / f"a.{kind}", "&a10;"
    if kind == "epub":
        epub(path, **{"b.opf": LAUGHS + "]>" + OPF.replace("Book", entity)})
    elif kind == "odt":
        odt(path, f"<t:p>{entity}</t:p>", LAUGHS + "]>")
    elif kind == "svg":
        path.write_text(f"{LAUGHS}]><svg>{entity}</svg>")
    else:
        poisoned(path, entity)
    (item,) = read([path], LoadOptions(parse_seconds=20))
    assert isinstance(item, Failure) or len(item.text) < 10_000


def poisoned(path: Path, entity: str) -> None:
    """An Office document whose main part has the entity for its text."""
    kept = io.BytesIO()
    if path.suffix == ".docx":
        document, main = docx.Document(), "word/document.xml"
        document.add_paragraph("WORDS")
        document.save(kept)
    else:
        document, main = openpyxl.Workbook(), "xl/worksheets/sheet1.xml"
        document.active.append(["WORDS", 3.5])
        document.save(kept)
    with zipfile.ZipFile(kept) as source:
        parts: dict[str, str | bytes] = {name: source.read(name) for name in source.namelist()}
    content = parts[main]
    body = content.decode() if isinstance(content, bytes) else content
    start = body.find("?>") + 2 if body.startswith("<?xml") else 0
    parts[main] = LAUGHS + "]>" + body[start:].replace("WORDS", entity).replace("3.5", entity)
    archive(path, parts)


def test_zip_bombs(tmp_path: Path) -> None:
    zeros = b" " * 40_000_000
    options = {"max_bytes": 20_000_000}
    bomb = epub(tmp_path / "a.epub", **{"a.xhtml": b"<p>" + zeros})
    assert "max_bytes" in reason(bomb, **options)
    path = odt(tmp_path / "a.odt", "<t:p>" + zeros.decode() + "</t:p>")
    assert "max_bytes" in reason(path, **options)


def test_what_a_sheet_claims_of_its_size(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    poisoned(path, "7")
    with zipfile.ZipFile(path) as source:
        parts: dict[str, str | bytes] = {name: source.read(name) for name in source.namelist()}
    sheet = bytes(parts["xl/worksheets/sheet1.xml"])  # type: ignore[arg-type]  # it is bytes
    sheet = sheet[sheet.index(b"]>") + 2 :]
    far = b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row></sheetData>'
    claim = b'<dimension ref="A1:XFD1048576"'
    sheet = sheet.replace(b'<dimension ref="A1:B1"', claim).replace(b"</sheetData>", far)
    archive(path, parts | {"xl/worksheets/sheet1.xml": sheet})
    item = one(path, parse_seconds=20)  # of the parser's own time
    assert isinstance(item, Document), item
    assert "| 7 |" in item.text


def test_dates_and_numbers_of_a_sheet(tmp_path: Path) -> None:
    import datetime as dt

    book = openpyxl.Workbook()
    book.active.append([dt.datetime(2024, 3, 1), dt.datetime(2024, 3, 1, 9, 30), 0.1 + 0.2, 7.0])
    book.active.append(["merged", "", "x", "y"])
    book.active.merge_cells("A2:B2")
    book.save(tmp_path / "a.xlsx")
    found = text(tmp_path / "a.xlsx").splitlines()
    assert found[2] == "| 2024-03-01 | 2024-03-01 09:30:00 | 0.3 | 7 |"
    assert found[4] == "| merged |  | x | y |"


def test_merged_cells_of_a_table_are_said_once(tmp_path: Path) -> None:
    document = docx.Document()
    table = document.add_table(rows=3, cols=3)
    for row in table.rows:
        for cell in row.cells:
            cell.text = "x"
    table.cell(0, 0).merge(table.cell(0, 1)).text = "wide"
    table.cell(1, 2).merge(table.cell(2, 2)).text = "high"
    document.save(tmp_path / "a.docx")
    lines = text(tmp_path / "a.docx").splitlines()
    assert lines[0] == "| wide |  | x |"
    assert lines[2:] == ["| x | x | high |", "| x | x |  |"]


@pytest.mark.parametrize("page", ["<div>" * 300_000, "<b>" * 300_000 + "x", "<a href='" * 100_000])
def test_nested_html_takes_time_in_proportion(tmp_path: Path, page: str) -> None:
    path = tmp_path / "a.html"
    path.write_text(f"<html><body><p>words</p>{page}")
    assert text(path).startswith("words")


def test_nested_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * 2_000_000)
    assert isinstance(one(path), Document)
    notebook = tmp_path / "a.ipynb"
    notebook.write_text("[" * 200_000)
    assert "JSON" in reason(notebook)


def test_protected_office_document(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    start = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(9_000)
    path.write_bytes(start + "EncryptedPackage".encode("utf-16-le"))
    assert "password" in reason(path)
    path.write_bytes(start)
    assert "old Office format" in reason(path)


def test_old_office_documents_in_a_folder_are_told(tmp_path: Path) -> None:
    for name in ("letter.doc", "sums.xls", "setup.msi"):
        (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(9_000))
    told = {Path(item.uri).name: item for item in read([tmp_path], LoadOptions())}
    assert set(told) == {"letter.doc", "sums.xls"}
    for item in told.values():
        assert isinstance(item, Failure)
        assert "old Office format; save it as docx" in item.reason


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.zip", b"PK\x03\x04" + bytes(60), "zip"),
        ("a.tgz", b"\x1f\x8b\x08" + bytes(60), "gzip"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(60), "7-zip"),
        ("a.tar", b"a.txt".ljust(257, b"\0") + b"ustar\x0000" + bytes(200), "tar"),
    ],
)
def test_archives(tmp_path: Path, name: str, head: bytes, kind: str) -> None:
    path = tmp_path / name
    path.write_bytes(head)
    assert reason(path) == (
        f"The file is not text but a {kind} archive; unpack it, and load what is in it."
    )


def test_a_pdf_of_ten_thousand_pages(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(pdf([[f"words of page {number}"] for number in range(10_000)]))
    item = one(path, parse_seconds=60)
    assert isinstance(item, Document), item
    assert len(item.pages) == 10_000
    assert item.text.endswith("words of page 9999")


def test_comments_without_end(tmp_path: Path) -> None:
    path = tmp_path / "unnamed"
    path.write_text("<!-- -->" * 1_000)
    assert text(path) == "<!-- -->" * 1_000
    path.write_text("<!-- a --> <!-- b --><!doctype html><p>words")
    assert text(path) == "words"


def test_cells_that_claim_a_billion_columns(tmp_path: Path) -> None:
    document = docx.Document()
    document.add_table(rows=1, cols=2).rows[0].cells[0].text = "words"
    document.save(tmp_path / "kept.docx")
    with zipfile.ZipFile(tmp_path / "kept.docx") as source:
        parts: dict[str, str | bytes] = {name: source.read(name) for name in source.namelist()}
    body = bytes(parts["word/document.xml"])  # type: ignore[arg-type]  # it is bytes
    wide = body.replace(b"<w:tcPr>", b'<w:tcPr><w:gridSpan w:val="1000000000"/>')
    assert wide != body
    path = archive(tmp_path / "a.docx", parts | {"word/document.xml": wide})
    item = one(path, parse_seconds=5)
    assert isinstance(item, Document), item
    assert "words" in item.text


def header_of(value: str, name: str = "Subject") -> bytes:
    return f"Subject: x\n{name}: {value}\n\nwords".encode()


@pytest.mark.parametrize(
    "content",
    [
        header_of("=?a?q?" * 300_000),
        header_of("(" * 300_000, "Date"),
        header_of("text/plain" + ';"' * 300_000, "Content-Type"),
        header_of('attachment; filename="' + '\\"' * 300_000, "Content-Disposition"),
        b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n" + b"--b\n" * 100_000,
        b"Subject: x\n" + b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" * 20_000,
    ],
)
def test_headers_and_parts_without_end(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.eml"
    path.write_bytes(content)
    (item,) = read([path], LoadOptions(parse_seconds=5))
    assert isinstance(item, Document) or "parse_seconds" not in item.reason


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.jsonl", '{"a": [' + ",".join(["[]"] * 2_500_000) + "]}", "outside of strings"),
        ("a.jsonl", '"' + '\\"' * 2_000_000, "not valid JSON"),
        ("a.jsonl", '{"a":' * 200_000, "nested too deeply"),
        ("a.csv", "a," * 2_000_000, "columns, more than"),
        ("a.csv", "a,b\n" + "x" * 2_000_000, "longer than 1,000,000 characters"),
        ("a.csv", 'a,b\n1,"' + ("x" * 1_000 + "\n") * 2_000, "field larger than field limit"),
    ],
)
def test_rows_without_end(tmp_path: Path, name: str, content: str, reason: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    limit = csv.field_size_limit(131_072)
    try:
        small = reason.startswith(("longer", "field"))
        options = LoadOptions(max_bytes=1_000_000) if small else LoadOptions()
        items = list(read([path], options))
    finally:
        csv.field_size_limit(limit)
    assert any(isinstance(item, Failure) and reason in item.reason for item in items), items[:1]


def test_a_long_text_in_a_row_is_no_structure(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": '[[{"1, 2"}]] \\ ' * 500_000}))
    assert len(text(path)) > 7_000_000


def test_more_text_than_the_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf([["words " * 30] * 40] * 20))))
    for page in writer.pages:
        page.compress_content_streams()
    writer.write(path)
    assert path.stat().st_size < 40_000
    assert "more text than max_bytes" in reason(path, max_bytes=40_000)


def test_what_no_loader_foresees_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process too, where text and rows are read."""

    def broken(*args: object) -> None:
        raise KeyError("a thing\nnobody thought of")

    for name in ("a.txt", "b.md", "c.csv"):
        (tmp_path / name).write_text("words,more\n1,2\n")
    monkeypatch.setattr("pgrecall.load.markdown.front_matter", broken)
    first, second, third = read([tmp_path])
    assert isinstance(first, Document)
    assert isinstance(third, Document)
    assert isinstance(second, Failure)
    assert second.reason == (
        "The file cannot be parsed (KeyError: 'a thing\\nnobody thought of'); repair it, or leave it out."
    )


def test_a_parser_that_claims_to_send_more_than_it_can_hold(tmp_path: Path) -> None:
    child = Child()
    try:
        child.begin(Source(uri="a.html", path=None, data=b"<p>x"), LoadOptions())
        reading, writing = os.pipe()
        os.write(writing, (1 << 60).to_bytes(8, "big"))
        os.dup2(reading, child._stdout.fileno())
        os.close(reading)
        os.close(writing)
        with pytest.raises(UnreadableSource, match="crashed"):
            list(child.documents(LoadOptions()))
    finally:
        child.close()


def test_places_that_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    os.mkfifo(tmp_path / "pipe.txt")
    os.symlink("loop", tmp_path / "loop")
    os.symlink(tmp_path, tmp_path / "up")
    os.symlink("/dev/zero", tmp_path / "zero.txt")
    os.symlink("nowhere", tmp_path / "lost.md")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind(str(tmp_path / "s"))
        found = {item.uri.rpartition("/")[2]: item for item in read([tmp_path])}
    assert isinstance(found.pop("a.txt"), Document)
    assert set(found) == {"pipe.txt", "loop", "up", "zero.txt", "lost.md", "s"}
    for item in found.values():
        assert isinstance(item, Failure)
        assert "\n" not in item.reason


def test_a_file_that_goes_while_the_folder_is_read(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text("words " + name)
    items = read([tmp_path])
    first = next(items)
    (tmp_path / "b.txt").unlink()
    (tmp_path / "c.txt").write_text("more " * 10_000)
    second, third = items
    assert isinstance(first, Document)
    assert isinstance(second, Failure)
    assert second.reason == "The file cannot be read: No such file or directory."
    assert isinstance(third, Document)
    assert len(third.text) == 50_000
