"""The readable blocks of an HTML page, and which of them are its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

#: Where on the page a block was; 0: elsewhere.
MAIN, ARTICLE = 2, 1


@dataclass(slots=True)
class Block:
    """A paragraph, list item, code block or table, and where on the page it was."""

    text: str
    #: Follows the block before it without an empty line, as list items do.
    tight: bool = False
    #: 2: in <main>, 1: in <article>, 0: elsewhere.
    place: int = 0
    boilerplate: bool = False


@dataclass(slots=True)
class Page:
    """What a page says: blocks of Markdown and the fields of its head."""

    blocks: list[Block] = field(default_factory=list)
    title: str = ""
    heading: str = ""
    meta: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The main content; else all that is no boilerplate; if that is too little, everything."""
        plain = [block for block in self.blocks if not block.boilerplate]
        main = [block for block in plain if block.place >= MAIN]
        article = [block for block in plain if block.place]
        everything, much = length(self.blocks), length(plain)
        if main and length(main) >= min(200, everything / 4):
            return join(main)
        if length(article) * 2 > much:
            return join(article)
        return join(plain if much * 10 >= everything else self.blocks)


def length(blocks: Sequence[Block]) -> int:
    """Characters of all blocks."""
    return sum(len(block.text) for block in blocks)


def join(blocks: Sequence[Block]) -> str:
    """All blocks as one text."""
    parts: list[str] = []
    for block in blocks:
        parts.append("\n" if block.tight else "\n\n")
        parts.append(block.text)
    return "".join(parts).strip()
