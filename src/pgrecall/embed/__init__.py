"""Embedders: from texts to vectors. Only this room knows the vendors of embedding models."""

from __future__ import annotations

from pgrecall.embed.base import AsyncEmbedder, Embedder, can_await, takes_images
from pgrecall.embed.declared import declare_embedder
from pgrecall.embed.function import FunctionEmbedder
from pgrecall.embed.models import KnownModel, known_model
from pgrecall.embed.registry import open_embedder, reopen_embedder

__all__ = [
    "AsyncEmbedder",
    "Embedder",
    "FunctionEmbedder",
    "KnownModel",
    "can_await",
    "declare_embedder",
    "known_model",
    "open_embedder",
    "reopen_embedder",
    "takes_images",
]
