"""Embedders: from texts to vectors. Only this room knows the vendors of embedding models."""

from __future__ import annotations

from pgrecall.embed.base import AsyncEmbedder, Embedder, can_await
from pgrecall.embed.registry import open_embedder

__all__ = ["AsyncEmbedder", "Embedder", "can_await", "open_embedder"]
