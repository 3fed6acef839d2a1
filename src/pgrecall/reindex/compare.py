"""Two generations of a collection side by side: the same questions asked of both."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from pgrecall.errors import GenerationNotFound, InvalidArgument
from pgrecall.evaluate.metrics import jaccard, judged_metrics, uris
from pgrecall.evaluate.questions import JudgedQuestion
from pgrecall.flow import Flow
from pgrecall.retrieve import SearchOptions, search_in
from pgrecall.store import generations, originals, queries, recall
from pgrecall.store.collections import Generation
from pgrecall.target import Target, follow
from pgrecall.types import Hit, Hits

#: Questions that are sampled where none are given.
SAMPLE = 50
#: Questions on which the two differ most that a comparison names.
DIFFERING = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """How one generation answered."""

    generation_id: int
    embedder: str
    chunking: Mapping[str, Any]
    #: Milliseconds from the question to its hits, embedding included.
    p50_ms: float
    p95_ms: float
    #: nDCG@k, recall@k and reciprocal rank over documents, where there are judgements.
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The active generation and another one."""

    questions: int
    judged: int
    #: Documents that judgements call relevant and the collection does not have: no search can find them.
    absent: int
    k: int
    active: Side
    candidate: Side
    #: Mean share of the hits of one side that share text with a hit of the other.
    overlap: float
    #: Mean share of the documents of both sides that are on both.
    documents_overlap: float
    #: Share of questions whose best hits are of the same document.
    same_first: float
    #: Where they differ most: (question, overlap), the smallest overlap first.
    differing: tuple[tuple[str, float], ...]


def compare(
    target: Target,
    questions: Sequence[str | JudgedQuestion] | None,
    number: int | None,
    options: SearchOptions,
) -> Flow[Comparison]:
    """Ask the active generation and the one that is being built, or that of the number, the same questions.

    Without questions, those that were logged and pieces of the texts. Raises GenerationNotFound if none is
    being built, InvalidArgument if there is nothing to ask, MissingExtra if there are judgements and no
    package to compute metrics with.
    """
    active = yield from follow(target)
    candidate = yield from _candidate(active, number)
    if questions is None:
        logged = yield from queries.logged(active, SAMPLE)
        questions = logged + (yield from recall.questions(active, SAMPLE - len(logged)))
    asked = [q if isinstance(q, JudgedQuestion) else JudgedQuestion(q) for q in questions]
    if not asked:
        raise InvalidArgument("There is nothing to ask: the collection is empty, or no question.")
    first = yield from _ask(target, active, asked, options)
    second = yield from _ask(target, candidate, asked, options)
    relevant = {uri for q in asked for uri, grade in q.relevant.items() if grade > 0}
    k = int(options.get("k", 10))
    shared = [_overlap(a, b) for a, b in zip(first.hits, second.hits, strict=True)]
    pairs = [(uris(a), uris(b)) for a, b in zip(first.hits, second.hits, strict=True)]
    order = sorted(range(len(asked)), key=lambda n: shared[n])
    return Comparison(
        questions=len(asked),
        judged=sum(bool(q.relevant) for q in asked),
        absent=len(relevant - (yield from originals.stored(active, relevant))),
        k=k,
        active=_side(active, asked, first, k),
        candidate=_side(candidate, asked, second, k),
        overlap=float(np.mean(shared)),
        documents_overlap=float(np.mean([jaccard(a, b) for a, b in pairs])),
        same_first=float(np.mean([a[:1] == b[:1] for a, b in pairs])),
        differing=tuple((asked[n].text, shared[n]) for n in order[:DIFFERING] if shared[n] < 1),
    )


def _candidate(active: Generation, number: int | None) -> Flow[Generation]:
    if number is not None:
        found = yield from generations.numbered(active.collection, number)
    else:
        begun = yield from generations.unfinished(active.collection_id)
        if begun is None:
            raise GenerationNotFound(
                f'There is nothing to compare: no generation of "{active.collection}" is being built.'
            )
        found = begun
    return found


@dataclass(frozen=True, slots=True)
class _Answers:
    hits: list[Hits]
    milliseconds: list[float]


def _ask(
    target: Target, generation: Generation, asked: Sequence[JudgedQuestion], options: SearchOptions
) -> Flow[_Answers]:
    # Once for nothing: the first search loads a model and warms caches.
    yield from search_in(target, generation, [asked[0].text], options)
    answers = _Answers([], [])
    for question in asked:
        began = time.perf_counter()
        answers.hits.append((yield from search_in(target, generation, [question.text], options)))
        answers.milliseconds.append(1000 * (time.perf_counter() - began))
    return answers


def _side(
    generation: Generation, asked: Sequence[JudgedQuestion], answers: _Answers, k: int
) -> Side:
    return Side(
        generation_id=generation.generation_id,
        embedder=generation.embedder,
        chunking=generation.chunking,
        p50_ms=median(answers.milliseconds),
        p95_ms=float(np.quantile(answers.milliseconds, 0.95)),
        metrics=judged_metrics(asked, answers.hits, k),
    )


def _overlap(first: Sequence[Hit], second: Sequence[Hit]) -> float:
    """Mean share of the hits of each side that share text with one of the other; 1 if there are none."""
    hits = [*((hit, second) for hit in first), *((hit, first) for hit in second)]
    return float(np.mean([_met(hit, others) for hit, others in hits])) if hits else 1.0


def _met(hit: Hit, others: Sequence[Hit]) -> bool:
    return any(
        hit.document_id == other.document_id
        and hit.tenant_id == other.tenant_id
        and hit.start < other.end
        and other.start < hit.end
        for other in others
    )
