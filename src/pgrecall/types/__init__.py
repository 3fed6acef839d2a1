"""The values that flow through pgrecall: frozen, compared by value, free of behaviour that needs I/O.

All offsets are code points of the document's text, half open: ``text[start:end]``.
"""

from pgrecall.types.documents import Chunk, Document, DocumentFields, FloatArray, Image, Markup
from pgrecall.types.hits import Around, Citation, Hit, Hits, Mode, Order, Stage, Where
from pgrecall.types.reports import (
    EnqueueReport,
    Failure,
    IngestReport,
    Plan,
    Run,
    RunKind,
    RunState,
)

__all__ = [
    "Around",
    "Chunk",
    "Citation",
    "Document",
    "DocumentFields",
    "EnqueueReport",
    "Failure",
    "FloatArray",
    "Hit",
    "Hits",
    "Image",
    "IngestReport",
    "Markup",
    "Mode",
    "Order",
    "Plan",
    "Run",
    "RunKind",
    "RunState",
    "Stage",
    "Where",
]
