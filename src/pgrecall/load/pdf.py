"""PDF: the text of its pages with headings and tables, and the offset at which each page starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pgrecall.errors import UnreadableSource
from pgrecall.load.clean import Cleaner, one_line
from pgrecall.load.pages import join_pages
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

    from pgrecall.load.pdflayout import Ranks
    from pgrecall.load.pdfpage import Line

SUFFIXES = {".pdf": "application/pdf"}
#: Bookmarks that are read, and how deep.
_MAX_BOOKMARKS, _DEPTH = 5_000, 6


def load(file: OpenFile) -> Iterator[Document]:
    """One document. Raises UnreadableSource if it is broken, encrypted or only pictures."""
    file.check_size()
    document = _open(file)
    try:
        pages = _pages(file, document)
        outline = _outline(document)
        metadata = _information(document)
        if not any(line.text for lines in pages for line in lines):
            pages = _recognised(file, document)
    finally:
        document.close()
    from pgrecall.load.pdflayout import written

    texts, structured = written(pages, outline)
    cleaner = Cleaner()
    text, starts = join_pages(cleaner.text(page) for page in texts)
    file.notes.extend(cleaner.notes())
    yield file.document(
        text,
        title=metadata.pop("title", None) or file.stem,
        markup="markdown" if structured else "plain",
        metadata=metadata,
        pages=starts,
    )


def _open(file: OpenFile) -> PdfDocument:
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        document = PdfDocument(file.read())
    except PdfiumError as exc:
        detail = one_line(str(exc), 160)
        if "assword" in detail or "ecurity" in detail:
            raise UnreadableSource("The PDF is encrypted; remove its password first.") from exc
        raise UnreadableSource(f"The PDF is broken ({detail}); export it again.") from exc
    if len(document) == 0:
        document.close()
        raise UnreadableSource("The PDF has no pages, or is broken; export it again.")
    return document


def _pages(file: OpenFile, document: PdfDocument) -> list[list[Line]]:
    from pypdfium2 import PdfiumError

    from pgrecall.load.pdfpage import lines_of

    pages: list[list[Line]] = []
    broken: list[int] = []
    for number in range(len(document)):
        try:
            pages.append(lines_of(document, number))
        except PdfiumError:  # one bad page must not cost the others
            pages.append([])
            broken.append(number + 1)
    if len(broken) == len(pages):
        raise UnreadableSource("The PDF is broken: none of its pages can be read; export it again.")
    if broken:
        file.notes.append(f"skipped broken pages: {_numbers(broken)}")
    return pages


def _recognised(file: OpenFile, document: PdfDocument) -> list[list[Line]]:
    """The lines of scanned pages, if the options ask for it."""
    count = f"{len(document):,} page" + ("s" if len(document) != 1 else "")
    if file.options.ocr is None:
        raise UnreadableSource(f"The PDF has no text layer ({count}); run OCR on it first.")
    from pgrecall.load.ocr import lines_of_scan

    pages = [lines_of_scan(document, number, file.options.ocr) for number in range(len(document))]
    if not any(pages):
        raise UnreadableSource(f"The PDF has no text layer ({count}), and OCR found no words.")
    file.notes.append(f"recognised by OCR ({count})")
    return pages


def _outline(document: PdfDocument) -> Ranks:
    from pypdfium2 import PdfiumError

    from pgrecall.load.pdflayout import key

    ranks: dict[tuple[int, str], int] = {}
    try:
        for count, mark in enumerate(document.get_toc(max_depth=_DEPTH)):
            target = mark.get_dest()
            page = target.get_index() if target is not None else None
            name = key(mark.get_title())
            if page is not None and name:
                ranks.setdefault((page, name), mark.level + 1)
            if count >= _MAX_BOOKMARKS:
                break
    except (PdfiumError, ValueError):
        return {}  # without an outline, the letters tell
    return ranks


def _information(document: PdfDocument) -> dict[str, str]:
    named = {name: document.get_metadata_value(name.capitalize()) for name in ("title", "author")}
    cleaner = Cleaner()
    lines = {name: one_line(cleaner.text(value)) for name, value in named.items()}
    return {name: line for name, line in lines.items() if line}


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:10])
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown
