"""From a source to its documents: find the format, call its module, clean what comes out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pgrecall.errors import InvalidArgument, MissingExtra, UnreadableSource
from pgrecall.load import code, html, markdown, notebook, office, pdf, tabular, text
from pgrecall.load.clean import clean_document
from pgrecall.load.detect import with_language
from pgrecall.load.options import LoadOptions
from pgrecall.load.sniff import binary_kind
from pgrecall.load.source import OpenFile, Source, open_source, suffix_of
from pgrecall.types import Document, Failure

Loader = Callable[[OpenFile], Iterator[Document | Failure]]

#: Later modules win: .json is code unless it is an array of objects, which tabular finds out.
_LOADERS: dict[str, tuple[Loader, str]] = {
    suffix: (module.load, mime_type)
    for module in (text, code, markdown, html, pdf, notebook, office, tabular)
    for suffix, mime_type in module.SUFFIXES.items()
}
#: Formats that are binary by nature, and find out themselves if the content is not theirs.
_CONTAINERS = frozenset(pdf.SUFFIXES) | frozenset(office.SUFFIXES)
_HTML_START = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype html|html)\b", re.I | re.S
)


def load(source: Source, options: LoadOptions | None = None) -> Iterator[Document | Failure]:
    """The documents of a source; a failure, with its reason, for what cannot be read.

    Files are one document; files of rows are one for each row, read as the iterator is. Bad input
    never raises. A file that was found in a folder (``source.named`` is false) is passed over
    without a word if its name promises nothing and its content is no text, or if it is an empty
    file of source code.
    """
    try:
        file = open_source(source, options or LoadOptions())
        with file.stream:
            yield from _documents(file, source)
    except (UnreadableSource, MissingExtra) as exc:
        yield Failure(uri=source.uri, reason=str(exc))
    except OSError as exc:
        yield Failure(uri=source.uri, reason=f"The file cannot be read: {exc.strerror or exc}.")


def load_open(file: OpenFile, source: Source) -> Iterator[Document | Failure]:
    """As ``load``, from what is open already."""
    try:
        yield from _documents(file, source)
    except (UnreadableSource, MissingExtra) as exc:
        yield Failure(uri=source.uri, reason=str(exc))


def is_known(name: str) -> bool:
    """True if the suffix of the file name says what the format is."""
    return suffix_of(name) in _LOADERS


def _documents(file: OpenFile, source: Source) -> Iterator[Document | Failure]:
    if file.size <= len(file.head) and not file.head.strip():
        if not source.named and _promises_nothing(file.suffix):
            return
        raise UnreadableSource("The file is empty.")
    loader = _loader(file, source)
    if loader is not None:
        for item in loader(file):
            yield item if isinstance(item, Failure) else _clean(item, file.options)


def _clean(document: Document, options: LoadOptions) -> Document | Failure:
    try:
        cleaned = clean_document(document)
        return with_language(cleaned) if options.detects else cleaned
    except InvalidArgument as exc:
        return Failure(uri=document.uri, reason=str(exc))


def _loader(file: OpenFile, source: Source) -> Loader | None:
    """The loader for the file; None: pass over it. Raises UnreadableSource."""
    if file.head[:64].lstrip().startswith(b"%PDF-"):
        return _as(file, ".pdf")
    if file.head.startswith(b"PK\x03\x04") and (suffix := office.kind(file)):
        return _as(file, suffix)
    known = file.suffix in _LOADERS
    if file.suffix not in _CONTAINERS and (kind := binary_kind(file.head)):
        if not known and not source.named:
            return None
        though = ", though its name says text" if known else ""
        raise UnreadableSource(f"The file is not text but {kind}{though}; leave it out.")
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
