"""Some paths out of a source: those that changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Only:
    """Files and folders (absolute paths) that alone are looked at."""

    paths: frozenset[str]
    #: The folders that they are in, up to the root.
    above: frozenset[str]

    @classmethod
    def of(cls, paths: Iterable[str]) -> Only:
        """These paths."""
        chosen = frozenset(paths)
        return cls(chosen, frozenset(folder for path in chosen for folder in _above(path)))

    def holds(self, path: str) -> bool:
        """Whether the path is one of them, or in one of them."""
        return path in self.paths or any(folder in self.paths for folder in _above(path))

    def enter(self, folder: str) -> bool:
        """Whether one of them may be in the folder."""
        return folder in self.above or self.holds(folder)


def _above(path: str) -> Iterable[str]:
    parent = os.path.dirname(path)
    while parent != path:
        yield parent
        path, parent = parent, os.path.dirname(parent)
