"""Documents that come with their chunks and vectors, and the files and stores that hold such."""

from __future__ import annotations

from pgrecall.exchange.documents import EmbeddedChunk, EmbeddedDocument

__all__ = ["EmbeddedChunk", "EmbeddedDocument"]
