"""Markdown, with the metadata of its front matter."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pgrecall.errors import InvalidArgument
from pgrecall.load.clean import Cleaner, one_line
from pgrecall.load.source import OpenFile
from pgrecall.load.text import content, with_text
from pgrecall.longtext import LongText
from pgrecall.types import Document

SUFFIXES = dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".mdx", ".qmd"), "text/markdown")

#: Longest front matter that is parsed, in characters: parsing YAML is slow, nested YAML slower yet.
MAX_FRONT_MATTER = 16_384
MAX_BRACKETS = 500
#: Characters of a line that decide whether it is a heading; more than a title keeps.
MAX_LINE = 1 << 18
_FENCES = {
    "---": re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.M),
    "+++": re.compile(r"^\+\+\+[ \t]*$", re.M),
}
_CODE_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_H1 = re.compile(r"^ {0,3}#[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$")


def load(file: OpenFile) -> Iterator[Document]:
    """One document, without its front matter. Raises UnreadableSource."""
    text = content(file)
    beginning = text if isinstance(text, str) else next(text.parts())
    metadata, rest, note = front_matter(beginning)
    if note:
        file.notes.append(note)
    body = rest if isinstance(text, str) else text.after(beginning.removesuffix(rest))
    # Front matter alone: better found by its words than not at all.
    body = text if _blank(body) else body
    named = metadata.pop("title", None)
    title = (
        str(named) if named else first_heading([body] if isinstance(body, str) else body.parts())
    )
    document = file.document("", title=title or file.stem, markup="markdown", metadata=metadata)
    yield with_text(document, body)


def _blank(text: str | LongText) -> bool:
    return text.blank if isinstance(text, LongText) else not text or text.isspace()


def front_matter(text: str) -> tuple[dict[str, Any], str, str | None]:
    """(metadata, the text without its front matter, what is wrong with the front matter)."""
    fence, _, rest = text.partition("\n")
    closing = _FENCES.get(fence.rstrip())
    if closing is None:
        return {}, text, None
    end = closing.search(rest)
    if end is None:
        return {}, text, None  # a thematic break, not front matter
    if end.start() > MAX_FRONT_MATTER:
        return {}, text, f"kept the front matter as text: over {MAX_FRONT_MATTER:,} characters"
    try:
        metadata = _parse(rest[: end.start()], toml=fence.startswith("+"))
    except (ValueError, RecursionError) as exc:
        return {}, text, f"kept the front matter as text: {one_line(str(exc), 120)}"
    return metadata, rest[end.end() :].lstrip("\n"), None


def first_heading(parts: Iterable[str]) -> str | None:
    """The first heading of level 1 that is not inside a code block, of a text in parts."""
    fence = ""
    for line in _lines(parts):
        mark = _CODE_FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif fence:
            fence = "" if line.strip().startswith(fence) else fence
        elif found := _H1.match(line):
            return found[1]
    return None


def _lines(parts: Iterable[str]) -> Iterator[str]:
    """The lines of a text in parts; of a line that goes on for more than a part, only as much."""
    begun = ""
    for part in parts:
        first, *others = part.split("\n")
        begun += first[: MAX_LINE - len(begun)] if len(begun) < MAX_LINE else ""
        if others:
            yield begun
            yield from others[:-1]
            begun = others[-1]
    yield begun


def _parse(source: str, *, toml: bool) -> dict[str, Any]:
    """Front matter as JSON values. Raises ValueError or RecursionError."""
    parsed = tomllib.loads(source) if toml else _parse_yaml(source)
    if parsed is None:
        return {}
    if not isinstance(parsed, Mapping):
        raise InvalidArgument("it is not a mapping")
    return Cleaner().metadata(parsed)


def _parse_yaml(source: str) -> object:
    import yaml

    # 16,000 open brackets keep the parser busy for more than a second.
    if source.count("[") + source.count("{") > MAX_BRACKETS:
        raise InvalidArgument(f"it has more than {MAX_BRACKETS:,} brackets")
    # Not the faster CSafeLoader: deep nesting overflows its stack, which ends the process.
    try:
        return yaml.safe_load(source)
    except yaml.YAMLError as exc:
        raise ValueError(str(exc)) from exc
