"""A table of HTML as a table of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

#: The paragraphs of each cell of each row.
Rows = Sequence[Sequence[Sequence[str]]]

#: A cell with more than this is a column of the page's layout, not a value.
MAX_CELL = 1_000
MAX_PARAGRAPHS = 8


def table(rows: Rows) -> str | None:
    """The table, its first row as the header; None if it lays out the page or is one column."""
    filled = [row for row in rows if any(row)]
    if (
        not filled
        or max(map(len, filled)) < 2
        or any(_is_layout(cell) for row in filled for cell in row)
    ):
        return None
    header, *body = filled
    rule = "| " + " | ".join(["---"] * len(header)) + " |"
    return "\n".join([_line(header), rule, *map(_line, body)])


def _line(row: Sequence[Sequence[str]]) -> str:
    cells = (" ".join(" ".join(cell).split()).replace("|", "\\|") for cell in row)
    return "| " + " | ".join(cells) + " |"


def _is_layout(cell: Sequence[str]) -> bool:
    return (
        len(cell) > MAX_PARAGRAPHS
        or sum(map(len, cell)) > MAX_CELL
        or any(text.startswith(("# ", "## ", "```")) for text in cell)
    )
