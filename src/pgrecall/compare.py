"""Two generations of a collection side by side: the same questions asked of both."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from pgrecall.errors import GenerationNotFound, InvalidArgument, MissingExtra, UnreadableSource
from pgrecall.flow import Flow
from pgrecall.retrieve import SearchOptions, Target, follow, search_in
from pgrecall.store import generations, queries, recall
from pgrecall.store.collections import Generation
from pgrecall.types import Hit, Hits

#: Questions that are sampled where none are given.
SAMPLE = 50
#: Questions on which the two differ most that a comparison names.
DIFFERING = 10


@dataclass(frozen=True, slots=True)
class JudgedQuestion:
    """A question, and how relevant documents are to it, where that is known."""

    text: str
    #: Uri -> grade: 0 for not relevant, 1 and more for relevant.
    relevant: Mapping[str, int] = field(default_factory=dict)


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


def read_questions(path: str | Path) -> list[JudgedQuestion]:
    """Questions from a file: one a line, or JSON lines such as
    ``{"question": "...", "relevant": ["uri"]}``; ``relevant`` may also map uris to grades.

    Raises UnreadableSource, and InvalidArgument for a line that is neither.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise UnreadableSource(f"The questions in {path} cannot be read: {exc}.") from exc
    found = [_question(line, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise InvalidArgument(f"{path} holds no question: write one a line.")
    return found


def _question(line: str, number: int) -> JudgedQuestion:
    if not line.lstrip().startswith("{"):
        return JudgedQuestion(line.strip())
    try:
        values = json.loads(line)
        relevant = values.get("relevant") or {}
        if isinstance(relevant, list):
            relevant = dict.fromkeys(relevant, 1)
        grades = {str(uri): int(grade) for uri, grade in relevant.items()}
        text = values["question"]
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise InvalidArgument(
            f'Line {number} of the questions is no {{"question": "...", "relevant": ["uri"]}}: {exc!r}.'
        ) from exc
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgument(f"The question of line {number} is empty.")
    return JudgedQuestion(text, grades)


def compare(
    target: Target,
    questions: Sequence[str | JudgedQuestion] | None,
    number: int | None,
    options: SearchOptions,
) -> Flow[Comparison]:
    """Ask the active generation and the one that is being built; without questions, those that were logged
    and pieces of the texts.

    Raises GenerationNotFound if none is being built, MissingExtra if there are judgements and no package
    to compute metrics with.
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
    k = int(options.get("k", 10))
    shared = [_overlap(a, b) for a, b in zip(first.hits, second.hits, strict=True)]
    pairs = [(_uris(a), _uris(b)) for a, b in zip(first.hits, second.hits, strict=True)]
    order = sorted(range(len(asked)), key=lambda n: shared[n])
    return Comparison(
        questions=len(asked),
        judged=sum(bool(q.relevant) for q in asked),
        k=k,
        active=_side(active, asked, first, k),
        candidate=_side(candidate, asked, second, k),
        overlap=float(np.mean(shared)),
        documents_overlap=float(np.mean([_jaccard(a, b) for a, b in pairs])),
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
        metrics=_metrics(asked, answers.hits, k),
    )


def _uris(hits: Sequence[Hit]) -> list[str]:
    """The documents of the hits, best first."""
    return list(dict.fromkeys(hit.uri for hit in hits))


def _jaccard(first: Sequence[str], second: Sequence[str]) -> float:
    union = {*first, *second}
    return len({*first} & {*second}) / len(union) if union else 1.0


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


def _metrics(
    asked: Sequence[JudgedQuestion], hits: Sequence[Sequence[Hit]], k: int
) -> dict[str, float]:
    """Metrics over the questions that have judgements, as trec_eval computes them."""
    judged = [(n, question) for n, question in enumerate(asked) if question.relevant]
    if not judged:
        return {}
    try:
        import ir_measures
        from ir_measures import RR, R, nDCG
    except ModuleNotFoundError as exc:
        raise MissingExtra("Computing metrics from judgements:", "eval") from exc
    qrels = {str(n): dict(question.relevant) for n, question in judged}
    # A document stands where its best chunk does.
    run = {
        str(n): {uri: float(-rank) for rank, uri in enumerate(_uris(hits[n]))} for n, _ in judged
    }
    measures = [nDCG @ k, R @ k, RR @ k]
    found = ir_measures.calc_aggregate(measures, qrels, run)
    return {str(measure): float(found[measure]) for measure in measures}
