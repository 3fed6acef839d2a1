"""Where source code can be cut: best before a function or class, with what stands above it.

One rule for all languages: what begins a definition is much the same in most of them, and where the rule
finds none, empty lines and indentation remain. Grammars know more; docs/architecture.md has what that is worth.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_MODIFIER = (
    r"(?:export|default|public|private|protected|internal|static|final|abstract|async|inline|virtual|override"
    r"|unsafe|extern|const|partial|sealed|open|suspend|data|readonly|pub(?:\([^)\n]{0,40}\))?)"
)
_KEYWORD = (
    r"(?:(?:def|defp|defmodule|class|func|fn|fun|function\*?|interface|impl|trait|mod|module|namespace|type"
    r"|object|protocol|extension|record|sub|macro_rules!|(?i:create[ \t]+(?:or[ \t]+replace[ \t]+)?\w+))[ \t<]"
    # Not ``struct node *first = ...``.
    r"|(?:struct|enum|union)[ \t](?![^\n{]{0,120}[=;]))"
)
_CONTROL = (
    r"(?:if|for|while|switch|case|else|elif|return|catch|do|try|with|except|using|lock"
    r"|foreach|when|await)"
)
# Possessive, and parentheses but one in another: what is never closed is looked at once.
_PARAMETERS = r"\((?:[^();{}]++|\([^();{}]*+\))*+\)"
_NAME_LINE = r"\n(?=[A-Za-z_~][\w:~]{0,119}[ \t]?\()"
#: ``type name(parameters) {``, the type and the brace perhaps on lines of their own.
_BRACED = (
    rf"(?!{_CONTROL}\b)[A-Za-z_~][^\n;={{}}()]{{0,120}}+(?:{_NAME_LINE})?+[^\n;={{}}()]{{0,120}}+"
    rf"{_PARAMETERS}"
    r"[^\n;{}()]{0,80}(?:\n[ \t]*)?\{"
)
#: ``public type Name {``: a property.
_PROPERTY = rf"(?:{_MODIFIER}[ \t]+)[^\n;={{}}()]{{1,120}}(?:\n[ \t]*)?\{{"
#: ``const name = (arguments) =>``
_ARROW = r"(?:const|let|var)[ \t]+\w{1,80}[ \t]*=[^\n;]{0,200}(?:=>|\bfunction\b)"
_ANNOTATION = r"(?:@\w{1,80}(?:\([^()\n]{0,120}\))?[ \t]+){0,4}"
_DEFINITION = re.compile(
    rf"\n([ \t]*+)(?=[A-Za-z_~@])(?={_ANNOTATION}"
    rf"(?:(?:{_MODIFIER}[ \t]+){{0,6}}(?:{_KEYWORD}|{_ARROW}|{_BRACED})|{_PROPERTY}))"
)
#: What stands above a definition and belongs to it: comments, decorators, attributes.
_ABOVE = re.compile(r"([ \t]*)(?:@\w|#|//|/?\*|--|\[[A-Z])")
_MAX_ABOVE = 30
#: A line that is only a type, as C has it above the name.
_TYPE = re.compile(rf"[A-Za-z_][\w \t*&:<>,]{{0,119}}{_NAME_LINE}")

#: Parameters that the text ends within: what follows decides whether they are a definition's.
_OPEN = re.compile(r"\((?:[^();{}]++|\([^();{}]*+\))*+(?:\([^();{}]*+)?\Z")
_BLANK = re.compile(r"[ \t]*(?:\n|\Z)")


def definitions(text: str) -> Iterator[tuple[int, int]]:
    """(offset, columns of indentation) of each definition, or of the comments and decorators above it."""
    covered = 0
    for match in _DEFINITION.finditer(text):
        if match.start() < covered:
            continue
        line, indent = match.start() + 1, match[1]
        for _ in range(_MAX_ABOVE):
            before = text.rfind("\n", 0, line - 1) + 1
            found = _ABOVE.match(text, before, line) if covered < before < line else None
            if found is None:
                break
            line, indent = before, found[1]
        # The name below a type is no definition of its own, and no line of one stands above the next.
        typed = _TYPE.match(text, match.end())
        covered = typed.end() if typed else max(text.find("\n", match.end()), match.end())
        yield line + len(indent), len(indent.expandtabs(4))


def settled(text: str) -> int:
    """Up to where nothing changes, whatever follows the text."""
    last = max(map(text.rfind, ";{}"))
    found = _OPEN.search(text, last + 1)
    end = found.start() if found else len(text)
    # What stands above, a type, the name, and the brace on a line of its own.
    for _ in range(_MAX_ABOVE + 4):
        end = text.rfind("\n", 0, max(end, 0))
    return max(end, 0)


def last_line_alone(text: str, end: int) -> int:
    """The last line before end with which parsing can begin anew: no comment above it is missed.

    Its offset; 0 if there is none.
    """
    while (end := text.rfind("\n", 0, max(end, 0))) >= 0:
        if not (_BLANK.match(text, end + 1) or _ABOVE.match(text, end + 1)):
            return end + 1
    return 0
