"""What a collection can do to take documents in: now, by a worker, as a plan, and in step with sources."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from functools import partial
from threading import Event
from typing import Unpack

from pgrecall.arguments import Jobs, Running, SourceArgument, TableChoices, kept, listed, paths
from pgrecall.flow import run, run_async
from pgrecall.ingest import Progress, ingest, ingest_async, plan, plan_async
from pgrecall.ingest.enqueue import enqueue, enqueue_async
from pgrecall.ingest.polling import watch_table, watch_table_async
from pgrecall.ingest.tablerun import TableSource
from pgrecall.ingest.tables import sync_table, sync_table_async
from pgrecall.ingest.watch import Watched, watch, watch_async
from pgrecall.load import LoadOptions
from pgrecall.store import runs
from pgrecall.store.elsewhere import elsewhere, elsewhere_async
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import EnqueueReport, IngestReport, Plan, Run


class Ingesting(Jobs):
    """The part of ``Collection`` that takes documents in."""

    _session: Session

    def ingest(
        self,
        sources: SourceArgument,
        *,
        options: LoadOptions | None = None,
        sync: bool = False,
        allow_empty: bool = False,
        **running: Unpack[Running],
    ) -> IngestReport:
        """Take in files, folders, globs, URLs or Documents; what has not changed is skipped.

        Each document is swapped whole. A source that cannot be read is reported in ``failed`` and stops
        nothing. With ``max_tokens`` or ``max_cost``, documents that would pass the limit are left as they
        are, and counted in ``left``. ``progress`` is called with the report so far, from several threads.

        ``sync`` also removes the documents that were found in these sources before and are there no more,
        and a file that was renamed keeps its vectors. What cannot be read has not gone; a source in which
        nothing is found keeps its documents unless ``allow_empty``. A run that its budget cut short removes
        nothing.

        Raises InvalidArgument for a ``max_cost`` where no price is known, EmbeddingError if the embedder
        fails time and again, DatabaseUnavailable if the server goes away; run it again to go on.
        """
        chosen = self._loading(options)
        given, step = kept(sources, chosen, sync=sync, allow_empty=allow_empty)
        return ingest(self._session, self._job(chosen, running), given, chosen, step)

    def plan(
        self,
        sources: SourceArgument,
        *,
        options: LoadOptions | None = None,
        sync: bool = False,
        allow_empty: bool = False,
        **running: Unpack[Running],
    ) -> Plan:
        """What ``ingest`` would do with the same arguments, and what that would cost.

        Reads the sources and the database, writes nothing, asks no provider and needs no API key.
        """
        chosen = self._loading(options, dry=True)
        given, step = kept(sources, chosen, sync=sync, allow_empty=allow_empty)
        job = self._job(chosen, running, dry=True)
        return plan(self._session, job, given, chosen, step)

    def runs(self, *, limit: int = 20) -> list[Run]:
        """The last ingestions, newest first: what they did, and what was spent on them."""
        return run(runs.recent(self._target.generation.collection, limit), self._session)

    def enqueue(
        self, sources: SourceArgument, *, options: LoadOptions | None = None
    ) -> EnqueueReport:
        """As ``ingest``, but only read here: workers do the rest (``pgrecall worker``).

        In a transaction that is open on a connection of yours, the documents are handed over when it
        commits. A newer version of a document takes the place of one that waits.
        """
        chosen = self._handing_over(options)
        return enqueue(self._session, self._hand_over(chosen), listed(sources), chosen)

    def watch(
        self,
        sources: SourceArgument,
        *,
        options: LoadOptions | None = None,
        progress: Progress | None = None,
        allow_empty: bool = False,
        stop: Event | None = None,
    ) -> Iterator[IngestReport]:
        """Follow files, folders and globs: ``ingest(sync=True)`` now and after each change, without end.

        Yields the report of each run that did something. While the database or the embedder is out of
        order, changes are kept and tried again; a warning is logged. Setting ``stop`` ends it.
        """
        chosen = self._loading(options)
        watched = Watched(paths(sources), chosen, allow_empty=allow_empty)
        return watch(self._session, lambda: self._watching(chosen, progress), watched, stop)

    def sync_table(
        self,
        source: str | TableSource,
        *,
        url: str | None = None,
        options: LoadOptions | None = None,
        **choices: Unpack[TableChoices],
    ) -> IngestReport:
        """Bring the collection in step with a table, or a query as a TableSource: also changed and gone rows.

        ``url`` is the database that it is in; without it, the collection's own. Run it again, as often as
        you like: rows are read by their ``updated_at``, or as triggers noted them. After a run that its
        budget cut short, the next one reads the same rows again.

        Raises InvalidArgument for columns that are not there, and as ``ingest`` does.
        """
        with elsewhere(url) as session:
            task = self._table(source, options or LoadOptions(), session, choices)
            return sync_table(self._session, task)

    def watch_table(
        self,
        source: str | TableSource,
        *,
        every: float = 10.0,
        url: str | None = None,
        options: LoadOptions | None = None,
        allow_empty: bool = False,
        stop: Event | None = None,
    ) -> Iterator[IngestReport]:
        """Follow a table: ``sync_table`` every so many seconds, as ``watch`` does it for files."""
        choices: TableChoices = {"allow_empty": allow_empty}
        look = partial(self._look, source, url, options or LoadOptions(), choices)
        return watch_table(look, every, stop)

    def _look(
        self,
        source: str | TableSource,
        url: str | None,
        options: LoadOptions,
        choices: TableChoices,
        *,
        deletes: bool,
    ) -> IngestReport:
        with elsewhere(url) as session:
            task = self._table(source, options, session, {**choices, "deletes": deletes})
            task.job.notable = False
            return sync_table(self._session, task)


class AsyncIngesting(Jobs):
    """As ``Ingesting``, awaited."""

    _session: AsyncSession

    async def ingest(
        self,
        sources: SourceArgument,
        *,
        options: LoadOptions | None = None,
        sync: bool = False,
        allow_empty: bool = False,
        **running: Unpack[Running],
    ) -> IngestReport:
        """As ``Collection.ingest``."""
        chosen = self._loading(options)
        given, step = kept(sources, chosen, sync=sync, allow_empty=allow_empty)
        job = self._job(chosen, running)
        return await ingest_async(self._session, job, given, chosen, step)

    async def plan(
        self,
        sources: SourceArgument,
        *,
        options: LoadOptions | None = None,
        sync: bool = False,
        allow_empty: bool = False,
        **running: Unpack[Running],
    ) -> Plan:
        """As ``Collection.plan``."""
        chosen = self._loading(options, dry=True)
        given, step = kept(sources, chosen, sync=sync, allow_empty=allow_empty)
        job = self._job(chosen, running, dry=True)
        return await plan_async(self._session, job, given, chosen, step)

    async def runs(self, *, limit: int = 20) -> list[Run]:
        """As ``Collection.runs``."""
        flow = runs.recent(self._target.generation.collection, limit)
        return await run_async(flow, self._session)

    async def enqueue(
        self, sources: SourceArgument, *, options: LoadOptions | None = None
    ) -> EnqueueReport:
        """As ``Collection.enqueue``."""
        chosen = self._handing_over(options)
        job = self._hand_over(chosen)
        return await enqueue_async(self._session, job, listed(sources), chosen)

    def watch(
        self,
        sources: SourceArgument,
        *,
        options: LoadOptions | None = None,
        progress: Progress | None = None,
        allow_empty: bool = False,
    ) -> AsyncGenerator[IngestReport, None]:
        """As ``Collection.watch``; cancelling ends it."""
        chosen = self._loading(options)
        watched = Watched(paths(sources), chosen, allow_empty=allow_empty)
        return watch_async(self._session, lambda: self._watching(chosen, progress), watched)

    async def sync_table(
        self,
        source: str | TableSource,
        *,
        url: str | None = None,
        options: LoadOptions | None = None,
        **choices: Unpack[TableChoices],
    ) -> IngestReport:
        """As ``Collection.sync_table``."""
        async with elsewhere_async(url) as session:
            task = self._table(source, options or LoadOptions(), session, choices)
            return await sync_table_async(self._session, task)

    def watch_table(
        self,
        source: str | TableSource,
        *,
        every: float = 10.0,
        url: str | None = None,
        options: LoadOptions | None = None,
        allow_empty: bool = False,
    ) -> AsyncGenerator[IngestReport, None]:
        """As ``Collection.watch_table``; cancelling ends it."""
        choices: TableChoices = {"allow_empty": allow_empty}
        look = partial(self._look, source, url, options or LoadOptions(), choices)
        return watch_table_async(look, every)

    async def _look(
        self,
        source: str | TableSource,
        url: str | None,
        options: LoadOptions,
        choices: TableChoices,
        *,
        deletes: bool,
    ) -> IngestReport:
        async with elsewhere_async(url) as session:
            task = self._table(source, options, session, {**choices, "deletes": deletes})
            task.job.notable = False
            return await sync_table_async(self._session, task)
