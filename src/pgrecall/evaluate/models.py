"""Embedding models side by side: each embeds the same documents and is asked the same questions.

Every model gets a throw-away collection, one after the other, so that none slows another down, and what is
measured is what a collection would do: chunks of the model's own tokens, an index, whole searches.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from pgrecall.chunking import ChunkConfig
from pgrecall.embed import Embedder, known_model, open_embedder
from pgrecall.embed.steps import embed_documents
from pgrecall.errors import DatabaseUnavailable, InvalidArgument
from pgrecall.evaluate.metrics import jaccard, judged_metrics, known_item_metrics, uris
from pgrecall.evaluate.questions import JudgedQuestion, known_items
from pgrecall.evaluate.report import ModelReport, ModelResult
from pgrecall.flow import Flow, compute
from pgrecall.ingest.budget import Budget
from pgrecall.ingest.job import Ingestion, Lane
from pgrecall.ingest.stages import chunk, identified, vectorize
from pgrecall.load import read
from pgrecall.retrieve import SearchOptions, search_in
from pgrecall.store import collections, documents, filling, graph, indexes, throwaway
from pgrecall.store.collections import Generation, NewGeneration
from pgrecall.store.prepared import Prepared
from pgrecall.store.storage import Storage
from pgrecall.target import Target
from pgrecall.types import Chunk, Document, Failure, Hits

logger = logging.getLogger(__name__)

#: Documents that are embedded and written together.
BATCH = 32
#: Pieces of texts that are asked where there are no judgements.
PIECES = 100
#: Chunks that a model is timed with whose vectors are stored already.
PROBE = 64

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What models are compared on."""

    embedders: Sequence[str | Embedder]
    #: With ``relevant`` where that is known. Empty: pieces of the texts.
    questions: Sequence[JudgedQuestion] = ()
    #: Documents at most; all that have judgements are among them.
    sample: int = 1000
    #: Hits of each question.
    k: int = 10
    #: "vector" compares the models; "hybrid" what users get.
    mode: str = "vector"
    #: None: each model's usual.
    chunking: ChunkConfig | None = None
    #: Called with the model and how many documents it has done, of how many.
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if not self.embedders:
            raise InvalidArgument("Name at least one embedder to evaluate.")
        if self.sample < 1 or not 1 <= self.k <= 1000:
            raise InvalidArgument("The sample is at least 1 document, and k is 1 to 1,000.")
        if self.mode not in ("vector", "hybrid"):
            raise InvalidArgument(f'mode is "vector" or "hybrid", not {self.mode!r}.')

    @property
    def relevant(self) -> set[str]:
        """The documents that answer a question."""
        return {uri for q in self.questions for uri, grade in q.relevant.items() if grade > 0}


def stored_sample(generation: Generation, evaluation: Evaluation) -> Flow[list[Document]]:
    """Documents of a collection to compare models on."""
    keys = yield from throwaway.sample(generation, evaluation.relevant, evaluation.sample)
    found = yield from filling.stored(generation, keys)
    by_key = {item.key: item.document for item in found}
    return [by_key[key] for key in keys if key in by_key]


def read_sample(sources: Iterable[Any], evaluation: Evaluation) -> list[Document]:
    """Documents of files, folders or given ones: those with judgements, and the first of the others."""
    relevant = evaluation.relevant
    judged: list[Document] = []
    others: list[Document] = []
    for item in read(sources):
        if isinstance(item, Failure):
            logger.warning("%s is not in the sample: %s", item.uri, item.reason)
        elif item.uri in relevant:
            judged.append(item)
        elif len(others) < evaluation.sample:
            others.append(item)
        if not relevant and len(others) == evaluation.sample:
            break
    return judged + others[: max(0, evaluation.sample - len(judged))]


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
        trial = _Trial(evaluation, embedder, pieces)
        yield from trial.attempt(sample, language)
        trials.append(trial)
    _compare(trials)
    return ModelReport(
        documents=len(sample),
        questions=len(evaluation.questions) + len(pieces),
        judged=judged,
        absent=len(evaluation.relevant - {document.uri for document in sample}),
        k=evaluation.k,
        mode=evaluation.mode,
        models=tuple(trial.result for trial in trials),
    )


