"""From the candidates of a search to its hits. A flow that composes ``refine``, ``rerank`` and ``store``.

threshold -> fusion of several questions -> rerank -> boost -> duplicates -> diversity
-> so many per document -> k -> more of the document's text
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from numbers import Integral, Real
from typing import Any, TypedDict, get_args

from pgrecall.errors import InvalidArgument
from pgrecall.flow import Flow
from pgrecall.refine import (
    Extent,
    Signal,
    above,
    boosted,
    deduplicated,
    diversified,
    expanded,
    fused,
    per_document,
    reranked,
    widened,
)
from pgrecall.refine.fusion import Combine
from pgrecall.rerank import Reranker
from pgrecall.rerank.steps import rerank
from pgrecall.store import neighbourhood, passages
from pgrecall.store.collections import Generation
from pgrecall.telemetry import Stopwatch
from pgrecall.types import Around, Hit, Hits

logger = logging.getLogger(__name__)

#: The most rows that the database is asked for.
MOST = 10_000
#: Where limits leave fewer than k hits, so many times as many rows are looked at, and so many times again.
WIDER = 4
#: What ``deduplicate=True`` takes for the same: nine tenths of the word triples.
RESEMBLANCE = 0.9
#: Chunks on each side, unless ``expand_by`` says how many.
REACH: Mapping[str, int] = {"neighbours": 1, "section": 8}


class CandidateOptions(TypedDict, total=False):
    """The keywords of ``search`` and ``context`` that work on what the search has found."""

    #: How many rows are looked at to choose k of them. None: 100, or 4 k if that is more, and up to 16 times
    #: as many where these do not hold k hits, unless a reranker reads them; k where nothing below is asked for.
    candidates: int | None
    #: Only hits with at least this ``vector_score``: with the cosine metric, -1 to 1.
    min_similarity: float | None
    #: What reads question and text together and decides the order: a name such as
    #: "cohere:rerank-v3.5" (see ``open_reranker``) or any ``Reranker``.
    reranker: str | Reranker | None
    #: ``Recency`` or ``Boost``, or several of them: part of the score is what the metadata say.
    boost: Signal | Sequence[Signal]
    #: Leave out passages that are nearly the same as a better one. True, or how much the same: 0 to 1.
    deduplicate: bool | float
    #: Put back what is like a better hit (maximal marginal relevance): 0, the default, to 1.
    diversity: float
    #: How many hits a document may have.
    per_document: int | None
    #: Show more of the document: "neighbours" of the chunk, or its "section", i.e. all under the same headings.
    expand: Around | None
    #: Chunks on each side, at most. None: 1 for neighbours, 8 for a section.
    expand_by: int | None
    #: For several questions: "rrf" (default) adds up 1 / (60 + rank), "max" takes the best score.
    combine: Combine


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """The same, checked, with k and with the reranker opened. Raises InvalidArgument."""

    k: int = 10
    candidates: int | None = None
    min_similarity: float | None = None
    reranker: Reranker | None = None
    boost: Signal | Sequence[Signal] = ()
    deduplicate: bool | float = False
    diversity: float = 0.0
    per_document: int | None = None
    expand: Around | None = None
    expand_by: int | None = None
    combine: Combine = "rrf"

    def __post_init__(self) -> None:
        _check_whole("k", self.k or 0, 1)
        _check_whole("candidates", self.candidates, int(self.k))
        _check_whole("per_document", self.per_document, 1)
        _check_whole("expand_by", self.expand_by, 1)
        _check_number("min_similarity", self.min_similarity, float("-inf"), float("inf"))
        _check_number("diversity", self.diversity, 0, 1)
        _check_number("deduplicate", self.deduplicate, 0, 1)
        _check_choice("expand", self.expand, (None, *get_args(Around)))
        if self.expand_by is not None and self.expand is None:
            raise InvalidArgument('expand_by must go with expand, "neighbours" or "section".')
        _check_choice("combine", self.combine, get_args(Combine))
        if not all(hasattr(signal, "weight") for signal in self.signals):
            raise InvalidArgument(
                f"boost is a Recency, a Boost, or a list of these, not {self.boost!r}."
            )
        if sum(signal.weight for signal in self.signals) > 1:
            raise InvalidArgument("The weights of all boosts together are at most 1.")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Refinement:
        """What those options ask for; the others are somebody else's."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: options[name] for name in names if name in options})

    @property
    def signals(self) -> Sequence[Signal]:
        """The boosts, however many were given."""
        return self.boost if isinstance(self.boost, Sequence) else [self.boost]

    def pools(self, questions: int) -> list[int]:
        """How many rows to ask the database for, for each question; and how many if these do not do."""
        if self.candidates is not None:
            return [int(self.candidates)]
        asked = (self.min_similarity, self.reranker, self.per_document, self.expand)
        if questions == 1 and not (
            self.signals or self.deduplicate or self.diversity or asked != (None,) * 4
        ):
            return [self.k]
        pool = max(100, 4 * self.k)
        # What a reranker reads may be paid for: not more than was said.
        rounds = 1 if self.reranker is not None else 3
        return sorted({min(MOST, pool * WIDER**n) for n in range(rounds)})


