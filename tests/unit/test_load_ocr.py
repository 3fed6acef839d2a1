"""Scans: pages drawn as pictures, read back by tesseract."""

from __future__ import annotations

import builtins
import io
import time
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader, PdfWriter

from pgrecall.errors import InvalidArgument
from pgrecall.load import LoadOptions, read
from pgrecall.load.dispatch import load_here
from pgrecall.load.source import Source
from pgrecall.types import Document, Failure
from tests.unit.test_load_pdf import pdf

pil = pytest.importorskip("PIL.Image", reason="needs the extra ocr")
draw = pytest.importorskip("PIL.ImageDraw")
font = pytest.importorskip("PIL.ImageFont")
pytest.importorskip("tesserocr", reason="needs the extra ocr")

PAGES = (
    ["The river Alder rises in the northern hills.", "It is frozen from November to March."],
    ["Barges carried timber and slate", "until the railway came in 1868."],
)


def scan(lines: list[str], *, turned: int = 0) -> Any:
    """A page of text at 150 dots an inch, a little grey and askew, as from a scanner."""
    page = pil.new("L", (1240, 700), 245)
    pen = draw.Draw(page)
    for number, line in enumerate(lines):
        pen.text((120, 120 + 70 * number), line, fill=30, font=font.load_default(34))
    return page.rotate(0.4, fillcolor=245).rotate(turned, expand=True)


def scanned(pages: list[Any]) -> bytes:
    out = io.BytesIO()
    pages[0].save(out, "PDF", save_all=True, append_images=pages[1:], resolution=150)
    return out.getvalue()


def one(path: Path, **options: object) -> Document | Failure:
    (item,) = read([path], LoadOptions(**options))  # type: ignore[arg-type]  # by name
    return item


def document(path: Path, **options: object) -> Document:
    item = one(path, ocr="eng", **options)
    assert isinstance(item, Document), item
    return item


def reason(path: Path, **options: object) -> str:
    item = one(path, **options)
    assert isinstance(item, Failure), item.text
    assert "\n" not in item.reason
    return item.reason


def test_scanned_pages_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(scanned([scan(PAGES[0]), scan([]), scan(PAGES[1])]))
    assert "--ocr eng" in reason(path)
    found = document(path)
    first, second, third = found.pages
    assert found.text[first:second].split() == " ".join(PAGES[0]).split()
    assert found.text[third:].split() == " ".join(PAGES[1]).split()
    assert second == third  # the page between is empty
    assert found.notes == ("recognised by OCR: pages 1, 3",)


def test_scans_among_written_pages(tmp_path: Path) -> None:
    writer = PdfWriter()
    plain = ["a written page " * 5, "that goes on for a while " * 5]
    for part in (pdf([plain]), scanned([scan(PAGES[0])]), pdf([plain, []])):
        writer.append(PdfReader(io.BytesIO(part)))
    path = tmp_path / "a.pdf"
    with path.open("wb") as out:
        writer.write(out)
    silent = one(path)
    assert isinstance(silent, Document)
    assert silent.notes == ("pages that are pictures were not read; --ocr eng does: 2",)
    found = document(path)
    assert found.notes == ("recognised by OCR: pages 2",)
    assert found.text.startswith(silent.text[:100])
    assert "northern hills" in found.text[found.pages[1] : found.pages[2]]


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif", "bmp"])
def test_images(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"page.{kind}"
    scan(PAGES[1]).save(path)
    found = document(path)
    assert found.text.split() == " ".join(PAGES[1]).split()
    assert (found.title, found.pages, found.notes) == ("page", (), ("recognised by OCR",))


def test_an_image_of_several_pages(tmp_path: Path) -> None:
    path = tmp_path / "fax.tiff"
    scan(PAGES[0]).save(path, save_all=True, append_images=[scan(PAGES[1])])
    found = document(path)
    assert "Barges" not in found.text[: found.pages[1]]
    assert found.text[found.pages[1] :].startswith("Barges")


def test_an_image_that_lies_on_its_side(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    exif = pil.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, as telephones say it
    scan(PAGES[0], turned=90).save(path, exif=exif)
    assert "northern hills" in document(path).text


def test_folders_pass_over_images_without_words(tmp_path: Path) -> None:
    scan([]).save(tmp_path / "sky.png")
    scan(PAGES[0]).save(tmp_path / "page.tif")
    options = LoadOptions(ocr="eng")
    (item,) = read([tmp_path], options)
    assert item.uri.endswith("page.tif")
    assert reason(tmp_path / "sky.png", ocr="eng") == "OCR found no words in the image."


def test_what_cannot_be_recognised(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    scan(PAGES[0]).save(path)
    assert "tlh.traineddata" in reason(path, ocr="tlh")
    assert "no data" in reason(path, ocr="eng+../../etc")
    path.write_bytes(path.read_bytes()[:3_000])
    assert reason(path, ocr="eng").startswith("The image cannot be read")
    pil.new("1", (8_000, 8_000)).save(path)
    assert "8,000 by 8,000" in reason(path, ocr="eng")
    with pytest.raises(InvalidArgument):
        LoadOptions(ocr="eng", ocr_seconds=0)


def test_the_time_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(scanned([scan(PAGES[0])] * 40))
    began = time.monotonic()
    found = reason(path, ocr="eng", ocr_seconds=0.5)
    assert found.startswith("OCR had read ")
    assert "raise the limit" in found
    assert time.monotonic() - began < 30


def test_a_page_that_takes_too_long_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgrecall.load.ocr._PAGE_SECONDS", 0.001)
    path = tmp_path / "a.pdf"
    path.write_bytes(scanned([scan(PAGES[0])]))
    source = Source(uri=str(path), path=str(path))
    (item,) = load_here(source, LoadOptions(ocr="eng"))
    assert isinstance(item, Failure)
    assert "OCR found no words" in item.reason


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(scanned([scan(PAGES[0])]))
    plain = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "tesserocr":
            raise ModuleNotFoundError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    source = Source(uri=str(path), path=str(path))
    (item,) = load_here(source, LoadOptions(ocr="deu"))
    assert isinstance(item, Failure)
    assert item.reason == "OCR needs an optional package: pip install 'pgrecall[ocr]'"
