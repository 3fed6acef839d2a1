"""Turn files, folders, globs, standard input and given documents into clean Documents.

``read`` does it all; ``discover`` finds the sources and ``load`` reads one, for callers that spread
the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pgrecall.load.clean import clean_document
from pgrecall.load.detect import with_language
from pgrecall.load.discover import StrPath, discover
from pgrecall.load.dispatch import load
from pgrecall.load.only import Only
from pgrecall.load.options import LoadOptions
from pgrecall.load.source import Source
from pgrecall.types import Document, Failure

__all__ = ["LoadOptions", "Source", "clean_document", "discover", "load", "read"]


def read(
    sources: Iterable[StrPath | Document],
    options: LoadOptions | None = None,
    only: Only | None = None,
) -> Iterator[Document | Failure]:
    """The documents of all sources, and a failure for each that cannot be read; lazily."""
    options = options or LoadOptions()
    for item in discover(sources, options, only):
        if isinstance(item, Source):
            yield from load(item, options)
        elif isinstance(item, Document) and options.detects:
            yield with_language(item)
        else:
            yield item