@dataclass(slots=True)
class _Trial:
    """One model's turn."""

    evaluation: Evaluation
    embedder: str | Embedder
    pieces: Sequence[JudgedQuestion]
    result: ModelResult = field(init=False)
    #: Uris that it found for each question.
    found: list[list[str]] = field(default_factory=list)

    def attempt(self, sample: Sequence[Document], language: str) -> Flow[None]:
        name = self.embedder if isinstance(self.embedder, str) else self.embedder.name
        self.result = ModelResult(embedder=name)
        collection = throwaway.new_name()
        try:
            embedder = yield from compute(partial(open_embedder, self.embedder))
            self.result = replace(self.result, embedder=embedder.name)
            new = yield from compute(partial(_generation, embedder, self.evaluation.chunking))
            generation = yield from throwaway.create(collection, new, language=language)
            yield from self._measure(Lane(generation, embedder), sample)
        except DatabaseUnavailable:
            raise
        except Exception as exc:
            # Whatever an embedder of somebody's own raises: the others go on.
            self.result = ModelResult(
                embedder=self.result.embedder, error=str(exc) or type(exc).__name__
            )
        finally:
            yield from throwaway.drop(collection)

    def _measure(self, lane: Lane, sample: Sequence[Document]) -> Flow[None]:
        generation, embedder = lane.generation, lane.embedder
        # For nothing: a model is loaded, a connection made.
        yield from compute(partial(embedder.embed_query, "warm"))
        budget = Budget.of(embedder.name, None, None)
        job = Ingestion(lane=lane, into_ledger=False, budget=budget)
        tokens = 0
        probe: list[Chunk] = []
        began = time.perf_counter()
        for batch in _batches(sample):
            yield from throwaway.touch(generation.collection)
            done = yield from _take_in(job, batch)
            pieces = [piece for item in done for piece in item.chunks]
            tokens += sum(piece.tokens for piece in pieces)
            if len(probe) < PROBE and not any(item.document.media for item in done):
                probe += pieces[: PROBE - len(probe)]
            self._tell(job, len(sample))
        seconds = time.perf_counter() - began
        report = job.report
        if not report.new:
            raise InvalidArgument(f"None of the documents went in: {report.failed[0].reason}")
        yield from graph.build(generation)
        yield from indexes.settle(generation, written=report.chunks)
        speed: float | None = report.new / seconds
        if 2 * report.embedded < report.chunks:
            # Most vectors were stored already, so that took no time.
            speed = yield from _speed(embedder, probe, report.chunks / report.new)
        self._note(job, tokens, speed)
        self.result = replace(self.result, bytes=(yield from throwaway.size(generation)))
        yield from self._ask(Target(generation, embedder))

    def _tell(self, job: Ingestion, documents: int) -> None:
        done = job.report.new + len(job.report.failed)
        if self.evaluation.progress is not None:
            self.evaluation.progress(self.result.embedder, done, documents)

    def _note(self, job: Ingestion, tokens: int, speed: float | None) -> None:
        report, model = job.report, known_model(job.embedder.name)
        price = None if model is None else model.price
        self.result = replace(
            self.result,
            dimensions=job.generation.dimensions,
            documents=report.new,
            failed=len(report.failed),
            chunks=report.chunks,
            tokens=tokens,
            documents_per_second=speed,
            cost=job.budget.cost(tokens),
            price=price,
            price_source=None if model is None else model.price_source or model.source,
        )

    def _ask(self, target: Target) -> Flow[None]:
        evaluation = self.evaluation
        asked = [*evaluation.questions, *self.pieces]
        options: SearchOptions = {"k": evaluation.k, "mode": evaluation.mode}  # type: ignore[typeddict-item]
        hits: list[Hits] = []
        milliseconds = []
        for question in asked:
            yield from throwaway.touch(target.generation.collection)
            began = time.perf_counter()
            hits.append((yield from search_in(target, target.generation, [question.text], options)))
            milliseconds.append(1000 * (time.perf_counter() - began))
        self.found = [uris(one) for one in hits]
        given = len(evaluation.questions)
        self.result = replace(
            self.result,
            metrics=judged_metrics(evaluation.questions, hits[:given], evaluation.k)
            or known_item_metrics(self.pieces, hits[given:], evaluation.k),
            p50_ms=median(milliseconds),
            p95_ms=float(np.quantile(milliseconds, 0.95)),
        )


def _generation(embedder: Embedder, chunking: ChunkConfig | None) -> NewGeneration:
    chunking = chunking or ChunkConfig.within(embedder.max_tokens)
    if chunking.max_tokens > embedder.max_tokens:
        raise InvalidArgument(
            f"{embedder.name} takes at most {embedder.max_tokens:,} tokens, and the chunks have "
            f"{chunking.max_tokens:,}."
        )
    return NewGeneration(
        embedder=embedder.name,
        dimensions=embedder.dimensions,
        chunking=chunking.to_dict(),
        storage=Storage().of(embedder.dimensions, embedder.name),
    )


def _batches(sample: Sequence[Document]) -> Iterator[Sequence[Document]]:
    for start in range(0, len(sample), BATCH):
        yield sample[start : start + BATCH]


def _take_in(job: Ingestion, batch: Sequence[Document]) -> Flow[list[Prepared]]:
    """Take documents in; those that went in."""
    group = [identified(job.generation, document) for document in batch]
    for item in group:
        yield from compute(partial(chunk, job, item))
    done = yield from vectorize(job, group)
    if done:
        yield from documents.write(job.generation, done)
    job.written(done)
    return done


def _speed(embedder: Embedder, probe: Sequence[Chunk], per_document: float) -> Flow[float | None]:
    """Documents per second, from some chunks that are embedded for nothing; None without any."""
    if not probe:
        return None
    began = time.perf_counter()
    yield from embed_documents(embedder, [piece.embedded_text for piece in probe])
    return len(probe) / (time.perf_counter() - began) / per_document


def _compare(trials: Sequence[_Trial]) -> None:
    """How far the models that worked agree."""
    for first, second in combinations([t for t in trials if t.result.error is None], 2):
        pairs = zip(first.found, second.found, strict=True)
        shared = float(np.mean([jaccard(a, b) for a, b in pairs]))
        for one, other in ((first, second), (second, first)):
            overlap = {**one.result.overlap, other.result.embedder: shared}
            one.result = replace(one.result, overlap=overlap)
