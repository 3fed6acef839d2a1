"""PDF: the text of its pages with headings and tables, and the offset at which each page starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pgrecall.errors import UnreadableSource
from pgrecall.load.clean import Cleaner, one_line
from pgrecall.load.pages import join_pages, listed
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

    from pgrecall.load.pdflayout import Ranks
    from pgrecall.load.pdfpage import Line

SUFFIXES = {".pdf": "application/pdf"}
#: Bookmarks that are read, and how deep.
_MAX_BOOKMARKS, _DEPTH = 5_000, 6
#: Characters that a scanner's stamp or a page number has at most.
_STAMP = 100


def load(file: OpenFile) -> Iterator[Document]:
    """One document. Raises UnreadableSource if it is broken, encrypted or only pictures."""
    file.check_size()
    document = _open(file)
    try:
        pages = _pages(file, document)
        outline = _outline(document)
        metadata = _information(document)
        _complete(file, document, pages)
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
        file.notes.append(f"skipped broken pages: {listed(broken)}")
    return pages


def _complete(file: OpenFile, document: PdfDocument, pages: list[list[Line]]) -> None:
    """Recognise the text of scanned pages, if the options ask for it; else note them.

    Raises UnreadableSource if no page has text then.
    """
    count = f"{len(pages):,} page" + ("s" if len(pages) != 1 else "")
    textless = not any(line.text for lines in pages for line in lines)
    scans = [n for n in range(len(pages)) if _is_scan(document, n, pages[n], picture=not textless)]
    if file.options.ocr is None:
        if textless:
            raise UnreadableSource(
                f"The PDF has no text layer ({count}); recognise its text (--ocr eng), or leave it out."
            )
        if scans:
            numbers = listed([n + 1 for n in scans])
            file.notes.append(f"pages that are pictures were not read; --ocr eng does: {numbers}")
    elif scans:
        _recognise(file, document, pages, scans)
        if not any(line.text for lines in pages for line in lines):
            raise UnreadableSource(f"The PDF has no text layer ({count}), and OCR found no words.")


def _is_scan(document: PdfDocument, index: int, lines: list[Line], *, picture: bool) -> bool:
    """Whether a page has next to no text; with ``picture``, only if pictures cover most of it."""
    from pgrecall.load.pdfpage import shows_pictures

    if sum(len(line.text) for line in lines) > _STAMP:
        return False
    return not picture or shows_pictures(document, index)


def _recognise(
    file: OpenFile, document: PdfDocument, pages: list[list[Line]], scans: list[int]
) -> None:
    from pypdfium2 import PdfiumError

    from pgrecall.load.ocr import Recogniser, page_of
    from pgrecall.load.pdfpage import Line

    reader = Recogniser(file.options.ocr or "", file.options.ocr_seconds)
    read: list[int] = []
    for index in scans:
        try:
            text = reader.text(page_of(document, index), index + 1)
        except PdfiumError:
            continue  # a broken page, noted as one
        # A stamp that the scanner has put there stays if there is no more to read.
        if len(text) > sum(len(line.text) for line in pages[index]):
            pages[index] = [Line(line.strip()) for line in text.splitlines()]
            read.append(index + 1)
    if read:
        file.notes.append(f"recognised by OCR: pages {listed(read)}")
    if reader.skipped:
        file.notes.append(f"skipped pages that took OCR too long: {listed(reader.skipped)}")


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
