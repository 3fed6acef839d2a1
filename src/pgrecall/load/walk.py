"""Walk through a folder: sorted, one folder at a time, never in circles."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pgrecall.load.ignore import IgnoreRules
from pgrecall.load.options import LoadOptions
from pgrecall.load.source import path_uri
from pgrecall.types import Failure

#: Never documents of the folder they are in.
_SKIPPED_FOLDERS = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__"})


@dataclass(slots=True, kw_only=True)
class Walk:
    """One walk: which folders to enter, and which were entered."""

    options: LoadOptions
    #: Whether to enter a folder, given its absolute path.
    enter: Callable[[str], bool] = lambda path: True
    #: Linked folders that were entered: (device, inode). A second link to one adds nothing.
    _linked: set[tuple[int, int]] = field(default_factory=set)

    def files(self, root: str) -> Iterator[str | Failure]:
        """Paths of the files under a folder (absolute), each folder sorted by name.

        Holds the entries of the folders from the root to the current one, not all files.
        """
        rules = IgnoreRules.above(root) if self.options.gitignore else IgnoreRules()
        stack = [self._entries(root, rules, ())]
        while stack:
            item = next(stack[-1], None)
            if item is None:
                stack.pop()
            elif isinstance(item, _Folder):
                stack.append(self._entries(item.path, item.rules, item.above))
            else:
                yield item

    def _entries(
        self, folder: str, rules: IgnoreRules, above: tuple[tuple[int, int], ...]
    ) -> Iterator[str | Failure | _Folder]:
        try:
            status = os.stat(folder)
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as exc:
            reason = f"The folder cannot be read: {exc.strerror or exc}."
            yield Failure(uri=path_uri(folder), reason=reason)
            return
        if self.options.gitignore and any(entry.name == ".gitignore" for entry in entries):
            rules = rules.inside(folder)
        above = (*above, (status.st_dev, status.st_ino))
        for entry in entries:
            item = self._item(entry, rules, above)
            if item is not None:
                yield item

    def _item(
        self, entry: os.DirEntry[str], rules: IgnoreRules, above: tuple[tuple[int, int], ...]
    ) -> str | Failure | _Folder | None:
        if entry.name.startswith(".") and (not self.options.hidden or entry.name == ".git"):
            return None
        linked = entry.is_symlink()
        if linked and not self.options.follow_symlinks:
            return None
        try:
            is_folder = entry.is_dir()
            if is_folder and (entry.name in _SKIPPED_FOLDERS or not self.enter(entry.path)):
                return None
            if rules.specs and rules.ignores(entry.path, is_folder=is_folder):
                return None
            if not is_folder:
                return self._file(entry, linked=linked)
            if linked and (refusal := self._refusal(entry, above)):
                return refusal.failure
        except OSError as exc:
            return Failure(uri=path_uri(entry.path), reason=_link_reason(exc))
        return _Folder(entry.path, rules, above)

    def _file(self, entry: os.DirEntry[str], *, linked: bool) -> str:
        if linked:
            entry.stat()  # raises OSError for a link that leads nowhere, or to itself
        return entry.path

    def _refusal(
        self, entry: os.DirEntry[str], above: tuple[tuple[int, int], ...]
    ) -> _Refusal | None:
        """Why not to enter a linked folder; None to enter it."""
        status = entry.stat()
        key = (status.st_dev, status.st_ino)
        if key in above:
            reason = "The symbolic link leads back to a folder that it is in; remove it."
            return _Refusal(Failure(uri=path_uri(entry.path), reason=reason))
        if key in self._linked:
            return _Refusal(None)
        self._linked.add(key)
        return None


@dataclass(frozen=True, slots=True)
class _Refusal:
    #: None: its content was taken in already, under another name.
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    rules: IgnoreRules
    above: tuple[tuple[int, int], ...]


def _link_reason(exc: OSError) -> str:
    if isinstance(exc, FileNotFoundError):
        return "The symbolic link leads nowhere; its target does not exist."
    return f"The entry cannot be read: {exc.strerror or exc}."
