"""Rerankers: a question and texts in, one score a text out. Only this room knows their vendors."""

from __future__ import annotations

from pgrecall.rerank.base import AsyncReranker, Reranker, TokenEncoder, can_await
from pgrecall.rerank.maxsim import MaxSim
from pgrecall.rerank.registry import open_reranker

__all__ = ["AsyncReranker", "MaxSim", "Reranker", "TokenEncoder", "can_await", "open_reranker"]
