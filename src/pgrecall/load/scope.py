"""Which stored documents belong to the sources that were asked for: what may be gone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace

from pgrecall.errors import InvalidArgument
from pgrecall.load.discover import StrPath, is_url, matcher, page_url, split_glob
from pgrecall.load.only import Only
from pgrecall.load.source import path_uri
from pgrecall.types import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The documents of one source, by where they were found (``Document.source``)."""

    #: The source as it was given.
    given: str
    #: Their sources lie from here to before there, compared by code point.
    low: str
    high: str
    #: Which of those are meant.
    covers: Callable[[str], bool]

    def within(self, path: str) -> Scope | None:
        """What of the scope is at the path or below it."""
        only = Only.of([path])
        low, high = path_uri(path), _after(path_uri(path))
        if only.holds(self.low.rstrip("/")):
            return self
        if low > self.high or high <= self.low:
            return None
        return replace(
            self,
            low=low,
            high=high,
            covers=lambda source: self.covers(source) and only.holds(_file_of(source, low)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    """What a run keeps in step."""

    scopes: tuple[Scope, ...]
    tenant_id: str = ""
    #: Whether a source in which nothing is found is empty, rather than not mounted.
    allow_empty: bool = False
    #: What changed, if the rest is known to be as it was.
    only: Only | None = None

    def spans(self) -> list[Scope]:
        """The scopes, as far as they are concerned."""
        if self.only is None:
            return list(self.scopes)
        parts = [scope.within(path) for path in sorted(self.only.paths) for scope in self.scopes]
        return [part for part in parts if part is not None]


def scopes(sources: Iterable[StrPath | Document]) -> tuple[Scope, ...]:
    """The scopes of the sources; what does not exist has none, since it may only be out of reach.

    Raises InvalidArgument for standard input, and if no source can be looked at again.
    """
    paths = [os.fsdecode(source) for source in sources if isinstance(source, str | os.PathLike)]
    if not paths:
        raise InvalidArgument(
            "Documents that are given have no source to stay in step with; name files, folders, globs "
            "or URLs, or remove documents with delete."
        )
    if "-" in paths:
        raise InvalidArgument(
            "Standard input cannot be kept in step, since nobody knows which stream is the next version of "
            "which; write it to a file, and name that."
        )
    return tuple(found for path in paths if (found := _scope(path)) is not None)


def _scope(path: str) -> Scope | None:
    if is_url(path):
        return _file(path, page_url(path))
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        found = split_glob(path)
        return _glob(path, *found) if found and os.path.isdir(found[0]) else None
    if not stat.S_ISDIR(mode):
        return _file(path, path_uri(path))
    inside = _inside(os.path.abspath(path))
    return Scope(given=path, low=inside, high=_after(inside[:-1]), covers=lambda source: True)


def _file(given: str, uri: str) -> Scope:
    # Rows that could not be read are on record under the file's uri, a # and a number.
    return Scope(
        given=given,
        low=uri,
        high=_after(uri),
        covers=lambda source: source == uri or source.startswith(f"{uri}#"),
    )


def _glob(given: str, root: str, parts: list[str]) -> Scope:
    inside = _inside(root)
    matches = matcher(parts)
    return Scope(
        given=given,
        low=inside,
        high=_after(inside[:-1]),
        covers=lambda source: matches(source[len(inside) :]),
    )


def _inside(folder: str) -> str:
    return path_uri(folder).rstrip("/") + "/"


def _after(uri: str) -> str:
    """Behind the uri, its rows (#) and what is in it (/), in the order of code points."""
    return uri + chr(ord("/") + 1)


def _file_of(source: str, path: str) -> str:
    """The path, for the failures of its rows, which are on record under a # and a number."""
    return path if source.startswith(f"{path}#") else source


def unknowable(source: str, uri: str, unread: Set[str]) -> bool:
    """Whether a failure leaves open if the document has gone: of itself, its file, or a folder above.

    A row that cannot be read (``FILE#NUMBER``) may be any of its file.
    """
    if not unread:
        return False
    if uri in unread or source in unread:
        return True
    folder = source
    while cut := folder.rfind("/") + 1:
        folder = folder[: cut - 1]
        if folder in unread:
            return True
    return False


def with_files(unread: Iterable[str]) -> frozenset[str]:
    """The uris, and for rows the files that they are in."""
    named = set(unread)
    return frozenset(named | {uri.rpartition("#")[0] for uri in named if "#" in uri})
