"""Turn files, folders, globs, standard input and given documents into clean Documents.

``read`` does it all; ``discover`` finds the sources and ``load`` reads one, for callers that spread
the work.
"""

from __future__ import annotations

from pgrecall.load.clean import clean_document
from pgrecall.load.discover import discover
from pgrecall.load.options import LoadOptions
from pgrecall.load.reading import load, read
from pgrecall.load.source import Source

__all__ = ["LoadOptions", "Source", "clean_document", "discover", "load", "read"]
