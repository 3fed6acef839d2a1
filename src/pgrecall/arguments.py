"""What ``ingest``, ``plan`` and their kin are given, made into jobs: the same in both flavours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from os import PathLike
from typing import TypedDict

from pgrecall.embed import takes_images
from pgrecall.errors import InvalidArgument
from pgrecall.ingest import Budget, Ingestion, Lane, Progress
from pgrecall.ingest.job import HandOver
from pgrecall.ingest.tablerun import TableRun, TableSource
from pgrecall.ingest.watch import Watched
from pgrecall.keywords import check_keywords
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


class IngestOptions(Running, total=False):
    """What ``ingest`` and ``plan`` take besides the sources."""

    #: How to read them.
    options: LoadOptions | None
    #: Also remove the documents that were found in these sources before and are there no more.
    sync: bool
    #: With ``sync``: a source may have become empty.
    allow_empty: bool


class WatchOptions(TypedDict, total=False):
    """What ``watch`` takes besides the sources."""

    #: How to read them.
    options: LoadOptions | None
    #: Called with the report so far, from several threads.
    progress: Progress | None
    #: A source may have become empty.
    allow_empty: bool


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

    def _taking(
        self, sources: SourceArgument, taking: IngestOptions, *, dry: bool = False
    ) -> tuple[Ingestion, Iterable[StrPath | Document], LoadOptions, Sync | None]:
        """The job, the sources, how to read them, and what is to be kept in step with them."""
        check_keywords(taking, IngestOptions)
        options = self._loading(taking.get("options"), dry=dry)
        given: Iterable[StrPath | Document] = listed(sources)
        step = None
        if taking.get("sync", False):
            given = list(given)
            step = Sync(
                scopes=scopes(given),
                tenant_id=options.tenant_id,
                allow_empty=taking.get("allow_empty", False),
            )
        return self._job(options, taking, dry=dry), given, options, step

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

    def _watching(
        self, sources: SourceArgument, following: WatchOptions
    ) -> tuple[Callable[[], Ingestion], Watched]:
        """What makes the job of each run, and what is followed."""
        check_keywords(following, WatchOptions)
        options = self._loading(following.get("options"))
        progress = following.get("progress")

        def job() -> Ingestion:
            made = self._job(options, {"progress": progress})
            made.notable = False
            return made

        allow_empty = following.get("allow_empty", False)
        return job, Watched(paths(sources), options, allow_empty=allow_empty)

    def _handing_over(
        self, sources: SourceArgument, options: LoadOptions | None
    ) -> tuple[HandOver, Iterable[StrPath | Document], LoadOptions]:
        """The job, the sources, and how to read them."""
        options = options or LoadOptions()
        if options.images is None:
            options = replace(options, images=self._target.takes_images)
        # Without the embedder: who only hands documents over needs no key for it.
        job = HandOver(into=self._target.generation, tenant_id=options.tenant_id)
        return job, listed(sources), options

    def _table(
        self,
        source: str | TableSource,
        options: LoadOptions,
        session: Session | AsyncSession | None,
        choices: TableChoices,
    ) -> TableRun:
        check_keywords(choices, TableChoices)
        return TableRun(
            source=TableSource(table=source) if isinstance(source, str) else source,
            options=options,
            job=self._job(options, choices),
            elsewhere=session,
            full=choices.get("full", False),
            deletes=choices.get("deletes", True),
            allow_empty=choices.get("allow_empty", False),
        )


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
