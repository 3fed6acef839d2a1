"""One run that fills a generation, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pgrecall.ingest.job import Ingestion
from pgrecall.store.collections import Generation
from pgrecall.store.identity import Key
from pgrecall.store.prepared import Prepared
from pgrecall.types import Failure


@dataclass(slots=True, kw_only=True)
class ReindexReport:
    """What a run of reindexing did."""

    generation_id: int
    embedder: str
    #: Documents that the generation lacked at the beginning, and that it got in this run.
    lacking: int
    documents: int = 0
    #: Documents that could not be chunked and embedded anew: the generation goes without them.
    failed: list[Failure] = field(default_factory=list)
    #: Documents that the budget had nothing left for, and the tokens that they would have cost.
    left: int = 0
    left_tokens: int = 0
    #: Chunks written: ``embedded + reused``.
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    #: Tokens that were embedded; reused chunks cost none.
    tokens: int = 0
    #: US dollars for them by the provider's list price: 0 on one's own machine, None if no price is known.
    cost: float | None = None
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether it can be activated."""
        return not self.failed and not self.left


Progress = Callable[[ReindexReport], None]


@dataclass(slots=True, kw_only=True)
class Reindexing:
    """One run that fills one generation."""

    job: Ingestion
    #: Documents that the generation lacked at the beginning.
    lacking: int = 0
    progress: Progress | None = None
    #: Documents that were given up, or left.
    refused: set[Key] = field(default_factory=set)

    @property
    def generation(self) -> Generation:
        """The generation that is filled."""
        return self.job.generation

    @property
    def report(self) -> ReindexReport:
        """What was done so far."""
        done = self.job.report
        return ReindexReport(
            generation_id=self.generation.generation_id,
            embedder=self.generation.embedder,
            lacking=self.lacking,
            documents=done.new,
            failed=list(done.failed),
            left=done.left,
            left_tokens=done.left_tokens,
            chunks=done.chunks,
            embedded=done.embedded,
            reused=done.reused,
            tokens=done.tokens,
            cost=done.cost,
            seconds=done.seconds,
        )

    def refuse(self, group: Sequence[Prepared], ready: Sequence[Prepared]) -> None:
        """Note those of the group that did not get ready. Several threads call it."""
        self.refused.update({item.key for item in group} - {item.key for item in ready})

    def done(self, written: Sequence[Prepared]) -> None:
        """Count what was written, as new to the generation. One thread calls it."""
        report = self.job.report
        report.new += len(written)
        report.chunks += sum(len(item.chunks) for item in written)
        report.reused = max(0, report.chunks - report.embedded)
        if self.progress is not None:
            self.progress(self.report)
