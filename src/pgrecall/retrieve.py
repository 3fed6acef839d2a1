"""The read river: a question in, hits or a packed context out.

Everything here is a flow, so that ``Collection`` and ``AsyncCollection`` share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, TypeAlias, TypedDict, TypeVar
from uuid import UUID

import numpy as np

from pgrecall import errors, telemetry
from pgrecall.candidates import CandidateOptions, Refinement, refine
from pgrecall.context import Context, Passage, Span, pack, spans
from pgrecall.embed.base import Embedder
from pgrecall.embed.steps import embed_images, embed_queries
from pgrecall.flow import Flow
from pgrecall.keywords import check_keywords
from pgrecall.rerank import Reranker, open_reranker
from pgrecall.rerank.steps import opened
from pgrecall.store import originals, passages, queries
from pgrecall.store import search as store
from pgrecall.store.collections import Generation
from pgrecall.store.identity import document_id
from pgrecall.store.vectors import single_of
from pgrecall.target import Target, following
from pgrecall.tokens import open_tokenizer
from pgrecall.types import Document, FloatArray, Hit, Hits, Image, Mode, Order, Stage, Where

T = TypeVar("T")

#: A question in words, a picture, or an embedding if the caller has one.
Question: TypeAlias = "str | FloatArray | Image"
#: One question, or several whose hits become one list.
Questions: TypeAlias = "Question | Sequence[Question]"


class SearchOptions(CandidateOptions, total=False):
    """The keywords that ``search`` and ``context`` take."""

    #: How many hits, at most. 10.
    k: int
    #: "hybrid" (default), "vector" or "text".
    mode: Mode
    #: Only chunks whose document's metadata match: {"lang": "en", "year": {"$gte": 2024}}.
    where: Where | None
    #: Only this tenant's documents. None: all that the database role may see.
    tenant_id: str | None
    #: Only documents whose uri starts so.
    uri_prefix: str | None
    #: Only these documents.
    documents: Sequence[UUID] | None
    #: Exact vector search, without the index.
    exact: bool
    #: Share of the truly nearest rows that the index is to find, 0 to 1. None: the collection's, 0.98.
    recall: float | None
    #: Breadth of the index scan, 1 to 1,000, instead of ``recall``.
    ef_search: int | None
    #: Share of the vector arm in a hybrid score, 0 to 1. None: the collection's, 0.5 to 0.7.
    vector_weight: float | None
    #: "convex" (default), "dbsf" or "rrf".
    fusion: str
    #: What the search is for, in words: for models that were trained to follow instructions.
    instruction: str | None
    #: Keep how long each stage took in ``Hits.timings``, and run each arm once more, for its plan and times in
    #: ``Hits.explanation``.
    explain: bool


_POSTGRES = {"db.system.name": "postgresql", "db.operation.name": "SELECT"}
_QUESTION = "A question is a text, an embedding, or a list of these"
#: The options that are not the database's business.
_REFINED = CandidateOptions.__annotations__.keys()
#: With these alone, the answer of the database is the answer.
_PLAIN = SearchOptions.__annotations__.keys() - _REFINED - {"explain"}


def search(target: Target, question: Questions, options: SearchOptions) -> Flow[Hits]:
    """The hits of a question. If the collection switches generations meanwhile, it is asked again."""
    asked = listed(question)
    with _observed(target, options) as span:
        hits = yield from following(target, lambda now: search_in(target, now, asked, options))
        span.set({"pgrecall.hits": len(hits), "pgrecall.strategy": hits.strategy})
    if options.get("mode") != "text":
        words = [question for question in asked if isinstance(question, str)]
        yield from queries.log(target.generation, target.query_log, words)
    return hits


def _observed(target: Target, options: SearchOptions) -> telemetry.Span:
    name = target.generation.collection
    labels = {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": name,
        "pgrecall.mode": options.get("mode", "hybrid"),
    }
    return telemetry.span(f"retrieval {name}", labels, duration="pgrecall.search.duration")


def listed(question: Questions) -> list[Question]:
    """The questions; a list of numbers is one embedding. Raises InvalidArgument if there is none."""
    if isinstance(question, str | Image):
        return [question]
    if not isinstance(question, Sequence | np.ndarray) or isinstance(question, bytes):
        raise errors.InvalidArgument(f"{_QUESTION}, not of type {type(question).__name__}.")
    rows = question if not isinstance(question, np.ndarray) or question.ndim > 1 else [question]
    if len(rows) and isinstance(rows[0], Real):
        return [_embedding(rows)]
    if not len(rows):
        raise errors.InvalidArgument("There is no question; pass one, or a list of at least one.")
    return list(rows)


def _embedding(question: object) -> FloatArray:
    try:
        return single_of(question)  # what overflows is refused where it is sent
    except (TypeError, ValueError) as exc:
        raise errors.InvalidArgument(f"{_QUESTION}, and numbers make an embedding.") from exc


def search_in(
    target: Target, generation: Generation, asked: Sequence[Question], options: SearchOptions
) -> Flow[Hits]:
    """The hits of questions in this generation. Raises GenerationChanged if it is not searched now.

    The target's own may be another one at any moment, if another thread follows the collection there.
    """
    check_keywords(options, SearchOptions)
    if any(isinstance(question, Image) for question in asked):
        asked = yield from _seen(target.embedder_of(generation), asked)
        options = {"mode": "vector", **options}
    if len(asked) == 1 and options.keys() <= _PLAIN:
        (query,) = yield from _queries(target, generation, asked, dict(options))
        return (yield from _asked(generation, query))
    reranker = yield from _reranker(target, options.get("reranker"))
    wanted = Refinement.of({**options, "reranker": reranker})
    if wanted.min_similarity is not None and options.get("mode") == "text":
        raise errors.InvalidArgument(
            "min_similarity is one of vectors, and a text search compares none: leave it out, "
            "or choose another mode."
        )
    given = {name: value for name, value in options.items() if name not in _REFINED}
    explain = given.pop("explain", False)
    pools = wanted.pools(len(asked))
    watch = telemetry.Stopwatch()
    questions = yield from _queries(target, generation, asked, {**given, "k": pools[0]})
    watch.lap("embed")
    words = [question for question in asked if isinstance(question, str)]
    for pool in pools:
        found = []
        for query in questions:
            found.append((yield from _asked(generation, replace(query, k=pool))))
        watch.lap("search")
        hits = yield from refine(generation, found, wanted, words, candidates=pool, watch=watch)
        if hits.complete:
            break
    if explain:
        stages: list[Stage] = []
        for query in questions:
            stages += yield from store.explain(generation, replace(query, k=pool))
        hits.explanation, hits.timings = tuple(stages), watch.laps
    return hits


def _seen(embedder: Embedder, asked: Sequence[Question]) -> Flow[list[Question]]:
    """The questions, pictures among them as embeddings."""
    try:
        images = [question.read() for question in asked if isinstance(question, Image)]
    except OSError as exc:
        raise errors.UnreadableSource(f"The image cannot be read: {exc}.") from exc
    vectors = iter((yield from embed_images(embedder, images)))
    return [next(vectors) if isinstance(question, Image) else question for question in asked]


def _asked(generation: Generation, query: store.Query) -> Flow[Hits]:
    with telemetry.span("SELECT pgrecall.search", _POSTGRES):
        return (yield from store.search(generation, query))


def _reranker(target: Target, given: str | Reranker | None) -> Flow[Reranker | None]:
    """Opened once for each collection that is held: it may be a model that takes seconds to read."""
    if not isinstance(given, str):
        return given and open_reranker(given)
    if given not in target.rerankers:
        target.rerankers[given] = yield from opened(given)
    return target.rerankers[given]


def _queries(
    target: Target, generation: Generation, asked: Sequence[Question], given: dict[str, Any]
) -> Flow[list[store.Query]]:
    """Each question, embedded if the mode wants that: all of them at once."""
    instruction = given.pop("instruction", None)
    query = store.Query(**given)
    mode = query.mode
    words = [question for question in asked if isinstance(question, str)]
    if len(words) < len(asked) and mode != "vector":
        raise errors.InvalidArgument(
            f'A {mode} search needs words; an embedding has mode="vector".'
        )
    if instruction is not None and (mode == "text" or not words):
        raise errors.InvalidArgument(
            "An instruction goes to the embedder, and this search embeds nothing: leave it out."
        )
    store.check_scope(query)  # before anything is paid for
    if mode == "text":
        return [replace(query, text=question) for question in words]
    embedder = target.embedder_of(generation) if words else None
    vectors = iter((yield from embed_queries(embedder, words, instruction)) if embedder else ())
    return [
        replace(query, text=question, embedding=next(vectors))
        if isinstance(question, str)
        else replace(query, embedding=_embedding(question))
        for question in asked
    ]


class SimilarOptions(TypedDict, total=False):
    """The keywords that ``similar`` takes; as in ``SearchOptions``."""

    k: int
    where: Where | None
    tenant_id: str | None


def similar(target: Target, to: Hit | Document | str, options: SimilarOptions) -> Flow[Hits]:
    """The chunks of other documents that are most like a hit, or like a document as a whole.

    Raises DocumentNotFound if the collection has no such document.
    """
    check_keywords(options, SimilarOptions)
    query = store.Query(mode="vector", **options)
    if isinstance(to, Hit):
        identity, chunk = to.document_id, to.ordinal
        return (
            yield from following(target, lambda now: store.similar(now, identity, chunk, query))
        )
    if isinstance(to, str):
        to = Document(uri=to, text="", tenant_id=options.get("tenant_id") or "")
    if not isinstance(to, Document):
        raise errors.InvalidArgument(
            f"similar takes a hit, a document or a uri, not {type(to).__name__}."
        )
    document = document_id(target.generation.collection, to)
    hits = yield from following(target, lambda now: store.similar(now, document, None, query))
    if not hits:
        yield from originals.fetch_document(target.generation, to.uri, to.tenant_id)
    return hits


def context(
    target: Target,
    question: Questions,
    *,
    max_tokens: int,
    tokenizer: str,
    order: Order,
    options: SearchOptions,
) -> Flow[Context]:
    """The best passages within a token budget, with their citations."""
    counter = open_tokenizer(tokenizer)
    if not isinstance(max_tokens, Integral) or max_tokens < 1:
        raise errors.InvalidArgument(
            f"max_tokens must be a whole number of at least 1, not {max_tokens!r}."
        )
    # Chunks are on average half as long as allowed, or more: this many fill the budget.
    per_chunk = max(1, int(target.generation.chunking["max_tokens"]) // 2)
    wanted: SearchOptions = {"k": min(max(8, max_tokens // per_chunk), 200), **options}
    hits = yield from search(target, question, wanted)
    found = yield from _passages(spans(hits))
    packed = pack(found, max_tokens=max_tokens, tokenizer=counter, order=order)
    notes = tuple(hits.notes)
    if found and not packed.citations:
        notes += (f"No passage that was found fits into {max_tokens:,} tokens, not even in part.",)
    return replace(packed, notes=notes)


def _passages(wanted: Sequence[Span]) -> Flow[list[Passage]]:
    """The text of each span; a document that was replaced since the search is left out."""
    places = [(span.tenant_id, span.document_id, span.start, span.end) for span in wanted]
    texts = yield from passages.fetch_texts(places)
    made = [
        Passage(span=span, text=texts[place][0], pages=texts[place][1])
        for span, place in zip(wanted, places, strict=True)
        if place in texts
    ]
    return [passage for passage in made if passage.current]
