"""Find the sources that were asked for: files, folders, globs, standard input, documents."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from pgrecall.errors import InvalidArgument, UnreadableSource
from pgrecall.load.clean import clean_document
from pgrecall.load.dispatch import is_known
from pgrecall.load.only import Only
from pgrecall.load.options import LoadOptions
from pgrecall.load.source import Source, path_uri, refuse_special, suffix_of
from pgrecall.load.walk import Walk
from pgrecall.types import Document, Failure

#: Suffixes of files that are no documents; passed over without a look when found in a folder.
_BINARY = (
    ".a .avi .bin .bmp .class .dat .db .dll .dmg .dylib .eot .exe .flac .gif .ico .iso"
    " .jar .jpeg .jpg .lib .mkv .mo .mov .mp3 .mp4 .npy .npz .o .obj .ogg .onnx .otf .parquet"
    " .pickle .pkl .png .pt .pyc .pyd .rlib .safetensors .so .sqlite .tif .tiff .ttf"
    " .wasm .wav .webm .webp .whl .woff .woff2"
)
BINARY_SUFFIXES = frozenset(_BINARY.split())
#: Suffixes of files that may hold documents, which nobody sees before they are unpacked.
_ARCHIVES = (
    ".7z .bz2 .cab .cpio .gz .lz .lz4 .lzma .rar .tar .tbz .tbz2 .tgz .txz .tzst .xz .z .zip .zst"
)
ARCHIVE_SUFFIXES = frozenset(_ARCHIVES.split())
_PASSED_OVER = BINARY_SUFFIXES | ARCHIVE_SUFFIXES
#: Archives that are named.
_NAMED = 2
_GLOB_CHARACTERS = frozenset("*?[")

#: Why a folder and a glob are failures in which nothing was found.
EMPTY_FOLDER = "The folder holds nothing to load."
EMPTY_GLOB = "No file matches the pattern."
MISSING = "There is no such file or folder."
#: Failures of no document: of a name that was mistyped, or of a folder.
NO_DOCUMENT = frozenset({EMPTY_FOLDER, EMPTY_GLOB, MISSING})

StrPath = str | os.PathLike[str]
#: Takes a source, and what is to be said of it.
Note = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class _Search:
    """What holds for all sources of a call."""

    options: LoadOptions
    only: Only | None
    note: Note | None


@dataclass(slots=True)
class _Archives:
    """The archives of one folder or glob: how many, and some to name."""

    count: int = 0
    named: list[str] = field(default_factory=list)

    def add(self, path: str) -> None:
        self.count += 1
        if len(self.named) < _NAMED:
            self.named.append(path)

    def said(self, folder: str) -> str:
        """What is to be said of them, by their names within the folder."""
        names = [_safe_uri(os.path.relpath(path, folder)) for path in self.named]
        if self.count == 1:
            return f"The archive {names[0]} was passed over; unpack it to take in what is in it."
        listed = f"{', '.join(names[:-1])} and {names[-1]}"
        such = listed if self.count == len(names) else f"such as {listed}"
        return f"{self.count:,} archives were passed over ({such}); unpack them to take in what is in them."


def discover(
    sources: Iterable[StrPath | Document],
    options: LoadOptions | None = None,
    only: Only | None = None,
    note: Note | None = None,
) -> Iterator[Source | Document | Failure]:
    """The sources that the arguments stand for, in order, found as the iterator is read.

    A source is a file, a folder (with all that is in it, sorted by name), a glob
    (``docs/**/*.md``; a folder that matches is taken whole, as the shell would), ``-`` for standard
    input, or a Document, which is cleaned and passed on. Folders and globs leave out what
    .gitignore files name, hidden entries, and files whose suffix says that they hold no text; ``note``
    is told of those of them that are archives, once for each folder or glob.
    What does not exist, matches nothing or is no file is a Failure; nothing is raised. With ``only``,
    what is not in these paths is passed over.
    """
    search = _Search(options or LoadOptions(), only, note)
    given = [sources] if isinstance(sources, str | os.PathLike | Document) else sources
    for source in given:
        if isinstance(source, Document):
            yield _given(source, search.options)
        elif isinstance(source, str | os.PathLike):
            yield from _find(os.fsdecode(source), search)
        else:
            reason = f"A source is a path or a Document, not a {type(source).__name__}."
            yield Failure(uri=repr(source)[:200], reason=reason)


def _given(document: Document, options: LoadOptions) -> Document | Failure:
    try:
        merged = {**document.metadata, **options.metadata}
        tenant_id = document.tenant_id or options.tenant_id
        cleaned = clean_document(replace(document, metadata=merged, tenant_id=tenant_id))
    except (InvalidArgument, TypeError) as exc:
        return Failure(uri=str(document.uri), reason=str(exc))
    if not cleaned.text or cleaned.text.isspace():
        return Failure(uri=cleaned.uri, reason="The document has no text.")
    return cleaned


def _find(path: str, search: _Search) -> Iterator[Source | Failure]:
    if path == "-":
        yield Source(uri=search.options.stdin_name, path=None)
        return
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        if _GLOB_CHARACTERS.isdisjoint(path) or "\0" in path:
            yield Failure(uri=_safe_uri(path), reason=_missing(exc))
        else:
            yield from _glob(path, search)
        return
    if stat.S_ISDIR(mode):
        yield from _folder(path, search)
    elif search.only is None or search.only.holds(os.path.abspath(path)):
        yield _file(path, mode)


def _file(path: str, mode: int) -> Source | Failure:
    try:
        refuse_special(mode)
    except UnreadableSource as exc:
        return Failure(uri=path_uri(path), reason=str(exc))
    return Source(uri=path_uri(path), path=os.path.abspath(path))


def _folder(path: str, search: _Search) -> Iterator[Source | Failure]:
    only, root = search.only, os.path.abspath(path)
    walk = Walk(options=search.options, enter=only.enter) if only else Walk(options=search.options)
    found = (item for item in walk.files(root) if only is None or only.holds(_path(item)))
    yield from _chosen(found, search, given=path, root=root, nothing=EMPTY_FOLDER)


def _path(found: str | Failure) -> str:
    return found.uri if isinstance(found, Failure) else found


def _chosen(
    found: Iterable[str | Failure], search: _Search, *, given: str, root: str, nothing: str
) -> Iterator[Source | Failure]:
    """What is to be read of that which was found; a failure if that is nothing, though all was looked at."""
    archives, empty = _Archives(), search.only is None
    for item in found:
        if isinstance(item, Failure):
            yield item
        elif is_known(item, search.options) or (suffix := suffix_of(item)) not in _PASSED_OVER:
            yield Source(uri=path_uri(item), path=item, named=False)
        else:
            if suffix in ARCHIVE_SUFFIXES:
                archives.add(item)
            continue
        empty = False
    if empty:
        yield Failure(uri=_safe_uri(given), reason=nothing)
    if archives.count and search.note is not None:
        search.note(_safe_uri(given), archives.said(root))


def is_url(source: str) -> bool:
    """Whether a source is a page or a sitemap, rather than a path."""
    return source[:8].lower().startswith(("http://", "https://"))


def page_url(source: str) -> str:
    """The URL that is fetched, and names the document: without a fragment."""
    return source.partition("#")[0]


def matcher(parts: list[str]) -> Callable[[str], bool]:
    """Whether a path below a glob's folder, written with slashes, matches its parts."""
    from pathspec import GitIgnoreSpec  # slow to load, and seldom needed

    return GitIgnoreSpec.from_lines(["/" + "/".join(parts)]).match_file


