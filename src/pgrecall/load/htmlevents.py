"""The events of an HTML parser, told to a Writer: which element means what."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from pgrecall.load.htmlwriter import BREAK, Writer

_SKIPPED_NAMES = (
    "script style noscript template svg canvas iframe object embed audio video select button"
    " textarea input dialog map annotation annotation-xml"
)
_INLINE_NAMES = (
    "a abbr acronym b bdi bdo big br cite code data del dfn em font i img ins kbd label mark math"
    " meta mi mn mo mrow q rp rt ruby s samp small span strike strong sub sup time tt u var wbr"
)
_BOILERPLATE_ROLES = ("navigation", "banner", "contentinfo", "search", "complementary")
_SKIPPED = frozenset(_SKIPPED_NAMES.split())
_INLINE = frozenset(_INLINE_NAMES.split())
_MENU = re.compile(
    r"(?:^|[\s_-])"
    r"(?:nav|navbar|menu|breadcrumbs?|sidebar|toc|footer|cookie|share|social)(?:$|[\s_-])",
    re.I,
)
#: Menus in menus; each looks at what is in it.
_MAX_MENUS = 8
#: What DocBook calls its navigation, which is more titles than links.
_DOCBOOK = frozenset(("navheader", "navfooter"))
_LANGUAGE = re.compile(r"(?:^|\s)(?:language|lang|highlight|brush|sourceCode)[-: ]([\w+#-]+)")
_PERMALINKS = ("¶", "#", "§", "🔗")

Attributes = Mapping[str, str]
#: What to do when the element ends.
Leave = Callable[[], object]


class Events:
    """Target of lxml's HTMLParser; ``writer.page`` is the page. Elements may nest to any depth."""

    def __init__(self) -> None:
        self.writer = Writer()
        self._open: list[tuple[str, Leave | None]] = []
        self._anchors: list[int] = []
        self._skipping = False
        self._language = ""
        #: First blocks of the elements that are named like a menu, from the outermost on.
        self._menus: list[int] = []

    def start(self, tag: str, attributes: Attributes) -> None:
        """An element begins."""
        self._open.append((tag, None if self._skipping else self._enter(tag, attributes)))

    def end(self, tag: str) -> None:
        """An element ends, and those in it that were left open."""
        while self._open:
            name, leave = self._open.pop()
            if leave is not None:
                leave()
            if name == tag:
                return

    def data(self, text: str) -> None:
        """Text of the element that is open."""
        if not self._skipping:
            self.writer.inline.append(text)

    def close(self) -> None:
        """The page ends."""
        self.writer.flush()

    def _enter(self, tag: str, attributes: Attributes) -> Leave | None:
        if tag in _SKIPPED or (attributes and _is_hidden(attributes)):
            self._skipping = True
            return self._leave_skipped
        if tag in _INLINE:
            return self._enter_inline(tag, attributes)
        self.writer.flush()
        handler = _BLOCKS.get(tag)
        if handler is not None:
            return handler(self, tag, attributes)
        return self._enter_box(attributes) if attributes else self.writer.flush

    def _leave_skipped(self) -> None:
        self._skipping = False

    def _enter_inline(self, tag: str, attributes: Attributes) -> Leave | None:
        inline = self.writer.inline
        if tag == "br":
            inline.append(BREAK)
        elif tag == "img":
            inline.append(f" {attributes.get('alt', '')} ")
        elif tag == "meta":
            self._meta(attributes)
        elif tag == "a":
            self._anchors.append(len(inline))
            if "href" not in attributes:
                return self._leave_target
            self.writer.anchors += 1
            return self._leave_anchor
        elif tag == "code" and self.writer.pre:
            self._language = self._language or _language(attributes)
        elif tag == "code":
            inline.append("`")
            return self._leave_code
        return None

    def _leave_anchor(self) -> None:
        self.writer.anchors -= 1
        self.writer.links += self._leave_target()

    def _leave_target(self) -> int:
        """Characters since an anchor began, in the paragraph at hand."""
        start, inline = self._anchors.pop(), self.writer.inline
        # A bounded look back, so that links inside links cost no more than their length.
        text = "".join(inline[start : start + 50]).strip()
        if text in _PERMALINKS:
            del inline[start:]
        return len(text)

    def _leave_code(self) -> None:
        inline = self.writer.inline
        if inline and inline[-1] == "`":
            inline.pop()
        else:
            inline.append("`")

    def _meta(self, attributes: Attributes) -> None:
        name = attributes.get("name", "").lower()
        content = attributes.get("content", "").strip()
        if content and name in ("description", "author"):
            self.writer.page.meta.setdefault(name, content)

    def _enter_root(self, tag: str, attributes: Attributes) -> Leave | None:
        language = attributes.get("lang") or attributes.get("xml:lang")
        if language:
            self.writer.page.meta.setdefault("lang", language)
        return self.writer.flush

    def _enter_title(self, tag: str, attributes: Attributes) -> Leave | None:
        return self._leave_title

    def _leave_title(self) -> None:
        text = " ".join(self.writer.take().split())
        self.writer.page.title = self.writer.page.title or text

    # Parts of the page

    def _enter_main(self, tag: str, attributes: Attributes) -> Leave | None:
        self.writer.main += 1
        return self._leave_main

    def _leave_main(self) -> None:
        self.writer.flush()
        self.writer.main -= 1

    def _enter_article(self, tag: str, attributes: Attributes) -> Leave | None:
        self.writer.article += 1
        return self._leave_article

    def _leave_article(self) -> None:
        self.writer.flush()
        self.writer.article -= 1

    def _enter_aside(self, tag: str, attributes: Attributes) -> Leave | None:
        """A note, header or footer inside of the content belongs to it; one outside does not."""
        if self.writer.main or self.writer.article:
            return self._enter_box(attributes)
        return self._enter_boilerplate(tag, attributes)

    def _enter_boilerplate(self, tag: str, attributes: Attributes) -> Leave | None:
        self.writer.boilerplate += 1
        return self._leave_boilerplate

    def _leave_boilerplate(self) -> None:
        self.writer.flush()
        self.writer.boilerplate -= 1

    def _enter_box(self, attributes: Attributes) -> Leave | None:
        """An element that only its role, class or id tells something about."""
        role = attributes.get("role", "")
        if role == "main":
            return self._enter_main("", attributes)
        if role in _BOILERPLATE_ROLES or attributes.get("class") in _DOCBOOK:
            return self._enter_boilerplate("", attributes)
        hint = f"{attributes.get('class', '')} {attributes.get('id', '')}"
        if len(self._menus) < _MAX_MENUS and _MENU.search(hint):
            self._menus.append(len(self.writer.page.blocks))
            return self._leave_menu
        return self.writer.flush

    def _leave_menu(self) -> None:
        """What is named like a menu and is mostly links, is one."""
        self.writer.flush()
        self.writer.demote(self._menus.pop())

    # Blocks

    def _enter_heading(self, tag: str, attributes: Attributes) -> Leave | None:
        return lambda: self.writer.heading(int(tag[1]))

    def _enter_quote(self, tag: str, attributes: Attributes) -> Leave | None:
        self.writer.quotes += 1
        return self._leave_quote

    def _leave_quote(self) -> None:
        self.writer.flush()
        self.writer.quotes -= 1

    def _enter_list(self, tag: str, attributes: Attributes) -> Leave | None:
        leave_box = self._enter_box(attributes) if attributes else None
        self.writer.begin_list(ordered=tag == "ol")
        return self.writer.end_list if leave_box is None else _both(self.writer.end_list, leave_box)

    def _enter_item(self, tag: str, attributes: Attributes) -> Leave | None:
        self.writer.begin_item()
        return self.writer.end_item

    def _enter_pre(self, tag: str, attributes: Attributes) -> Leave | None:
        self.writer.pre += 1
        self._language = _language(attributes)
        return self._leave_pre

    def _leave_pre(self) -> None:
        self.writer.pre -= 1
        if not self.writer.pre:
            self.writer.code(self._language)

    def _enter_table(self, tag: str, attributes: Attributes) -> Leave | None:
        self.writer.begin_table()
        return self.writer.end_table

    def _enter_row(self, tag: str, attributes: Attributes) -> Leave | None:
        self.writer.begin_row()
        return self.writer.flush

    def _enter_cell(self, tag: str, attributes: Attributes) -> Leave | None:
        return self.writer.end_cell if self.writer.begin_cell() else self.writer.flush


_BLOCKS: dict[str, Callable[[Events, str, Attributes], Leave | None]] = {
    "html": Events._enter_root,
    "body": Events._enter_root,
    "title": Events._enter_title,
    "main": Events._enter_main,
    "article": Events._enter_article,
    "nav": Events._enter_boilerplate,
    "blockquote": Events._enter_quote,
    "li": Events._enter_item,
    "pre": Events._enter_pre,
    "table": Events._enter_table,
    "tr": Events._enter_row,
    **dict.fromkeys(("aside", "header", "footer"), Events._enter_aside),
    **dict.fromkeys(("ul", "ol"), Events._enter_list),
    **dict.fromkeys(("td", "th"), Events._enter_cell),
    **dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), Events._enter_heading),
}


def _both(first: Leave, second: Leave) -> Leave:
    def leave() -> None:
        first()
        second()

    return leave


def _is_hidden(attributes: Attributes) -> bool:
    return (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or "display:none" in attributes.get("style", "").replace(" ", "")
    )


def _language(attributes: Attributes) -> str:
    found = _LANGUAGE.search(attributes.get("class", ""))
    return found[1] if found else ""
