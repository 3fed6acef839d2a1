"""Reports: what an ingestion did or would do, what was handed over, what a run cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, TypeAlias

#: What a run did: documents taken in, or stored ones chunked and embedded anew for another generation.
RunKind: TypeAlias = Literal["ingest", "reindex"]
#: What became of a run. One that says nothing any more was killed: nobody was left to write it down.
RunState: TypeAlias = Literal["running", "done", "stopped", "failed", "interrupted", "killed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A source or document that could not be taken in, and why."""

    uri: str
    reason: str
    #: Where it was found, if that is more than the uri; as ``Document.source``.
    source: str | None = None
    #: The source says that there is no such document any more.
    gone: bool = False


@dataclass(slots=True, kw_only=True)
class IngestReport:
    """What an ingestion did.

    Documents: new, changed, renamed, unchanged, removed, failed, left. Chunks: chunks, embedded, reused.
    """

    new: int = 0
    changed: int = 0
    #: Documents that are where another name was before, with the same text. Only runs that stay in step
    #: with their sources look for them; they count neither as new nor as removed.
    renamed: int = 0
    unchanged: int = 0
    #: Documents whose source has gone; only runs that stay in step remove any.
    removed: int = 0
    failed: list[Failure] = field(default_factory=list)
    #: Chunks written: ``embedded + reused``.
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    #: Tokens that were embedded; reused chunks cost none.
    tokens: int = 0
    #: US dollars for them by the provider's list price: 0 on one's own machine, None if no price is known.
    cost: float | None = None
    #: Documents that the budget had nothing left for, and the tokens that they would have cost.
    left: int = 0
    left_tokens: int = 0
    seconds: float = 0.0
    #: So far: documents read, and chunks cut from those that are new or changed.
    read: int = 0
    cut: int = 0
    #: What loading changed or passed over, that of whole sources first: (uri or source, note).
    notes: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other: IngestReport) -> None:
        """Count what another report counts; its seconds and notes are left."""
        for name in (
            *("new", "changed", "renamed", "unchanged", "removed", "left", "left_tokens"),
            *("chunks", "embedded", "reused", "tokens", "read", "cut"),
        ):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed += other.failed
        if other.cost is not None:
            self.cost = (self.cost or 0.0) + other.cost

    @property
    def did_something(self) -> bool:
        """Whether anything was changed, or could not be."""
        done = self.new + self.changed + self.renamed + self.removed
        return bool(done or self.failed or self.left)

    @property
    def documents(self) -> int:
        """Documents that are searchable after the run: new, changed, renamed and unchanged."""
        return self.new + self.changed + self.renamed + self.unchanged


@dataclass(slots=True, kw_only=True)
class EnqueueReport:
    """What was handed over to the workers."""

    #: Documents that are in the queue now.
    queued: int = 0
    #: Documents that are stored already as they are.
    unchanged: int = 0
    failed: list[Failure] = field(default_factory=list)
    #: What was passed over: (source, note).
    notes: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an ingestion would do. Counts are called as in ``IngestReport``, and are the same."""

    collection: str
    embedder: str
    new: int
    changed: int
    renamed: int
    unchanged: int
    removed: int
    failed: Sequence[Failure]
    #: What loading changed or skipped, and what could not be told for sure to have gone: (uri, note).
    notes: Sequence[tuple[str, str]]
    #: Chunks that would be written: ``embedded + reused``.
    chunks: int
    embedded: int
    reused: int
    tokens: int
    #: What a budget would leave out.
    left: int
    left_tokens: int
    #: US dollars by the provider's list price: 0 on one's own machine, None if no price is known.
    cost: float | None
    #: The list price, in US dollars per million tokens, when it was read, and where.
    price: float | None
    price_as_of: date | None
    price_source: str | None
    #: By the throughput of the last runs with the same embedder; None if there was none.
    seconds: float | None

    @property
    def documents(self) -> int:
        """Documents that would be searchable after the run: new, changed, renamed and unchanged."""
        return self.new + self.changed + self.renamed + self.unchanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One ingestion or reindexing, as the database remembers it: what it did, and what that cost."""

    run_id: int
    collection: str
    embedder: str
    kind: RunKind
    #: Whether it is what one worker did for the collection, over a span of time.
    by_worker: bool
    #: "stopped": by its budget; "interrupted": by Ctrl-C or a cancellation.
    state: RunState
    started_at: datetime
    #: When it ended, or was last heard of.
    ended_at: datetime
    seconds: float
    new: int
    changed: int
    renamed: int
    unchanged: int
    removed: int
    failed: int
    left: int
    chunks: int
    embedded: int
    tokens: int
    cost: float | None
    #: Why it ended early.
    error: str | None
