"""Which files of a folder .gitignore files leave out."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where a .gitignore is met: it is slow to load
    from pathspec import GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The .gitignore files that apply in a folder, innermost first, as git reads them."""

    #: (folder of the file, with a slash at its end; its patterns)
    specs: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    @classmethod
    def above(cls, folder: str) -> IgnoreRules:
        """The rules of the folders above, up to the root of the repository; none outside of one.

        None, too, if they leave out the folder itself: who names it wants it.
        """
        chain = []
        current = os.path.abspath(folder)
        while not os.path.exists(os.path.join(current, ".git")):
            parent = os.path.dirname(current)
            if parent == current:
                return cls()
            chain.append(parent)
            current = parent
        rules = cls()
        for parent in reversed(chain):
            rules = rules.inside(parent)
        ignored = rules.ignores(os.path.abspath(folder), is_folder=True)
        return cls() if ignored else rules

    def inside(self, folder: str) -> IgnoreRules:
        """These rules and those of the folder's own .gitignore, which come first."""
        try:
            with open(os.path.join(folder, ".gitignore"), "rb") as file:
                lines = file.read(2**20).decode("utf-8", "replace").splitlines()
        except OSError:
            return self  # most folders have none
        spec = _compile(lines)
        return IgnoreRules(((os.path.join(folder, ""), spec), *self.specs)) if spec else self

    def ignores(self, path: str, *, is_folder: bool) -> bool:
        """True if the file or folder is left out. ``path`` is absolute."""
        for folder, spec in self.specs:
            name = path[len(folder) :].replace(os.sep, "/")
            decision = spec.check_file(name + "/" if is_folder else name).include
            if decision is not None:
                return decision
        return False


def _compile(lines: Iterable[str]) -> GitIgnoreSpec | None:
    """The patterns that can be understood; git passes over the others too."""
    from pathspec import GitIgnoreSpec

    try:
        spec = GitIgnoreSpec.from_lines(lines)
    except ValueError:
        spec = GitIgnoreSpec.from_lines(line for line in lines if _is_valid(line))
    return spec if len(spec) else None


def _is_valid(line: str) -> bool:
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
