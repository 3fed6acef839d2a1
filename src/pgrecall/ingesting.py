"""What a collection can do to take documents in: now, by a worker, as a plan, and in step with sources."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from functools import partial
from threading import Event
from typing import Unpack

from pgrecall.arguments import IngestOptions, Jobs, SourceArgument, TableChoices, WatchOptions
from pgrecall.flow import run, run_async
from pgrecall.ingest import ingest, ingest_async, plan, plan_async
from pgrecall.ingest.enqueue import enqueue, enqueue_async
from pgrecall.ingest.polling import watch_table, watch_table_async
from pgrecall.ingest.tablerun import TableSource
from pgrecall.ingest.tables import sync_table, sync_table_async
from pgrecall.ingest.watch import watch, watch_async
from pgrecall.load import LoadOptions
from pgrecall.store import runs
from pgrecall.store.elsewhere import elsewhere, elsewhere_async
from pgrecall.store.session import AsyncSession, Session
from pgrecall.types import EnqueueReport, IngestReport, Plan, Run


class Ingesting(Jobs):
    """The part of ``Collection`` that takes documents in."""

    _session: Session

    def ingest(self, sources: SourceArgument, **taking: Unpack[IngestOptions]) -> IngestReport:
        """Take in files, folders, globs, URLs or Documents; what has not changed is skipped.

        Keywords are those of ``IngestOptions``: ``options`` says how to read, ``sync`` and ``allow_empty``
        what becomes of documents that have gone, ``max_tokens`` and ``max_cost`` limit what is spent.

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
        return ingest(self._session, *self._taking(sources, taking))

    def plan(self, sources: SourceArgument, **taking: Unpack[IngestOptions]) -> Plan:
        """What ``ingest`` would do with the same arguments, and what that would cost.

        Reads the sources and the database, writes nothing, asks no provider and needs no API key.
        """
        return plan(self._session, *self._taking(sources, taking, dry=True))

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
        return enqueue(self._session, *self._handing_over(sources, options))

    def watch(
        self,
        sources: SourceArgument,
        *,
        stop: Event | None = None,
        **following: Unpack[WatchOptions],
    ) -> Iterator[IngestReport]:
        """Follow files, folders and globs: ``ingest(sync=True)`` now and after each change, without end.

        Keywords are those of ``WatchOptions``, as in ``ingest``. Yields the report of each run that did
        something. While the database or the embedder is out of
        order, changes are kept and tried again; a warning is logged. Setting ``stop`` ends it.
        """
        return watch(self._session, *self._watching(sources, following), stop)

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
        self, sources: SourceArgument, **taking: Unpack[IngestOptions]
    ) -> IngestReport:
        """As ``Collection.ingest``."""
        return await ingest_async(self._session, *self._taking(sources, taking))

    async def plan(self, sources: SourceArgument, **taking: Unpack[IngestOptions]) -> Plan:
        """As ``Collection.plan``."""
        return await plan_async(self._session, *self._taking(sources, taking, dry=True))

    async def runs(self, *, limit: int = 20) -> list[Run]:
        """As ``Collection.runs``."""
        flow = runs.recent(self._target.generation.collection, limit)
        return await run_async(flow, self._session)

    async def enqueue(
        self, sources: SourceArgument, *, options: LoadOptions | None = None
    ) -> EnqueueReport:
        """As ``Collection.enqueue``."""
        return await enqueue_async(self._session, *self._handing_over(sources, options))

    def watch(
        self, sources: SourceArgument, **following: Unpack[WatchOptions]
    ) -> AsyncGenerator[IngestReport, None]:
        """As ``Collection.watch``; cancelling ends it."""
        return watch_async(self._session, *self._watching(sources, following))

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
