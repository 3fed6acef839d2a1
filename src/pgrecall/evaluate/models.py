"""Embedding models side by side: each embeds the same documents and is asked the same questions.

Every model gets a throw-away collection, one after the other, so that none slows another down, and what is
measured is what a collection would do: chunks of the model's own tokens, an index, whole searches.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from pgrecall.errors import InvalidArgument
from pgrecall.evaluate.metrics import jaccard, judged_metrics
from pgrecall.evaluate.questions import known_items
from pgrecall.evaluate.report import ModelReport
from pgrecall.evaluate.sample import Evaluation, read_sample, stored_sample
from pgrecall.evaluate.trial import Trial
from pgrecall.flow import Flow, compute
from pgrecall.store import collections, throwaway
from pgrecall.types import Document

#: Pieces of texts that are asked where there are no judgements.
PIECES = 100


def evaluate(
    evaluation: Evaluation, *, collection: str | None = None, sources: Iterable[Any] = ()
) -> Flow[ModelReport]:
    """Compare models on documents of a collection, or on the sources if there is none.

    Raises CollectionNotFound, and what ``evaluate_models`` raises.
    """
    if collection is None:
        found = yield from compute(partial(read_sample, sources, evaluation))
        return (yield from evaluate_models(evaluation, found))
    generation = yield from collections.active(collection)
    found = yield from stored_sample(generation, evaluation)
    return (yield from evaluate_models(evaluation, found, language=generation.language))


def evaluate_models(
    evaluation: Evaluation, sample: Sequence[Document], *, language: str = "english"
) -> Flow[ModelReport]:
    """Compare models on these documents. A model that fails is in the report with its error.

    Leaves nothing in the database, also if it is interrupted; what killed ones left is removed first.
    Raises InvalidArgument if there is no document, MissingExtra if there are judgements and no package to
    compute metrics with.
    """
    if not sample:
        raise InvalidArgument(
            "There is no document to evaluate models on; ingest some, or name files."
        )
    # Said before anything is paid for.
    judged_metrics(evaluation.questions, [[] for _ in evaluation.questions], evaluation.k)
    judged = sum(bool(question.relevant) for question in evaluation.questions)
    pieces = [] if judged else known_items(sample[:PIECES])
    yield from throwaway.sweep()
    trials = []
    for embedder in evaluation.embedders:
        trial = Trial(evaluation, embedder, pieces)
        yield from trial.attempt(sample, language)
        trials.append(trial)
    _compare(trials)
    return ModelReport(
        documents=len(sample),
        questions=len(evaluation.questions) + len(pieces),
        pieces=len(pieces),
        judged=judged,
        absent=len(evaluation.relevant - {document.uri for document in sample}),
        k=evaluation.k,
        mode=evaluation.mode,
        models=tuple(trial.result for trial in trials),
    )


def _compare(trials: Sequence[Trial]) -> None:
    """How far the models that worked agree."""
    for first, second in combinations([t for t in trials if t.result.error is None], 2):
        pairs = zip(first.found, second.found, strict=True)
        shared = float(np.mean([jaccard(a, b) for a, b in pairs]))
        for one, other in ((first, second), (second, first)):
            overlap = {**one.result.overlap, other.result.embedder: shared}
            one.result = replace(one.result, overlap=overlap)
