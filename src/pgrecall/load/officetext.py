"""Read docx, pptx and xlsx. Imported only when one is met: the libraries are optional and heavy."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import docx
import openpyxl
import pptx
from docx.table import Table as WordTable
from docx.table import _Cell
from docx.text.paragraph import Paragraph
from lxml import etree
from pptx.enum.shapes import MSO_SHAPE_TYPE

from pgrecall.errors import UnreadableSource
from pgrecall.load.htmlpage import Block, join
from pgrecall.load.htmltable import table
from pgrecall.load.pages import join_pages
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

_HEADING = re.compile(r"^heading (\d)$", re.I)
_ITEM = "- "
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
#: Groups in groups of shapes.
_MAX_GROUPS = 16
#: Rows of a sheet that are read; beyond, a table belongs into CSV, where a row is a document.
MAX_ROWS = 50_000
#: Empty columns far to the right are common; wider sheets are cut.
MAX_COLUMNS = 500


def read_word(file: OpenFile) -> Document:
    """Headings, paragraphs, lists and tables of a docx, in their order."""
    document = docx.Document(file.stream)
    blocks: list[Block] = []
    styles = {style.style_id: style.name or "" for style in document.styles}
    for item in document.iter_inner_content():
        if text := _word_block(item, styles):
            in_list = bool(blocks) and blocks[-1].text.startswith(_ITEM) and text.startswith(_ITEM)
            blocks.append(Block(text=text, tight=in_list))
    blocks += [Block(text=note) for note in _notes(document)]
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
        sheet.reset_dimensions()  # what a sheet claims about its size may be anything
        # Without max_col: else openpyxl fills up a million rows that are not there.
        rows = list(islice(_filled(sheet.iter_rows(values_only=True)), MAX_ROWS + 1))
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


def _word_block(item: Paragraph | WordTable, styles: Mapping[str, str]) -> str:
    if isinstance(item, WordTable):
        return _grid(_word_rows(item))
    text = item.text.strip()
    style = styles.get(item._p.style or "", "")  # item.style searches them all for each paragraph
    if heading := _HEADING.match(style):
        return f"{'#' * min(int(heading[1]), 6)} {text}" if text else ""
    if style == "Title":
        return f"# {text}" if text else ""
    numbered = item._p.pPr is not None and item._p.pPr.numPr is not None
    return _ITEM + text if text and (numbered or style.startswith("List")) else text


def _word_rows(item: WordTable) -> Iterator[list[str]]:
    """The rows; the text of merged cells stands in the first of them."""
    # Not row.cells, which repeats a merged cell as often as the file says, be it a billion times.
    for row in item._tbl.tr_lst:
        texts: list[str] = []
        for cell in row.tc_lst:
            texts.append("" if cell.vMerge == "continue" else _Cell(cell, item).text)
            texts += [""] * (min(cell.grid_span, MAX_COLUMNS) - 1)
        yield texts[:MAX_COLUMNS]


def _notes(document: Any) -> Iterator[str]:
    """Footnotes and endnotes, which python-docx leaves alone."""
    for relation in document.part.rels.values():
        if relation.is_external or not relation.reltype.endswith(("/footnotes", "/endnotes")):
            continue
        parser = etree.XMLParser(resolve_entities=False, no_network=True)
        root = etree.fromstring(relation.target_part.blob, parser)
        for note in root.iter(_WORD + "footnote", _WORD + "endnote"):
            text = "".join(str(run.text or "") for run in note.iter(_WORD + "t")).strip()
            if text:
                yield f"[{note.get(_WORD + 'id')}] {text}"


def _shapes(shapes: Any, depth: int = 0) -> Iterator[Any]:
    """The shapes, those in groups too."""
    for shape in shapes:
        if shape.shape_type == MSO_SHAPE_TYPE.GROUP and depth < _MAX_GROUPS:
            yield from _shapes(shape.shapes, depth + 1)
        else:
            yield shape


def _slide_blocks(slide: Any) -> Iterator[str]:
    title = slide.shapes.title
    for shape in _shapes(slide.shapes):
        if shape.has_text_frame and shape.text_frame.text.strip():
            text = shape.text_frame.text.replace("\v", "\n").strip()
            is_title = title is not None and shape.shape_id == title.shape_id
            yield f"## {' '.join(text.split())}" if is_title else text
        elif shape.has_table:
            rows = shape.table.rows
            yield _grid([_slide_cell(cell) for cell in row.cells] for row in rows)
    notes = slide.notes_slide.notes_text_frame if slide.has_notes_slide else None
    if notes is not None and notes.text.strip():
        yield notes.text.strip()


def _slide_cell(cell: Any) -> str:
    return "" if cell.is_spanned else str(cell.text)


def _filled(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[str]]:
    for row in rows:
        texts = [_cell(value) for value in row[:MAX_COLUMNS]]
        while texts and not texts[-1]:
            texts.pop()
        if texts:
            yield texts


def _cell(value: Any) -> str:
    """A value as text: dates without a time that is none, numbers as they were typed."""
    if value is None:
        return ""
    if isinstance(value, dt.datetime):
        return str(value.date() if value.time() == dt.time() else value)
    if isinstance(value, float) and abs(value) < 1e15:
        return f"{value:.15g}"  # the digits that a sheet keeps
    return str(value).strip()


def _grid(rows: Iterable[list[str]]) -> str:
    cells = [[[text] if text.strip() else [] for text in row] for row in rows]
    written = table(cells)
    if written is not None:
        return written
    return "\n".join(" ".join(text.split()) for row in cells for cell in row for text in cell)
