"""Read docx, pptx and xlsx. Imported only when one is met: the libraries are optional and heavy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import docx
import openpyxl
import pptx
from docx.table import Table as WordTable
from docx.text.paragraph import Paragraph

from pgrecall.errors import UnreadableSource
from pgrecall.load.htmlpage import Block, join
from pgrecall.load.htmltable import table
from pgrecall.load.pages import join_pages
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

_HEADING = re.compile(r"^heading (\d)$", re.I)
_ITEM = "- "
#: Rows of a sheet that are read; beyond, a table belongs into CSV, where a row is a document.
MAX_ROWS = 50_000
#: Empty columns far to the right are common; wider sheets are cut.
MAX_COLUMNS = 500


def read_word(file: OpenFile) -> Document:
    """Headings, paragraphs, lists and tables of a docx, in their order."""
    document = docx.Document(file.stream)
    blocks: list[Block] = []
    for text in map(_word_block, document.iter_inner_content()):
        if text:
            in_list = bool(blocks) and blocks[-1].text.startswith(_ITEM) and text.startswith(_ITEM)
            blocks.append(Block(text=text, tight=in_list))
    return _document(file, _require(join(blocks)), document.core_properties)


def read_slides(file: OpenFile) -> Document:
    """The slides of a pptx with their notes; each slide is a page."""
    presentation = pptx.Presentation(file.stream)
    slides = ["\n\n".join(_slide_blocks(slide)) for slide in presentation.slides]
    text, pages = join_pages(slides)
    return _document(file, _require(text), presentation.core_properties, pages)


def read_sheets(file: OpenFile) -> Document:
    """The sheets of an xlsx: a heading and a table for each; formulas as their last values."""
    workbook = openpyxl.load_workbook(file.stream, read_only=True, data_only=True)
    blocks: list[str] = []
    for sheet in workbook.worksheets:
        rows = list(
            islice(_filled(sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS)), MAX_ROWS + 1)
        )
        if len(rows) > MAX_ROWS:
            file.notes.append(f"read the first {MAX_ROWS:,} rows of sheet {sheet.title!r}")
        if rows:
            blocks += [f"## {sheet.title}", _grid(rows[:MAX_ROWS])]
    return _document(file, _require("\n\n".join(blocks)), workbook.properties)


READERS: dict[str, Callable[[OpenFile], Document]] = {
    ".docx": read_word,
    ".pptx": read_slides,
    ".xlsx": read_sheets,
}


def _document(
    file: OpenFile,
    text: str,
    properties: Any,
    pages: tuple[int, ...] = (),
) -> Document:
    author = getattr(properties, "author", None) or getattr(properties, "creator", None)
    metadata = {"author": author} if author else {}
    title = properties.title or file.stem
    return file.document(text, title=title, markup="markdown", metadata=metadata, pages=pages)


def _require(text: str) -> str:
    if not text.strip():
        raise UnreadableSource(
            "The document has no text; if it holds pictures, run OCR on it first."
        )
    return text


def _word_block(item: Paragraph | WordTable) -> str:
    if isinstance(item, WordTable):
        return _grid([cell.text for cell in row.cells] for row in item.rows)
    text = item.text.strip()
    style = (item.style.name or "") if item.style is not None else ""
    if heading := _HEADING.match(style):
        return f"{'#' * min(int(heading[1]), 6)} {text}" if text else ""
    if style == "Title":
        return f"# {text}" if text else ""
    numbered = item._p.pPr is not None and item._p.pPr.numPr is not None
    return _ITEM + text if text and (numbered or style.startswith("List")) else text


def _slide_blocks(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    for shape in slide.shapes:
        if shape.has_text_frame and shape.text_frame.text.strip():
            text = shape.text_frame.text.replace("\v", "\n").strip()
            is_title = title is not None and shape.shape_id == title.shape_id
            yield f"## {' '.join(text.split())}" if is_title else text
        elif shape.has_table:
            yield _grid([cell.text for cell in row.cells] for row in shape.table.rows)
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if notes is not None and notes.text.strip():
        yield notes.text.strip()


def _filled(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[str]]:
    for row in rows:
        texts = ["" if value is None else str(value).strip() for value in row]
        while texts and not texts[-1]:
            texts.pop()
        if texts:
            yield texts


def _grid(rows: Iterable[list[str]]) -> str:
    cells = [[[text] if text.strip() else [] for text in row] for row in rows]
    written = table(cells)
    if written is not None:
        return written
    return "\n".join(" ".join(text.split()) for row in cells for cell in row for text in cell)
