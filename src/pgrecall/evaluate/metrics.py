"""Measures of what a search found, over documents: a document stands where its best chunk does."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import numpy as np

from pgrecall.errors import MissingExtra
from pgrecall.evaluate.questions import JudgedQuestion
from pgrecall.types import Hit


def uris(hits: Sequence[Hit]) -> list[str]:
    """The documents of the hits, best first."""
    return list(dict.fromkeys(hit.uri for hit in hits))


def jaccard(first: Sequence[str], second: Sequence[str]) -> float:
    """Share of the documents of both that are on both; 1 if there are none."""
    union = {*first, *second}
    return len({*first} & {*second}) / len(union) if union else 1.0


def judged_metrics(
    asked: Sequence[JudgedQuestion], hits: Sequence[Sequence[Hit]], k: int
) -> dict[str, float]:
    """nDCG, recall and reciprocal rank at k over the questions that have judgements, as trec_eval computes
    them; empty if none has. Raises MissingExtra.
    """
    judged = [(n, question) for n, question in enumerate(asked) if question.relevant]
    if not judged:
        return {}
    try:
        import ir_measures
        from ir_measures import RR, R, nDCG
    except ModuleNotFoundError as exc:
        raise MissingExtra("Computing metrics from judgements:", "eval") from exc
    qrels = {str(n): dict(question.relevant) for n, question in judged}
    run = {str(n): {uri: float(-rank) for rank, uri in enumerate(uris(hits[n]))} for n, _ in judged}
    measures = [nDCG @ k, R @ k, RR @ k]
    found = ir_measures.calc_aggregate(measures, qrels, run)
    return {str(measure): float(found[measure]) for measure in measures}


def known_item_metrics(
    asked: Sequence[JudgedQuestion], hits: Sequence[Sequence[Hit]], k: int
) -> dict[str, float]:
    """The same where one document answers each question; empty without questions."""
    if not asked:
        return {}
    ranks = [
        next((rank for rank, uri in enumerate(uris(found)[:k], 1) if uri in question.relevant), 0)
        for question, found in zip(asked, hits, strict=True)
    ]
    return {
        f"nDCG@{k}": float(np.mean([1 / log2(rank + 1) if rank else 0.0 for rank in ranks])),
        f"R@{k}": float(np.mean([rank > 0 for rank in ranks])),
        f"RR@{k}": float(np.mean([1 / rank if rank else 0.0 for rank in ranks])),
    }
