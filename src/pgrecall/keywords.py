"""Keywords that are declared as a TypedDict: type checkers know them, and Python would let any through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_keywords(given: Mapping[str, Any], declared: type) -> None:
    """Raise TypeError for a keyword that the TypedDict does not declare, as Python does elsewhere."""
    known: frozenset[str] = declared.__required_keys__ | declared.__optional_keys__  # type: ignore[attr-defined]
    for name in given:
        if name not in known:
            raise TypeError(
                f"There is no keyword argument {name!r}; there are {', '.join(sorted(known))}."
            )