def _glob(pattern: str, search: _Search) -> Iterator[Source | Failure]:
    root, parts = _split(pattern)
    only, fixed = search.only, parts[: parts.index("**")] if "**" in parts else parts
    matches = matcher(parts)
    start = len(os.path.join(root, ""))

    def enter(folder: str) -> bool:
        names = folder[start:].split(os.sep)
        fits = all(fnmatchcase(name, part) for name, part in zip(names, fixed, strict=False))
        return fits and (only is None or only.enter(folder))

    def matching() -> Iterator[str | Failure]:
        for found in Walk(options=search.options, enter=enter).files(root):
            path = _path(found)
            if (only is None or only.holds(path)) and matches(path[start:].replace(os.sep, "/")):
                yield found

    if not os.path.isdir(root):
        yield Failure(uri=_safe_uri(pattern), reason=f"There is no folder {root}.")
    else:
        yield from _chosen(matching(), search, given=pattern, root=root, nothing=EMPTY_GLOB)


def split_glob(path: str) -> tuple[str, list[str]] | None:
    """(the folder that a glob begins in, absolute; its parts below it); None for what is no glob."""
    return None if _GLOB_CHARACTERS.isdisjoint(path) or "\0" in path else _split(path)


def _split(pattern: str) -> tuple[str, list[str]]:
    """(the folder that a glob begins in, absolute; the parts of the pattern below it)"""
    parts = [part for part in pattern.split(os.sep) if part != "."]
    count = next(i for i, part in enumerate(parts) if not _GLOB_CHARACTERS.isdisjoint(part))
    root = os.sep.join(parts[:count]) or (os.sep if pattern.startswith(os.sep) else ".")
    return os.path.abspath(root), [part for part in parts[count:] if part]


def _missing(exc: OSError | ValueError) -> str:
    if isinstance(exc, FileNotFoundError):
        return MISSING
    return f"The path cannot be read: {getattr(exc, 'strerror', None) or exc}."


def _safe_uri(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "")