def refine(
    generation: Generation,
    found: Sequence[Hits],
    wanted: Refinement,
    words: Sequence[str],
    *,
    candidates: int,
    watch: Stopwatch,
) -> Flow[Hits]:
    """The hits of one question or several, from so many ``candidates`` of each or all there are.

    ``words`` are the questions'. Fewer than k hits are not complete, and have a note, if more candidates could
    fill them up. Raises InvalidArgument if a reranker is wanted and there are no words. A reranker that fails
    leaves the order as it was, and a note.
    """
    hits = _together(found)
    near = [_similar(list_, wanted.min_similarity) for list_ in found]
    more = any(_more(list_, wanted.min_similarity, candidates) for list_ in found)
    ranked = fused(near, wanted.combine)
    if wanted.reranker is not None:
        watch.lap("refine")
        ranked = yield from _reranked(ranked, wanted.reranker, words, hits.notes)
        watch.lap("rerank")
    chosen: Iterable[Hit] = boosted(ranked, wanted.signals)
    if wanted.deduplicate:
        same = RESEMBLANCE if wanted.deduplicate is True else wanted.deduplicate
        chosen = deduplicated(chosen, same)
    if wanted.diversity:
        pool = list(chosen)
        vectors = yield from neighbourhood.embeddings(generation, pool)
        chosen = diversified(pool, vectors, wanted.diversity)
    if wanted.per_document is not None:
        chosen = per_document(chosen, wanted.per_document)
    if wanted.expand is not None:
        chosen = yield from _expanded(generation, iter(chosen), wanted, wanted.expand)
    hits[:] = islice(chosen, wanted.k)
    watch.lap("refine")
    if more and len(hits) < wanted.k:
        hits.complete = False
        hits.notes.append(
            f"{len(hits)} of {wanted.k} hits: {candidates:,} candidates held no more; ask for more candidates."
        )
    return hits


def _together(found: Sequence[Hits]) -> Hits:
    """The first answer, which says of all of them how they were found."""
    hits = found[0]
    hits.strategy = ", ".join(dict.fromkeys(answer.strategy for answer in found))
    hits.complete = all(answer.complete for answer in found)
    return hits


def _similar(hits: Hits, min_similarity: float | None) -> list[Hit]:
    return list(hits) if min_similarity is None else above(hits, min_similarity)


def _more(hits: Hits, min_similarity: float | None, candidates: int) -> bool:
    """Whether rows that were not looked at may be as near as asked."""
    if min_similarity is None or len(hits) < candidates:
        return len(hits) >= candidates
    near = len(above(hits, min_similarity))
    # Hits by their words may have taken the places of nearer ones. None is left out where the nearest of those
    # that are too far away ranks right behind all that are near.
    far = (hit.vector_rank or 0 for hit in hits if (hit.vector_score or 0.0) < min_similarity)
    return min(far, default=0) != near + 1


def _reranked(
    hits: list[Hit], reranker: Reranker, words: Sequence[str], notes: list[str]
) -> Flow[list[Hit]]:
    if not words:
        raise InvalidArgument(
            "A reranker reads the question: ask it in words, not as an embedding."
        )
    if not hits:
        return hits
    try:
        scores = yield from rerank(reranker, words, [_titled(hit) for hit in hits])
    except Exception as exc:  # whatever it is, there are hits without it
        reason = " ".join(str(exc).split())[:300].rstrip(".") or type(exc).__name__
        note = f"The reranker {reranker.name} failed ({reason}); the order is the one without it."
        logger.warning("%s", note)
        notes.append(note)
        return hits
    return reranked(hits, scores.tolist())


def _titled(hit: Hit) -> str:
    """What a reranker reads: the text, under its title and headings."""
    line = " > ".join(dict.fromkeys(filter(None, [hit.title, *hit.headings])))
    return f"{line}\n\n{hit.text}" if line else hit.text


def _expanded(
    generation: Generation, hits: Iterator[Hit], wanted: Refinement, around: Around
) -> Flow[list[Hit]]:
    reach = wanted.expand_by or REACH[around]
    pairs: list[tuple[Hit, Extent]] = []
    wide: list[tuple[Hit, Extent]] = []
    # Most often k hits are enough; others take the places of those that are shown already.
    while len(wide) < wanted.k and (some := list(islice(hits, wanted.k))):
        extents = yield from neighbourhood.extents(generation, some, around, reach)
        pairs += zip(some, extents, strict=True)
        wide = list(islice(widened(pairs), wanted.k))
    places = [(hit.tenant_id, hit.document_id, *extent) for hit, extent in wide]
    texts = yield from passages.fetch_texts(places)
    return [
        expanded(hit, extent, texts.get(place))
        for (hit, extent), place in zip(wide, places, strict=True)
    ]


def _check_whole(name: str, value: object, least: int) -> None:
    if value is not None and not (isinstance(value, Integral) and least <= int(value) <= MOST):
        raise InvalidArgument(
            f"{name} must be a whole number from {least:,} to {MOST:,}, not {value!r}."
        )


def _check_number(name: str, value: object, least: float, most: float) -> None:
    if value is not None and not (isinstance(value, Real) and least <= float(value) <= most):
        raise InvalidArgument(f"{name} must be a number from {least:g} to {most:g}, not {value!r}.")


def _check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    if value not in choices:
        known = " or ".join(f'"{choice}"' for choice in choices if choice is not None)
        raise InvalidArgument(f"{name} is {known}, not {value!r}.")
