"""Several questions, one list: rank or score fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias
from uuid import UUID

from pgrecall.refine.reranked import best_first
from pgrecall.types import Hit

#: "rrf" adds up 1 / (60 + rank), "max" takes the best score.
Combine: TypeAlias = Literal["rrf", "max"]

#: Cormack, Clarke and Buettcher, 2009, https://doi.org/10.1145/1571941.1572114
RANK_CONSTANT = 60


def fused(lists: Sequence[Sequence[Hit]], combine: Combine) -> list[Hit]:
    """One list of the hits of several, each once, best first.

    A hit in several lists is the one of its best score. A single list stays as it is.
    """
    if len(lists) == 1:
        return list(lists[0])
    best: dict[tuple[str, UUID, int], Hit] = {}
    ranks: dict[tuple[str, UUID, int], float] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            key = hit.tenant_id, hit.document_id, hit.ordinal
            ranks[key] = ranks.get(key, 0.0) + 1 / (RANK_CONSTANT + rank)
            if key not in best or hit.score > best[key].score:
                best[key] = hit
    if combine == "max":
        return best_first(best.values())
    return best_first(replace(hit, score=ranks[key]) for key, hit in best.items())
