"""From a source to its documents: find the format, call its module, clean what comes out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

from pgrecall.errors import InvalidArgument, MissingExtra, UnreadableSource
from pgrecall.load import (
    code,
    epub,
    html,
    image,
    mail,
    markdown,
    notebook,
    odt,
    office,
    pdf,
    rtf,
    tabular,
    text,
)
from pgrecall.load.clean import clean_document, one_line
from pgrecall.load.detect import with_language
from pgrecall.load.options import LoadOptions
from pgrecall.load.sniff import binary_kind
from pgrecall.load.source import OpenFile, Source, open_source, suffix_of
from pgrecall.types import Document, Failure

Loader = Callable[[OpenFile], Iterator[Document | Failure]]

#: Later modules win: .json is code unless it is an array of objects, which tabular finds out.
_LOADERS: dict[str, tuple[Loader, str]] = {
    suffix: (module.load, mime_type)
    for module in (
        *(text, code, markdown, html, pdf, notebook, office, epub, odt, rtf, mail, tabular),
        image,
    )
    for suffix, mime_type in module.SUFFIXES.items()
}
#: Formats that are read in a process of their own, where they can be.
_HEAVY = frozenset(
    module.load for module in (html, pdf, notebook, office, epub, odt, rtf, mail, image)
)
#: Messages attached to messages attached to messages ...
_MAX_DEPTH = 8
#: Longer JSON may be parsed into more objects than memory holds.
_LONG_JSON = 2**20
_ARCHIVES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
#: Formats that are binary by nature, and find out themselves if the content is not theirs.
_CONTAINERS = frozenset(suffix for module in (pdf, office, epub, odt) for suffix in module.SUFFIXES)
#: Documents that nobody here can read: in a folder, they are not passed over in silence as programs are.
_OLD_OFFICE = frozenset({".doc", ".ppt", ".xls"})
#: The first entry of a package says what it is, at this offset (the name of the entry before it).
_MIMETYPE = 30
_PACKAGES = {
    b"mimetype" + mime_type.encode(): suffix
    for module in (epub, odt)
    for suffix, mime_type in module.SUFFIXES.items()
}
# Possessive: comments after comments could else be divided in any number of ways.
_HTML_START = re.compile(
    rb"\s*+(?:<\?xml[^>]*+>\s*+)?+(?:<!--(?:(?!-->).)*+-->\s*+)*+<(?:!doctype html|html)\b",
    re.I | re.S,
)


def load_here(
    source: Source, options: LoadOptions, *, depth: int = 0
) -> Iterator[Document | Failure]:
    """The documents of a source and of what is attached to it, read in this process.

    What cannot be read is a Failure; only MemoryError is raised.
    """
    try:
        if depth > _MAX_DEPTH:
            raise UnreadableSource(f"The file is attached more than {_MAX_DEPTH} times over.")
        file = open_source(source, options)
        with file.stream:
            yield from _documents(file, source)
        for inner in _attached(file):
            for item in load_here(inner, options, depth=depth + 1):
                # What is attached has gone when the file has.
                yield replace(item, source=source.uri)
    except (UnreadableSource, MissingExtra) as exc:
        yield Failure(uri=source.uri, reason=str(exc))
    except OSError as exc:
        yield Failure(uri=source.uri, reason=f"The file cannot be read: {exc.strerror or exc}.")
    except MemoryError:
        raise  # the parser says so
    except Exception as exc:  # whatever a library meets in a file, it costs that file
        detail = one_line(f"{type(exc).__name__}: {exc}", 160)
        reason = f"The file cannot be parsed ({detail}); repair it, or leave it out."
        yield Failure(uri=source.uri, reason=reason)


def _attached(file: OpenFile) -> Iterator[Source]:
    """What is attached, each under a uri of its own; pictures and the like are passed over."""
    names: Counter[str] = Counter()
    for name, data in file.attached:
        names[name] += 1
        stem, dot, suffix = name.rpartition(".")
        again = f"-{names[name]}" if names[name] > 1 else ""
        unique = f"{stem}{again}{dot}{suffix}" if dot else name + again
        uri = f"{file.uri}#{unique}"
        yield Source(uri=uri, path=None, named=False, data=data, name=name)


def is_heavy(name: str, head: bytes, size: int) -> bool:
    """Whether reading may cost much more than its length, or the library is not in Python."""
    suffix = suffix_of(name)
    if suffix == ".json":
        return size > _LONG_JSON
    if suffix in _LOADERS and _LOADERS[suffix][0] in _HEAVY:
        return True
    start = head[:64].lstrip()
    return start.startswith((b"%PDF-", b"{\\rtf")) or bool(
        image.kind(head) or head.startswith(_ARCHIVES) or _HTML_START.match(head[:2048])
    )


def is_known(name: str, options: LoadOptions) -> bool:
    """True if the suffix of the file name says what the format is, and it is to be read."""
    suffix = suffix_of(name)
    return suffix in _LOADERS and (suffix not in image.SUFFIXES or _takes_images(options))


def may_be_scanned(head: bytes) -> bool:
    """Whether OCR may find text in a file that begins so."""
    return _is_pdf(head) or image.kind(head) is not None


def _takes_images(options: LoadOptions) -> bool:
    return bool(options.images) or options.ocr is not None


def _is_pdf(head: bytes) -> bool:
    return head[:64].lstrip().startswith(b"%PDF-")


def _documents(file: OpenFile, source: Source) -> Iterator[Document | Failure]:
    if file.size <= len(file.head) and not file.head.strip():
        if not source.named and _promises_nothing(file.suffix):
            return
        raise UnreadableSource("The file is empty.")
    loader = _loader(file, source)
    if loader is None:
        return
    found = 0
    for found, item in enumerate(loader(file), start=1):  # noqa: B007  # used below
        yield item if isinstance(item, Failure) else _clean(item, file.options)
    if not found and source.named:
        raise UnreadableSource("OCR found no words in the image.")


def _clean(document: Document, options: LoadOptions) -> Document | Failure:
    if len(document.text) > options.max_bytes:
        reason = f"The file holds more text than max_bytes ({options.max_bytes:,}); split it."
        return Failure(uri=document.uri, reason=reason)
    try:
        cleaned = clean_document(document)
        return with_language(cleaned) if options.detects else cleaned
    except InvalidArgument as exc:
        return Failure(uri=document.uri, reason=str(exc))


def _loader(file: OpenFile, source: Source) -> Loader | None:
    """The loader for the file; None: pass over it. Raises UnreadableSource."""
    if _is_pdf(file.head):
        return _as(file, ".pdf")
    if file.head.startswith(b"{\\rtf"):
        return _as(file, ".rtf")
    known = file.suffix in _LOADERS and file.suffix not in image.SUFFIXES
    suffix = image.kind(file.head)
    if _takes_images(file.options) and (suffix or file.suffix in image.SUFFIXES):
        return _as(file, suffix or file.suffix)
    if suffix and not known:
        if not source.named:
            return None
        raise UnreadableSource(image.REFUSED)
    if file.head.startswith(b"PK\x03\x04"):
        for mimetype, suffix in _PACKAGES.items():
            if file.head.startswith(mimetype, _MIMETYPE):
                return _as(file, suffix)
        if suffix := office.kind(file):
            return _as(file, suffix)
    if file.suffix not in _CONTAINERS and (kind := binary_kind(file.head)):
        if not (known or source.named or file.suffix in _OLD_OFFICE):
            return None
        though = ", though its name says text" if known else ""
        remedy = "" if ";" in kind else "; leave it out"
        raise UnreadableSource(f"The file is not text but {kind}{though}{remedy}.")
    return _as(file, file.suffix if known else _text_kind(file.head))


def _as(file: OpenFile, suffix: str) -> Loader:
    loader, file.mime_type = _LOADERS[suffix]
    return loader


def _text_kind(head: bytes) -> str:
    if _HTML_START.match(head[:2048]):
        return ".html"
    return ".sh" if head.startswith(b"#!") else ".txt"


def _promises_nothing(suffix: str) -> bool:
    """Empty ``__init__.py`` and marker files are common and mean no loss."""
    return suffix in code.SUFFIXES or suffix not in _LOADERS
