"""Find the sources that were asked for: files, folders, globs, standard input, documents."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
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
    ".7z .a .avi .bin .bmp .bz2 .class .dat .db .dll .dmg .dylib .eot .exe .flac .gif .gz .ico .iso"
    " .jar .jpeg .jpg .lib .mkv .mo .mov .mp3 .mp4 .npy .npz .o .obj .ogg .onnx .otf .parquet"
    " .pickle .pkl .png .pt .pyc .pyd .rar .rlib .safetensors .so .sqlite .tar .tgz .tif .tiff .ttf"
    " .wasm .wav .webm .webp .whl .woff .woff2 .xz .zip .zst"
)
BINARY_SUFFIXES = frozenset(_BINARY.split())
_GLOB_CHARACTERS = frozenset("*?[")

#: Why a folder and a glob are failures in which nothing was found.
EMPTY_FOLDER = "The folder holds nothing to load."
EMPTY_GLOB = "No file matches the pattern."
MISSING = "There is no such file or folder."
#: Failures of no document: of a name that was mistyped, or of a folder.
NO_DOCUMENT = frozenset({EMPTY_FOLDER, EMPTY_GLOB, MISSING})

StrPath = str | os.PathLike[str]


def discover(
    sources: Iterable[StrPath | Document],
    options: LoadOptions | None = None,
    only: Only | None = None,
) -> Iterator[Source | Document | Failure]:
    """The sources that the arguments stand for, in order, found as the iterator is read.

    A source is a file, a folder (with all that is in it, sorted by name), a glob
    (``docs/**/*.md``; a folder that matches is taken whole, as the shell would), ``-`` for standard
    input, or a Document, which is cleaned and passed on. Folders and globs leave out what
    .gitignore files name, hidden entries, and files whose suffix says that they hold no text.
    What does not exist, matches nothing or is no file is a Failure; nothing is raised. With ``only``,
    what is not in these paths is passed over.
    """
    options = options or LoadOptions()
    given = [sources] if isinstance(sources, str | os.PathLike | Document) else sources
    for source in given:
        if isinstance(source, Document):
            yield _given(source, options)
        elif isinstance(source, str | os.PathLike):
            yield from _find(os.fsdecode(source), options, only)
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


def _find(path: str, options: LoadOptions, only: Only | None) -> Iterator[Source | Failure]:
    if path == "-":
        yield Source(uri=options.stdin_name, path=None)
        return
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        if _GLOB_CHARACTERS.isdisjoint(path) or "\0" in path:
            yield Failure(uri=_safe_uri(path), reason=_missing(exc))
        else:
            yield from _glob(path, options, only)
        return
    if stat.S_ISDIR(mode):
        found = _folder(path, options, only)
        yield from found if only else _nothing_is_failure(path, found, EMPTY_FOLDER)
    elif only is None or only.holds(os.path.abspath(path)):
        yield _file(path, mode)


def _file(path: str, mode: int) -> Source | Failure:
    try:
        refuse_special(mode)
    except UnreadableSource as exc:
        return Failure(uri=path_uri(path), reason=str(exc))
    return Source(uri=path_uri(path), path=os.path.abspath(path))


def _folder(path: str, options: LoadOptions, only: Only | None) -> Iterator[Source | Failure]:
    walk = Walk(options=options, enter=only.enter) if only else Walk(options=options)
    for found in walk.files(os.path.abspath(path)):
        if only is None or only.holds(_path(found)):
            yield from _found(found, options)


def _path(found: str | Failure) -> str:
    return found.uri if isinstance(found, Failure) else found


def _found(found: str | Failure, options: LoadOptions) -> Iterator[Source | Failure]:
    if isinstance(found, Failure):
        yield found
    elif is_known(found, options) or suffix_of(found) not in BINARY_SUFFIXES:
        yield Source(uri=path_uri(found), path=found, named=False)


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


def _glob(pattern: str, options: LoadOptions, only: Only | None) -> Iterator[Source | Failure]:
    root, parts = _split(pattern)
    fixed = parts[: parts.index("**")] if "**" in parts else parts
    matches = matcher(parts)
    start = len(os.path.join(root, ""))

    def enter(folder: str) -> bool:
        names = folder[start:].split(os.sep)
        fits = all(fnmatchcase(name, part) for name, part in zip(names, fixed, strict=False))
        return fits and (only is None or only.enter(folder))

    def matching() -> Iterator[Source | Failure]:
        for found in Walk(options=options, enter=enter).files(root):
            path = _path(found)
            if (only is None or only.holds(path)) and matches(path[start:].replace(os.sep, "/")):
                yield from _found(found, options)

    if not os.path.isdir(root):
        yield Failure(uri=_safe_uri(pattern), reason=f"There is no folder {root}.")
    else:
        yield from matching() if only else _nothing_is_failure(pattern, matching(), EMPTY_GLOB)


def split_glob(path: str) -> tuple[str, list[str]] | None:
    """(the folder that a glob begins in, absolute; its parts below it); None for what is no glob."""
    return None if _GLOB_CHARACTERS.isdisjoint(path) or "\0" in path else _split(path)


def _split(pattern: str) -> tuple[str, list[str]]:
    """(the folder that a glob begins in, absolute; the parts of the pattern below it)"""
    parts = [part for part in pattern.split(os.sep) if part != "."]
    count = next(i for i, part in enumerate(parts) if not _GLOB_CHARACTERS.isdisjoint(part))
    root = os.sep.join(parts[:count]) or (os.sep if pattern.startswith(os.sep) else ".")
    return os.path.abspath(root), [part for part in parts[count:] if part]


def _nothing_is_failure(
    path: str, found: Iterator[Source | Failure], reason: str
) -> Iterator[Source | Failure]:
    empty = True
    for item in found:
        empty = False
        yield item
    if empty:
        yield Failure(uri=_safe_uri(path), reason=reason)


def _missing(exc: OSError | ValueError) -> str:
    if isinstance(exc, FileNotFoundError):
        return MISSING
    return f"The path cannot be read: {getattr(exc, 'strerror', None) or exc}."


def _safe_uri(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "")
