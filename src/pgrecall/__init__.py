"""pgrecall: documents in, evidence out, and Postgres is the only moving part.

import pgrecall

with pgrecall.connect() as db:
    docs = db.create_collection("handbook", exist_ok=True)
    docs.ingest(["./handbook"])
    docs.search("how do refunds work")
"""

from __future__ import annotations

import typing

from pgrecall.errors import PgrecallError

if typing.TYPE_CHECKING:
    from pgrecall.answer import Answer, AsyncAnswer, LanguageModel
    from pgrecall.chunking import ChunkConfig
    from pgrecall.collection import AsyncCollection, Collection
    from pgrecall.context import Context, Verification
    from pgrecall.database import AsyncDatabase, Database, connect, connect_async
    from pgrecall.embed import AsyncEmbedder, Embedder, declare_embedder, open_embedder
    from pgrecall.evaluate import (
        Evaluation,
        JudgedQuestion,
        ModelReport,
        ModelResult,
        read_questions,
    )
    from pgrecall.exchange import EmbeddedChunk, EmbeddedDocument
    from pgrecall.ingest import TableSource
    from pgrecall.load import LoadOptions
    from pgrecall.refine import Boost, Recency
    from pgrecall.reindex.compare import Comparison
    from pgrecall.rerank import AsyncReranker, MaxSim, Reranker, TokenEncoder, open_reranker
    from pgrecall.store.storage import Storage
    from pgrecall.transfer import ImportOptions, VectorSource
    from pgrecall.types import (
        Chunk,
        Citation,
        Document,
        EnqueueReport,
        Failure,
        Hit,
        Hits,
        Image,
        IngestReport,
        Plan,
        Run,
    )
    from pgrecall.worker import WorkerOptions
else:
    # Imported at first use (PEP 562): the command line starts before it knows what it needs.
    _NAMES = {
        "answer": ("Answer", "AsyncAnswer", "LanguageModel"),
        "chunking": ("ChunkConfig",),
        "collection": ("AsyncCollection", "Collection"),
        "context": ("Context", "Verification"),
        "database": ("AsyncDatabase", "Database", "connect", "connect_async"),
        "embed": ("AsyncEmbedder", "Embedder", "declare_embedder", "open_embedder"),
        "evaluate": (
            "Evaluation",
            "JudgedQuestion",
            "ModelReport",
            "ModelResult",
            "read_questions",
        ),
        "exchange": ("EmbeddedChunk", "EmbeddedDocument"),
        "ingest": ("TableSource",),
        "load": ("LoadOptions",),
        "refine": ("Boost", "Recency"),
        "reindex.compare": ("Comparison",),
        "rerank": ("AsyncReranker", "MaxSim", "Reranker", "TokenEncoder", "open_reranker"),
        "transfer": ("ImportOptions", "VectorSource"),
        "store.storage": ("Storage",),
        "types": (
            *("Chunk", "Citation", "Document", "EnqueueReport", "Failure", "Hit", "Hits"),
            *("Image", "IngestReport", "Plan", "Run"),
        ),
        "worker": ("WorkerOptions",),
    }
    _ROOMS = {name: room for room, names in _NAMES.items() for name in names}

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in _ROOMS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"pgrecall.{_ROOMS[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AsyncAnswer",
    "AsyncCollection",
    "AsyncDatabase",
    "AsyncEmbedder",
    "AsyncReranker",
    "Boost",
    "Chunk",
    "ChunkConfig",
    "Citation",
    "Collection",
    "Comparison",
    "Context",
    "Database",
    "Document",
    "EmbeddedChunk",
    "EmbeddedDocument",
    "Embedder",
    "EnqueueReport",
    "Evaluation",
    "Failure",
    "Hit",
    "Hits",
    "Image",
    "ImportOptions",
    "IngestReport",
    "JudgedQuestion",
    "LanguageModel",
    "LoadOptions",
    "MaxSim",
    "ModelReport",
    "ModelResult",
    "PgrecallError",
    "Plan",
    "Recency",
    "Reranker",
    "Run",
    "Storage",
    "TableSource",
    "TokenEncoder",
    "VectorSource",
    "Verification",
    "WorkerOptions",
    "connect",
    "connect_async",
    "declare_embedder",
    "open_embedder",
    "open_reranker",
    "read_questions",
]
