"""Read sources in order: light ones here, heavy ones in parsers, some of them ahead of the reader."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from pgrecall.errors import UnreadableSource
from pgrecall.load.detect import with_language
from pgrecall.load.discover import Note, StrPath, discover
from pgrecall.load.dispatch import is_heavy, load_here, may_be_scanned
from pgrecall.load.only import Only
from pgrecall.load.options import LoadOptions
from pgrecall.load.pool import AVAILABLE, Parsing, pool
from pgrecall.load.source import Source, open_source
from pgrecall.longtext import in_memory
from pgrecall.types import Document, Failure

#: Sources that are looked at ahead of the one that is read, so that parsers have work.
_LOOK_AHEAD = 16

Found = Source | Document | Failure | Parsing


def read(
    sources: Iterable[StrPath | Document],
    options: LoadOptions | None = None,
    only: Only | None = None,
    *,
    in_parts: bool = False,
    note: Note | None = None,
) -> Iterator[Document | Failure]:
    """The documents of all sources, and a failure for each that cannot be read; lazily, in order.

    Bad input never raises. PDFs and other formats whose parsers may crash or take long are read in
    processes of their own, several at a time. With ``only``, what is not in these paths is passed over;
    with ``in_parts``, long texts come as LongDocuments. ``note`` is told what was passed over.
    """
    options = options or LoadOptions()
    for item in _read(discover(sources, options, only, note), options):
        yield item if in_parts else in_memory(item)


def _read(
    discovered: Iterable[Source | Document | Failure], options: LoadOptions
) -> Iterator[Document | Failure]:
    waiting: deque[Found] = deque()
    try:
        for item in discovered:
            waiting.append(_prepared(item, options) if isinstance(item, Source) else item)
            # Nothing is held back unless a parser can work on what comes after it.
            if not any(isinstance(found, Parsing) for found in waiting):
                yield from _documents(waiting.popleft(), options)
                continue
            _begin(waiting, options)
            if len(waiting) > _LOOK_AHEAD:
                yield from _documents(waiting.popleft(), options)
        while waiting:
            _begin(waiting, options)
            yield from _documents(waiting.popleft(), options)
    finally:
        for found in waiting:
            if isinstance(found, Parsing):
                found.close()


def load(source: Source, options: LoadOptions | None = None) -> Iterator[Document | Failure]:
    """The documents of one source; a failure, with its reason, for what cannot be read.

    Files are one document; files of rows are one for each row, read as the iterator is. Bad input
    never raises. A file that was found in a folder (``source.named`` is false) is passed over
    without a word if its name promises nothing and its content is no text, or if it is an empty
    file of source code.
    """
    options = options or LoadOptions()
    yield from map(in_memory, _documents(_prepared(source, options), options))


def _prepared(source: Source, options: LoadOptions) -> Source | Parsing | Failure:
    if not AVAILABLE:
        return source
    try:
        file = open_source(source, options)
    except UnreadableSource as exc:
        return Failure(uri=source.uri, reason=str(exc))
    except OSError as exc:
        return Failure(uri=source.uri, reason=f"The file cannot be read: {exc.strerror or exc}.")
    with file.stream:
        if source.path is None and source.data is None:  # standard input can be read only once
            source = source.with_data(file.stream)
    heavy = is_heavy(file.name, file.head, file.size)
    if options.ocr is not None and may_be_scanned(file.head):
        options = replace(options, parse_seconds=options.parse_seconds + options.ocr_seconds)
    return Parsing(source, options) if heavy else source


def _begin(waiting: Iterable[Found], options: LoadOptions) -> None:
    limit = options.parsers or os.cpu_count() or 1
    for found in waiting:
        if isinstance(found, Parsing):
            if not found.begun and pool.is_full(limit):
                return
            with suppress(OSError):  # said when it is the source's turn
                found.begin()


def _documents(found: Found, options: LoadOptions) -> Iterator[Document | Failure]:
    if isinstance(found, Source):
        yield from load_here(found, options)
    elif isinstance(found, Parsing):
        yield from found
    elif isinstance(found, Document) and options.detects:
        yield with_language(found)
    else:
        yield found
