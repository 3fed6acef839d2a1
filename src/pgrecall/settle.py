"""After a run: indexes and statistics, and how much of the truth the index finds. A flow that composes
``embed`` and ``store``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from pgrecall import telemetry
from pgrecall.embed.base import Embedder
from pgrecall.embed.declared import DeclaredEmbedder
from pgrecall.embed.steps import embed_queries
from pgrecall.errors import (
    CredentialsMissing,
    EmbeddingError,
    InvalidArgument,
    MissingExtra,
    PgrecallError,
)
from pgrecall.flow import Flow
from pgrecall.store import graph, indexes, queries, recall
from pgrecall.store.collections import Generation
from pgrecall.store.recall import RecallReport
from pgrecall.store.together import together
from pgrecall.store.vectors import storable
from pgrecall.types import FloatArray

logger = logging.getLogger(__name__)


def settle(
    generation: Generation,
    embedder: Callable[[], Embedder],
    *,
    written: int,
    afford: Callable[[int], bool] = lambda tokens: True,
) -> Flow[None]:
    """After a run that wrote so many chunks: indexes, statistics, and the recall if it is due.

    ``afford`` says whether so many tokens may be spent on that.
    """
    with telemetry.span("pgrecall.ingest.settle", {"pgrecall.collection": generation.collection}):
        built = yield from graph.build(generation)
        statistics = indexes.settle(generation, written=written)
        measurement = _measure(generation, embedder, afford)
        if built:
            yield from together(statistics, measurement)
            return
        yield from statistics
        if (yield from graph.outgrown(generation)) and not (yield from graph.rebuild(generation)):
            logger.warning(
                "%s: its index was not built anew, since somebody kept reading; optimize() does it.",
                generation.collection,
            )
        yield from measurement


def _measure(
    generation: Generation, embedder: Callable[[], Embedder], afford: Callable[[int], bool]
) -> Flow[None]:
    """The recall, if it is due."""
    questions = yield from recall.due(generation)
    if not questions:
        return
    try:
        yield from measure_recall(generation, embedder(), questions=questions, afford=afford)
    except (CredentialsMissing, MissingExtra) as exc:
        # As where vectors are made elsewhere: those who search have the embedder.
        logger.info("%s: recall measured without questions: %s", generation.collection, exc)
        yield from recall.measure(generation, None, stand_ins=questions)
    except (EmbeddingError, InvalidArgument) as exc:
        # Everything is stored and searchable; it is measured after the next run.
        logger.warning("The recall of %s was not measured: %s", generation.collection, exc)


def measure_recall(
    generation: Generation,
    embedder: Embedder,
    *,
    questions: int,
    afford: Callable[[int], bool] = lambda tokens: True,
) -> Flow[RecallReport]:
    """Measure with so many questions: logged ones, at most half, and pieces of the stored texts.

    Where the embedder is only a name, or finds no words in them, with stand-ins for questions, made of stored
    vectors. Raises InvalidArgument where all is exact, EmbeddingError if the embedder fails, or ``afford``
    refuses the tokens of the questions.
    """
    if isinstance(embedder, DeclaredEmbedder):
        return (yield from recall.measure(generation, None, stand_ins=questions))
    logged = yield from queries.logged(generation, questions // 2)
    asked = logged + (yield from recall.questions(generation, questions - len(logged)))
    if not afford(sum(map(embedder.tokenizer.count, asked))):
        raise EmbeddingError("The budget has nothing left for its questions.")
    embeddings = (yield from _embedded(embedder, asked)) if asked else []
    usable = [each for each in embeddings if storable(each, generation.storage.element)]
    if not usable:
        return (yield from recall.measure(generation, None, stand_ins=questions))
    report = yield from recall.measure(generation, usable)
    return replace(report, logged=len(logged))


def _embedded(embedder: Embedder, asked: Sequence[str]) -> Flow[Sequence[FloatArray]]:
    """The questions as vectors. Raises EmbeddingError for whatever an embedder of the user's own may raise."""
    try:
        return (yield from embed_queries(embedder, asked))
    except PgrecallError:
        raise
    except Exception as exc:
        raise EmbeddingError(
            f"{embedder.name} embeds no questions: {type(exc).__name__}: {exc}"
        ) from exc
