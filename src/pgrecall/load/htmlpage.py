"""The readable blocks of an HTML page, and which of them are its content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

#: Where on the page a block was; 0: elsewhere.
MAIN, ARTICLE = 2, 1
#: A paragraph has so many characters; what is shorter may be an entry of a menu.
_PROSE = 80
#: Fewer links in a row may be part of the content.
_MIN_MENU = 5
_KEPT = ("```", "| ")


@dataclass(slots=True)
class Block:
    """A paragraph, list item, code block or table, and where on the page it was."""

    text: str
    #: Follows the block before it without an empty line, as list items do.
    tight: bool = False
    #: 2: in <main>, 1: in <article>, 0: elsewhere.
    place: int = 0
    #: Characters of it that are links.
    links: int = 0
    boilerplate: bool = False


@dataclass(slots=True)
class Page:
    """What a page says: blocks of Markdown and the fields of its head."""

    blocks: list[Block] = field(default_factory=list)
    title: str = ""
    heading: str = ""
    meta: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The content, as far as it can be told; of a page that is navigation all over, everything."""
        content = self._content()
        without = list(_without_menus(content))
        return join(without if length(without) * 4 >= length(content) else content)

    def _content(self) -> Sequence[Block]:
        """The main content; else all that is no boilerplate; if that is too little, everything."""
        plain = [block for block in self.blocks if not block.boilerplate]
        main = [block for block in plain if block.place >= MAIN]
        article = [block for block in plain if block.place]
        everything, much = length(self.blocks), length(plain)
        if main and length(main) >= min(200, everything / 4):
            return main
        if length(article) * 2 > much:
            return article
        return plain if much * 10 >= everything else self.blocks


def _without_menus(blocks: Sequence[Block]) -> Iterator[Block]:
    """The blocks without those between two paragraphs that are many and mostly links."""
    for prose, group in groupby(blocks, _is_prose):
        run = list(group)
        if not prose:
            # The last heading is that of the paragraph which follows, unless there are links under it.
            last = max(
                (n for n, block in enumerate(run) if block.text[:1] == "#"), default=len(run)
            )
            menu, rest = (run[:last], run[last:]) if not is_linked(run[last:]) else (run, [])
            run = rest if len(menu) >= _MIN_MENU and is_linked(menu) else run
        yield from run


def _is_prose(block: Block) -> bool:
    text = block.text.lstrip(" >-0123456789.")
    return (len(text) >= _PROSE or text.startswith(_KEPT)) and not is_linked([block])


def is_linked(blocks: Sequence[Block]) -> bool:
    """Whether more than half of the text is links."""
    return sum(block.links for block in blocks) * 2 > length(blocks)


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
