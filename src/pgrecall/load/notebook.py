"""Jupyter notebooks: the cells as Markdown, code in code blocks, outputs left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pgrecall.errors import UnreadableSource
from pgrecall.load.markdown import first_heading
from pgrecall.load.source import OpenFile
from pgrecall.load.text import read_text
from pgrecall.types import Document

SUFFIXES = {".ipynb": "application/x-ipynb+json"}


def load(file: OpenFile) -> Iterator[Document]:
    """One document. Raises UnreadableSource if the file is no notebook."""
    notebook = _parse(read_text(file))
    language = _language(notebook)
    cells = [_cell(cell, language) for cell in notebook["cells"] if isinstance(cell, dict)]
    text = "\n\n".join(cell for cell in cells if cell)
    if not text:
        raise UnreadableSource("The notebook has no cells with text.")
    title = first_heading([text]) or file.stem
    yield file.document(text, title=title, markup="markdown", metadata={"language": language})


def _parse(source: str) -> dict[str, Any]:
    try:
        notebook = json.loads(source)
    except (ValueError, RecursionError) as exc:
        raise UnreadableSource("The notebook is not valid JSON; save it again.") from exc
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise UnreadableSource("The notebook has no cells; save it as notebook format 4.")
    return notebook


def _language(notebook: Mapping[str, Any]) -> str:
    metadata = notebook.get("metadata")
    for name, key in (("language_info", "name"), ("kernelspec", "language")):
        section = metadata.get(name) if isinstance(metadata, dict) else None
        if isinstance(section, dict) and isinstance(section.get(key), str):
            return str(section[key])
    return "python"


def _cell(cell: Mapping[str, Any], language: str) -> str:
    source = cell.get("source", "")
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    text = text.strip("\n")
    if cell.get("cell_type") == "code" and text.strip():
        return f"```{language}\n{text}\n```"
    return text
