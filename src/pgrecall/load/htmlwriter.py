"""Write paragraphs, lists, code and tables of a page as Markdown blocks."""

from __future__ import annotations

import re

from pgrecall.load.htmlpage import ARTICLE, MAIN, Block, Page, is_linked
from pgrecall.load.htmltable import table

_HEADING_LIKE = re.compile(r"^(#{1,6}\s)", re.M)
#: Deeper lists and quotes are written as if they were this deep; else nesting costs its square.
_MAX_INDENT = 8
#: Stands for a line break in the text of a paragraph; pages are parsed without NUL.
BREAK = "\0"


class Writer:
    """Collects the text of the paragraph at hand; writes it as a block when the paragraph ends."""

    def __init__(self) -> None:
        self.page = Page()
        self.inline: list[str] = []
        #: How many elements of a kind are open.
        self.pre = self.quotes = self.main = self.article = self.boilerplate = 0
        #: Anchors that are open, and characters in those that were closed since the last block.
        self.anchors = self.links = 0
        self._lists: list[int | None] = []
        self._fresh_list = False
        self._marker = ""
        self._tables = 0
        self._rows: list[list[list[str]]] = []
        self._cell = 0
        self._table_links = 0

    def take(self) -> str:
        """The text of the paragraph at hand, which is then empty."""
        text = "".join(self.inline).replace(BREAK, "\n")
        self.inline.clear()
        return text

    def flush(self) -> None:
        """End the paragraph; inside of a code block there are none."""
        if self.pre or not self.inline:
            return
        lines = (" ".join(line.split()) for line in "".join(self.inline).split(BREAK))
        text = "\n".join(line for line in lines if line)
        self.inline.clear()
        if text:
            self._emit(_HEADING_LIKE.sub(r"\\\1", text) if "#" in text else text)

    def heading(self, level: int) -> None:
        """End a heading. One of level 1 counts as content, even in the banner of a page."""
        text = " ".join(self.take().split())
        if text:
            self.page.heading = self.page.heading or (text if level == 1 else "")
            self._emit(f"{'#' * level} {text}", always=level == 1)

    def code(self, language: str) -> None:
        """End a code block."""
        code = self.take().strip("\n").rstrip()
        if code:
            longest = max(map(len, re.findall("`{3,}", code)), default=2)
            fence = "`" * (longest + 1)
            self._emit(f"{fence}{language}\n{code}\n{fence}")

    def begin_list(self, *, ordered: bool) -> None:
        """A list begins."""
        self._lists.append(0 if ordered else None)
        self._fresh_list = len(self._lists) == 1

    def end_list(self) -> None:
        """The innermost list ends."""
        self.flush()
        self._lists.pop()

    def begin_item(self) -> None:
        """An item begins: the next block gets its marker."""
        self._marker = "- "
        if self._lists and (count := self._lists[-1]) is not None:
            self._lists[-1] = count + 1
            self._marker = f"{count + 1}. "

    def end_item(self) -> None:
        """An item ends; an empty one leaves no marker behind."""
        self.flush()
        self._marker = ""

    def begin_table(self) -> None:
        """A table begins. One inside another adds its text to the cell that it is in."""
        self._tables += 1

    def end_table(self) -> None:
        """A table ends; the outermost is written."""
        self.flush()
        self._tables -= 1
        if self._tables == 0 and self._rows:
            rows, self._rows = self._rows, []
            written = table(rows)
            self.links, self._table_links = self._table_links, 0
            texts = [text for row in rows for cell in row for text in cell]
            for text in texts if written is None else [written]:
                self._emit(text)

    def begin_row(self) -> None:
        """A row begins."""
        if self._tables == 1:
            self._rows.append([])

    def begin_cell(self) -> bool:
        """A cell begins; False if it is no cell of an outermost table."""
        if self._tables != 1:
            return False
        self._cell = len(self.page.blocks)
        return True

    def end_cell(self) -> None:
        """A cell ends: its blocks move into the table."""
        self.flush()
        cell = [block.text for block in self.page.blocks[self._cell :]]
        self._table_links += sum(block.links for block in self.page.blocks[self._cell :])
        del self.page.blocks[self._cell :]
        if not self._rows:
            self._rows.append([])
        self._rows[-1].append(cell)

    def demote(self, start: int) -> None:
        """Make the blocks from ``start`` on boilerplate if more than half of them is links."""
        blocks = self.page.blocks[start:]
        if is_linked(blocks):
            for block in blocks:
                block.boilerplate = True

    def _emit(self, text: str, *, always: bool = False) -> None:
        block = Block(
            text=self._indented(text),
            tight=bool(self._marker) and not self._fresh_list,
            place=MAIN if self.main else min(self.article, ARTICLE),
            boilerplate=self.boilerplate > 0 and not always,
            links=len(text) if self.anchors else min(self.links, len(text)),
        )
        self.links = 0
        self._marker = ""
        self._fresh_list = False
        self.page.blocks.append(block)

    def _indented(self, text: str) -> str:
        if not (self._lists or self.quotes or self._marker):
            return text
        outer = "> " * min(self.quotes, _MAX_INDENT)
        outer += "  " * min(max(len(self._lists) - 1, 0), _MAX_INDENT)
        inner = outer + " " * (len(self._marker) or 2 * bool(self._lists))
        return (outer + self._marker if self._marker else inner) + text.replace("\n", "\n" + inner)
