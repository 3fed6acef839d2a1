"""One run that fills a generation, and what it reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pgrecall.ingest.job import Ingestion
from pgrecall.store.collections import Generation
from pgrecall.store.documents import Key, Prepared
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
    #: Chunks written: ``embedded + reused``.
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    #: Tokens that were embedded; reused chunks cost none.
    tokens: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether it can be activated."""
        return not self.failed


Progress = Callable[[ReindexReport], None]


@dataclass(slots=True, kw_only=True)
class Reindexing:
    """One run that fills one generation."""

    job: Ingestion
    report: ReindexReport
    progress: Progress | None = None
    #: Documents that were given up.
    refused: set[Key] = field(default_factory=set)

    @property
    def generation(self) -> Generation:
        """The generation that is filled."""
        return self.job.generation

    def done(self, written: Sequence[Prepared]) -> None:
        """Count what was written. One thread calls it."""
        report, counted = self.report, self.job.report
        report.documents += len(written)
        report.chunks += sum(len(item.chunks) for item in written)
        report.embedded, report.tokens = counted.embedded, counted.tokens
        report.reused = max(0, report.chunks - report.embedded)
        report.failed = list(counted.failed)
        if self.progress is not None:
            self.progress(report)
