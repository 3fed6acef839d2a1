"""What becomes of the candidates of a search before they are hits. Pure: lists of hits in, hits out.

Each module is one operation. All take hits best first, by ``score``, and keep that order where they do
not exist to change it.
"""

from __future__ import annotations

from pgrecall.refine.boost import Boost, Recency, Signal, boosted
from pgrecall.refine.diversity import diversified
from pgrecall.refine.duplicates import deduplicated
from pgrecall.refine.expansion import Extent, Text, expanded, widened
from pgrecall.refine.fusion import fused
from pgrecall.refine.limits import above, per_document
from pgrecall.refine.reranked import reranked

__all__ = [
    "Boost",
    "Extent",
    "Recency",
    "Signal",
    "Text",
    "above",
    "boosted",
    "deduplicated",
    "diversified",
    "expanded",
    "fused",
    "per_document",
    "reranked",
    "widened",
]
