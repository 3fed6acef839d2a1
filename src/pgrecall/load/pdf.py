"""PDF: the text of its pages, with the offset at which each page starts."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pgrecall.errors import UnreadableSource
from pgrecall.load.clean import Cleaner, one_line
from pgrecall.load.pages import join_pages
from pgrecall.load.pdftext import paragraphs
from pgrecall.load.source import OpenFile
from pgrecall.types import Document

if TYPE_CHECKING:
    from pypdf import PdfReader

SUFFIXES = {".pdf": "application/pdf"}


def load(file: OpenFile) -> Iterator[Document]:
    """One document. Raises UnreadableSource if it is broken, encrypted or only pictures."""
    file.check_size()
    with _quiet():
        reader = _open(file)
        texts = _pages(file, reader)
        metadata = _information(reader)
    if not any(text.strip() for text in texts):
        scanned = f"{len(texts)} page" + ("s" if len(texts) != 1 else "")
        raise UnreadableSource(f"The PDF has no text layer ({scanned}); run OCR on it first.")
    text, pages = join_pages(texts)
    title = metadata.pop("title", None)
    yield file.document(
        text, title=title or file.stem, markup="plain", metadata=metadata, pages=pages
    )


def _open(file: OpenFile) -> PdfReader:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    try:
        file.stream.seek(0)
        reader = PdfReader(file.stream)
        locked = reader.is_encrypted and not reader.decrypt("")
        count = 0 if locked else len(reader.pages)
    except DependencyError as exc:
        raise UnreadableSource(
            "The PDF is encrypted with AES; decrypt it, or pip install cryptography."
        ) from exc
    except Exception as exc:  # pypdf meets broken files with errors of many kinds
        raise UnreadableSource(_broken(exc)) from exc
    if locked:
        raise UnreadableSource("The PDF is encrypted; remove its password first.")
    if count == 0:
        raise UnreadableSource("The PDF has no pages.")
    return reader


def _pages(file: OpenFile, reader: PdfReader) -> list[str]:
    texts: list[str] = []
    broken: list[int] = []
    cleaner = Cleaner()
    for number in range(len(reader.pages)):
        try:
            raw = reader.pages[number].extract_text()
        except Exception:  # as above: one bad page must not cost the others
            raw = ""
            broken.append(number + 1)
        texts.append(cleaner.text(paragraphs(raw)))
    file.notes.extend(cleaner.notes())
    if broken:
        file.notes.append(f"skipped broken pages: {_numbers(broken)}")
    if len(broken) == len(texts):
        raise UnreadableSource("The PDF is broken: none of its pages can be read; export it again.")
    return texts


def _information(reader: PdfReader) -> dict[str, Any]:
    try:
        found = reader.metadata
        named = {"title": found.title, "author": found.author} if found else {}
    except Exception:  # as above: the information is a nicety
        return {}
    cleaner = Cleaner()
    lines = {name: one_line(cleaner.text(str(value))) for name, value in named.items() if value}
    return {name: line for name, line in lines.items() if line}


def _broken(exc: Exception) -> str:
    detail = one_line(str(exc), 120) or type(exc).__name__
    return f"The PDF is broken ({detail}); export it again."


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:10])
    return f"{shown} and {len(numbers) - 10} more" if len(numbers) > 10 else shown


@contextmanager
def _quiet() -> Iterator[None]:
    """pypdf logs each irregularity of a file; they are in our notes where they matter."""
    logger = logging.getLogger("pypdf")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
