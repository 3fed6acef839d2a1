"""What ``ingest``, ``plan`` and their kin are given, made into jobs: the same in both flavours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from typing import TypedDict

from pgrecall.embed import takes_images
from pgrecall.errors import InvalidArgument
from pgrecall.ingest import Budget, Ingestion, Lane, Progress
from pgrecall.ingest.job import HandOver
from pgrecall.ingest.tablerun import TableRun, TableSource
from pgrecall.load import LoadOptions
from pgrecall.load.discover import StrPath
from pgrecall.load.scope import Sync, scopes
from pgrecall.store.session import AsyncSession, Session
from pgrecall.target import Target
from pgrecall.types import Document

#: One source or many: files, folders, globs, URLs, "-" for standard input, or Documents.
SourceArgument = StrPath | Document | Iterable[StrPath | Document]


class Running(TypedDict, total=False):
    """What ``ingest``, ``plan`` and ``sync_table`` take besides the sources and how to read them."""

    #: Called with the report so far, from several threads.
    progress: Progress | None
    #: Stop before more tokens are embedded than that. What needs none goes on.
    max_tokens: int | None
    #: Stop before it costs more US dollars than that, by the provider's list price.
    max_cost: float | None


class TableChoices(Running, total=False):
    """How ``sync_table`` goes about it."""

    #: Read every row again, whatever ``updated_at`` or the triggers say.
    full: bool
    #: Look whether stored rows are still there; for queries that name no deleted rows it is the only way.
    deletes: bool
    #: The table may have become empty.
    allow_empty: bool


class Jobs:
    """What both flavours prepare without asking the database."""

    _target: Target

    def _loading(self, options: LoadOptions | None, *, dry: bool = False) -> LoadOptions:
        """How to read the sources: with images, if the embedder takes them."""
        options = options or LoadOptions()
        if options.images is not None:
            return options
        embedder = self._target.offline if dry else self._target.embedder
        return replace(options, images=takes_images(embedder))

    def _job(self, options: LoadOptions, running: Running, *, dry: bool = False) -> Ingestion:
        target = self._target
        return Ingestion(
            lane=Lane(target.generation, target.offline if dry else target.embedder),
            open=target.embedder_of,
            tenant_id=options.tenant_id,
            progress=running.get("progress"),
            budget=Budget.of(
                target.generation.embedder, running.get("max_tokens"), running.get("max_cost")
            ),
            dry=dry,
        )

    def _watching(self, options: LoadOptions, progress: Progress | None) -> Ingestion:
        job = self._job(options, {"progress": progress})
        job.notable = False
        return job

    def _handing_over(self, options: LoadOptions | None) -> LoadOptions:
        options = options or LoadOptions()
        if options.images is not None:
            return options
        return replace(options, images=self._target.takes_images)

    def _hand_over(self, options: LoadOptions) -> HandOver:
        # Without the embedder: who only hands documents over needs no key for it.
        return HandOver(into=self._target.generation, tenant_id=options.tenant_id)

    def _table(
        self,
        source: str | TableSource,
        options: LoadOptions,
        session: Session | AsyncSession | None,
        choices: TableChoices,
    ) -> TableRun:
        return TableRun(
            source=TableSource(table=source) if isinstance(source, str) else source,
            options=options,
            job=self._job(options, choices),
            elsewhere=session,
            full=choices.get("full", False),
            deletes=choices.get("deletes", True),
            allow_empty=choices.get("allow_empty", False),
        )


def kept(
    sources: SourceArgument, options: LoadOptions, *, sync: bool, allow_empty: bool
) -> tuple[Iterable[StrPath | Document], Sync | None]:
    """The sources, and what is to be kept in step with them."""
    if not sync:
        return listed(sources), None
    given = list(listed(sources))
    step = Sync(scopes=scopes(given), tenant_id=options.tenant_id, allow_empty=allow_empty)
    return given, step


def paths(sources: SourceArgument) -> list[StrPath]:
    """The sources of a watch; raises InvalidArgument for Documents."""
    given = list(listed(sources))
    found = [source for source in given if not isinstance(source, Document)]
    if len(found) < len(given):
        raise InvalidArgument(
            "Documents that are given cannot be watched; name files, folders or globs."
        )
    return found


def listed(sources: SourceArgument) -> Iterable[StrPath | Document]:
    """One source or many, as many."""
    return [sources] if isinstance(sources, str | PathLike | Document) else sources
