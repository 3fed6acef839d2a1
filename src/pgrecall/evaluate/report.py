"""What a comparison of models found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """One model on the sample. Figures are None where there are none."""

    embedder: str
    #: Why it has no figures.
    error: str | None = None
    dimensions: int | None = None
    #: Documents of the sample that it took in, and that it refused.
    documents: int = 0
    failed: int = 0
    chunks: int = 0
    tokens: int = 0
    #: nDCG@k, recall@k (R) and mean reciprocal rank (RR) over documents.
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: Other model -> mean share of the documents found by either that both found.
    overlap: Mapping[str, float] = field(default_factory=dict)
    #: Chunked, embedded and written; of a model whose vectors were stored already, embedded.
    documents_per_second: float | None = None
    #: Milliseconds from the question to its hits, embedding included.
    p50_ms: float | None = None
    p95_ms: float | None = None
    #: Chunks of the sample on disk, with their indexes.
    bytes: int | None = None
    #: US dollars for the sample by the provider's list price: 0 on one's own machine, None if unknown.
    cost: float | None = None
    #: US dollars per million tokens, and where that was read.
    price: float | None = None
    price_source: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """Models side by side, on the same documents and questions."""

    #: Documents of the sample.
    documents: int
    #: All that was asked: overlap and times are of these.
    questions: int
    #: Those of them that are pieces of the texts: with judgements, none.
    pieces: int
    #: Questions with judgements, which the metrics are of. 0: they are of the pieces.
    judged: int
    #: Judged documents that the sample does not hold: no model can find them.
    absent: int
    k: int
    mode: str
    #: In the order that was asked for.
    models: tuple[ModelResult, ...]

    @property
    def known_item(self) -> bool:
        """Whether the metrics are of pieces of the texts, and not of judgements."""
        return not self.judged
