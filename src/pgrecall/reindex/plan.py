"""What reindexing would do and cost, from a sample of the documents; nothing is embedded or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pgrecall.flow import Flow, compute
from pgrecall.ingest.budget import Budget, list_price
from pgrecall.ingest.chunks import chunk
from pgrecall.ingest.job import Ingestion, Lane
from pgrecall.reindex.choice import Wanted, choose
from pgrecall.store import filling, reuse
from pgrecall.store.prepared import Prepared
from pgrecall.target import Target

#: Documents that are chunked to estimate the rest, and bytes of text, at most.
SAMPLE, SAMPLE_BYTES = 100, 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReindexPlan:
    """What reindexing would do. Chunks and tokens are estimates, unless ``sampled`` is ``documents``."""

    embedder: str
    dimensions: int
    #: Documents that would be chunked anew, and bytes of their texts.
    documents: int
    bytes: int
    #: Documents that the estimates are taken from.
    sampled: int
    chunks: int
    #: Chunks that have a vector of this embedder already, which costs nothing.
    reused: int
    #: Tokens that would be embedded, in the embedder's own tokenizer.
    tokens: int
    #: US dollars at the list price; 0 for a model that runs here, None where the price is not known.
    cost: float | None


def plan(target: Target, wanted: Wanted) -> Flow[ReindexPlan]:
    """Raises as ``reindex`` does for arguments that do not fit together; needs no key."""
    choice = yield from choose(target, wanted, offline=True)
    generation = choice.generation
    count, size = yield from filling.count_lacking(generation)
    sample = yield from _sample(Lane(generation, choice.embedder))
    texts = {
        key: piece for item in sample for key, piece in zip(item.hashes, item.chunks, strict=True)
    }
    stored = (yield from reuse.stored(generation.model, texts)).vectors
    pieces = sum(len(item.chunks) for item in sample)
    new = [piece for key, piece in texts.items() if key not in stored]
    scale = size / max(1, sum(len(item.document.text.encode()) for item in sample))
    if len(sample) == count:
        scale = 1.0
    tokens = round(scale * sum(piece.tokens for piece in new))
    return ReindexPlan(
        embedder=generation.embedder,
        dimensions=generation.dimensions,
        documents=count,
        bytes=size,
        sampled=len(sample),
        chunks=round(scale * pieces),
        reused=round(scale * (pieces - len(new))),
        tokens=tokens,
        cost=Budget(price=list_price(generation.embedder)).cost(tokens),
    )


def _sample(lane: Lane) -> Flow[list[Prepared]]:
    """Documents that the generation lacks, from all over the collection, chunked."""
    keys = yield from filling.sample(lane.generation, SAMPLE, SAMPLE_BYTES)
    items: Sequence[Prepared] = yield from filling.stored(lane.generation, keys, lacked=True)
    job = Ingestion(lane=lane)
    for item in items:
        yield from compute(partial(chunk, job, item))
    return list(items)
