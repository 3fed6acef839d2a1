"""Where source code can be cut: best before a function or class, with what stands above it.

One rule for all languages: what begins a definition is much the same in most of them, and where the rule
finds none, empty lines and indentation remain. Grammars know more, at tens of megabytes for the parsers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_MODIFIER = (
    r"(?:export|default|public|private|protected|internal|static|final|abstract|async|inline|virtual|override"
    r"|unsafe|extern|const|partial|sealed|open|suspend|data|pub(?:\([^)\n]{0,40}\))?)"
)
_KEYWORD = (
    r"(?:def|defp|defmodule|class|func|fn|fun|function\*?|interface|struct|enum|impl|trait|mod|module|namespace"
    r"|object|protocol|extension|record|union|sub|macro_rules!|(?i:create[ \t]+(?:or[ \t]+replace[ \t]+)?\w+))"
)
_CONTROL = r"(?:if|for|while|switch|else|elif|return|catch|do|try|with|except|using|lock|foreach|when|await)"
#: ``name(arguments) {``, the brace perhaps on the next line.
_BRACED = (
    rf"(?!{_CONTROL}\b)[A-Za-z_~][^\n;={{}}()]{{0,120}}\([^\n;{{}}]{{0,200}}\)[^\n;{{}}()]{{0,80}}"
    r"(?:\n[ \t]*)?\{"
)
#: ``const name = (arguments) =>``
_ARROW = r"(?:const|let|var)[ \t]+\w{1,80}[ \t]*=[^\n;]{0,200}(?:=>|\bfunction\b)"
_COMMENT = r"(?:[ \t]*(?:@\w|#|//|/?\*|--)[^\n]*\n){0,30}"
_DEFINITION = re.compile(
    rf"\n([ \t]*)(?=\S)(?={_COMMENT}[ \t]*"
    rf"(?:{_MODIFIER}[ \t]+){{0,6}}(?:{_KEYWORD}[ \t]|{_ARROW}|{_BRACED}))"
)
_ABOVE = re.compile(r"[ \t]*(?:@\w|#|//|/?\*|--)")


def definitions(text: str) -> Iterator[tuple[int, int]]:
    """(offset, columns of indentation) of each definition, or of the comments and decorators above it."""
    covered = 0
    for match in _DEFINITION.finditer(text):
        if match.start() < covered:
            continue
        # What follows in the same run of comments belongs to the same definition.
        covered = match.end()
        while _ABOVE.match(text, covered):
            following = text.find("\n", covered)
            if following < 0:
                break
            covered = following + 1
        yield match.end(), len(match[1].expandtabs(4))
