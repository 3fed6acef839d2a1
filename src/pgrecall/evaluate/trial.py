"""One model's turn: a throw-away collection is made with it, filled, asked and dropped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median

import numpy as np

from pgrecall.embed import Embedder, known_model, open_embedder
from pgrecall.embed.steps import embed_documents
from pgrecall.errors import DatabaseUnavailable, InvalidArgument
from pgrecall.evaluate.metrics import judged_metrics, known_item_metrics, uris
from pgrecall.evaluate.questions import JudgedQuestion
from pgrecall.evaluate.report import ModelResult
from pgrecall.evaluate.sample import Evaluation
from pgrecall.flow import Flow, compute
from pgrecall.ingest.budget import Budget
from pgrecall.ingest.chunks import chunk
from pgrecall.ingest.embedding import vectorize
from pgrecall.ingest.job import Ingestion, Lane
from pgrecall.ingest.stages import identified
from pgrecall.retrieve import SearchOptions, search_in
from pgrecall.store import documents, graph, indexes, throwaway
from pgrecall.store.prepared import Prepared
from pgrecall.target import Target, new_generation
from pgrecall.types import Chunk, Document, Hits

#: Documents that are embedded and written together.
BATCH = 32
#: Chunks that a model is timed with whose vectors are stored already.
PROBE = 64


@dataclass(slots=True)
class Trial:
    """One model's turn."""

    evaluation: Evaluation
    embedder: str | Embedder
    pieces: Sequence[JudgedQuestion]
    result: ModelResult = field(init=False)
    #: Uris that it found for each question.
    found: list[list[str]] = field(default_factory=list)

    def attempt(self, sample: Sequence[Document], language: str) -> Flow[None]:
        """Fill in ``result`` and ``found``; whatever the model raises becomes the result's error.

        Raises DatabaseUnavailable.
        """
        name = self.embedder if isinstance(self.embedder, str) else self.embedder.name
        self.result = ModelResult(embedder=name)
        collection = throwaway.new_name()
        try:
            embedder = yield from compute(partial(open_embedder, self.embedder))
            self.result = replace(self.result, embedder=embedder.name)
            new = yield from compute(
                partial(new_generation, embedder, self.evaluation.chunking, None)
            )
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
