"""What the library says of its parameters, in the words of the command line: ``max_cost`` is ``--max-cost``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Fields of values that commands make of their options.
FIELDS = {
    "ChunkConfig.max_tokens": "--chunk-tokens",
    "ChunkConfig.overlap_tokens": "--chunk-overlap",
}
#: "per_document must be ...": sentences begin with a capital letter, unless with the name of a parameter.
_SUBJECT = re.compile(r"^[a-z_]+(?: and [a-z_]+)?(?= (?:is|are|must)\b)")
#: Who speaks to users of both says both: "(max_tokens, --max-tokens)".
_BOTH = re.compile(r"(?<![\w-])[\w=]+, (--[a-z-]+)")


def options(command: Any) -> dict[str, str]:
    """How the parameters of a command, and of those below it, are written: ``max_cost``: ``--max-cost``."""
    found: dict[str, str] = {}
    for below in getattr(command, "commands", {}).values():
        found |= options(below)
    for parameter in command.params:
        if parameter.param_type_name == "option":
            found[parameter.name] = max(parameter.opts, key=len)
    return found


def in_options(message: str, known: Mapping[str, str]) -> str:
    """The message, with the ``known`` options where it names parameters."""
    for name, option in FIELDS.items():
        message = message.replace(name, option)
    message = _BOTH.sub(lambda both: both[1] if both[1] in known.values() else both[0], message)
    return _SUBJECT.sub(lambda names: _named(names[0], known), message)


def _named(names: str, known: Mapping[str, str]) -> str:
    return " and ".join(known.get(name, name) for name in names.split(" and "))
