"""pgrecall: documents in, evidence out, and Postgres is the only moving part.

import pgrecall

with pgrecall.connect() as db:
    docs = db.create_collection("handbook", exist_ok=True)
    docs.ingest(["./handbook"])
    docs.search("how do refunds work")
"""

from __future__ import annotations

from pgrecall.chunking import ChunkConfig
from pgrecall.collection import AsyncCollection, Collection
from pgrecall.context import Context
from pgrecall.database import AsyncDatabase, Database, connect, connect_async
from pgrecall.embed import open_embedder
from pgrecall.embed.base import AsyncEmbedder, Embedder
from pgrecall.errors import PgrecallError
from pgrecall.load import LoadOptions
from pgrecall.types import Chunk, Citation, Document, Failure, Hit, Hits, IngestReport

__version__ = "0.1.0"

__all__ = [
    "AsyncCollection",
    "AsyncDatabase",
    "AsyncEmbedder",
    "Chunk",
    "ChunkConfig",
    "Citation",
    "Collection",
    "Context",
    "Database",
    "Document",
    "Embedder",
    "Failure",
    "Hit",
    "Hits",
    "IngestReport",
    "LoadOptions",
    "PgrecallError",
    "connect",
    "connect_async",
    "open_embedder",
]
