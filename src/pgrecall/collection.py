"""A collection: what users hold in their hands, blocking or awaiting.

Both classes only choose how to wait; what they do is in ``ingest``, ``retrieve`` and ``store``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from functools import partial
from os import PathLike
from threading import Event
from typing import Any, TypedDict, Unpack, cast

from pgrecall import errors, retrieve
from pgrecall.answer import Answer, AsyncAnswer, LanguageModel, language_model
from pgrecall.context import Context
from pgrecall.flow import Flow, run, run_async
from pgrecall.ingest import Ingestion, Progress, ingest, ingest_async
from pgrecall.ingest.tables import TableRun, TableSource, sync_table
from pgrecall.ingest.watch import Watched, watch, watch_async, watch_table, watch_table_async
from pgrecall.load import LoadOptions
from pgrecall.load.discover import StrPath
from pgrecall.load.scope import Sync, scopes
from pgrecall.retrieve import Questions, SearchOptions, SimilarOptions, Target
from pgrecall.settle import measure_recall, settle
from pgrecall.store import (
    collections,
    documents,
    indexes,
    originals,
    queries,
    status,
    wordsearch,
)
from pgrecall.store.elsewhere import elsewhere, elsewhere_async
from pgrecall.store.recall import RecallReport
from pgrecall.store.session import AsyncSession, Session
from pgrecall.store.status import CollectionStatus
from pgrecall.types import Document, Hit, Hits, IngestReport, Order

#: One source or many: files, folders, globs, "-" for standard input, or Documents.
SourceArgument = StrPath | Document | Iterable[StrPath | Document]


class Defaults(TypedDict, total=False):
    """What ``configure`` takes."""

    #: Share of the nearest rows that the index is to find. Built in: 0.98.
    recall: float | None
    #: Share of the vector arm in a hybrid score. Built in: 0.5.
    vector_weight: float | None
    #: The extension that ranks words, "pg_textsearch", where the database has it. Built in: none.
    text_search: str | None
    #: Whether questions that are asked from Python and the command line are kept, for measuring the recall.
    #: Built in: they are not.
    log_queries: bool | None


class TableChoices(TypedDict, total=False):
    """How ``sync_table`` goes about it."""

    #: Read every row again, whatever ``updated_at`` or the triggers say.
    full: bool
    #: Look whether stored rows are still there; for queries that name no deleted rows it is the only way.
    deletes: bool
    #: The table may have become empty.
    allow_empty: bool


class _Described:
    """What both flavours know without asking the database."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} ({self.embedder_name})>"

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._target.generation.collection

    @property
    def embedder_name(self) -> str:
        """The embedder that made its vectors, and embeds questions to it."""
        return self._target.generation.embedder

    @property
    def dimensions(self) -> int:
        """Length of its vectors."""
        return self._target.generation.dimensions

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What was chosen for it, as it was when this object was made or last configured."""
        return self._target.generation.defaults

    def _job(self, options: LoadOptions, progress: Progress | None) -> Ingestion:
        target = self._target
        return Ingestion(
            generation=target.generation,
            embedder=target.embedder,
            tenant_id=options.tenant_id,
            progress=progress,
        )

    def _table(
        self,
        source: str | TableSource,
        options: LoadOptions,
        session: Session | AsyncSession | None,
        progress: Progress | None,
        choices: TableChoices,
    ) -> TableRun:
        return TableRun(
            source=TableSource(table=source) if isinstance(source, str) else source,
            options=options,
            job=lambda: self._job(options, progress),
            elsewhere=session,
            **choices,
        )

    def _context(
        self,
        question: Questions,
        max_tokens: int,
        tokenizer: str,
        order: Order,
        options: SearchOptions,
    ) -> Flow[Context]:
        return retrieve.context(
            self._target,
            question,
            max_tokens=max_tokens,
            tokenizer=tokenizer,
            order=order,
            options=options,
        )

    def _delete(self, uris: str | Iterable[str], tenant_id: str | None) -> Flow[int]:
        named = [uris] if isinstance(uris, str) else list(uris)
        return documents.delete(self._target.generation, named, tenant_id)

    def _configure(self, options: Defaults) -> Flow[None]:
        for name in ("recall", "vector_weight"):
            value = cast(float | None, options.get(name))
            if value is not None and not 0 <= value <= 1:
                raise errors.InvalidArgument(f"{name} lies between 0 and 1, not at {value!r}.")
        if not isinstance(options.get("log_queries"), bool | None):
            raise errors.InvalidArgument("log_queries is True, False or None.")
        yield from wordsearch.check(options.get("text_search"))
        generation = yield from collections.configure(
            self._target.generation, cast(dict[str, Any], options)
        )
        self._target.switch(generation)
        if "text_search" in options:
            yield from wordsearch.forget(generation)
            yield from indexes.build(generation)

    def _measure_recall(self, questions: int) -> Flow[RecallReport]:
        if not 2 <= questions <= 10_000:
            raise errors.InvalidArgument(f"questions is 2 to 10,000, not {questions!r}.")
        target = self._target
        return measure_recall(target.generation, target.embedder, questions=questions)

    def _clear_queries(self) -> Flow[int]:
        return queries.clear(self._target.generation)

    def _index_metadata(self, key: str, type: str) -> Flow[None]:
        return indexes.index_metadata(self._target.generation, key, type)

    def _optimize(self) -> Flow[None]:
        # As if every chunk were new: all statistics are taken again.
        target = self._target
        return settle(target.generation, lambda: target.embedder, written=2**62)


class Collection(_Described):
    """A named set of documents that are searched together. From ``Database.collection``."""

    def __init__(self, target: Target, session: Session) -> None:
        super().__init__(target)
        self._session = session

    def ingest(
        self,
        sources: SourceArgument,
        *,
        options: LoadOptions | None = None,
        progress: Progress | None = None,
        sync: bool = False,
        allow_empty: bool = False,
    ) -> IngestReport:
        """Take in files, folders, globs or Documents; what has not changed is skipped.

        Each document is swapped whole. A source that cannot be read is reported in ``failed`` and stops
        nothing. ``progress`` is called with the report so far, from several threads.

        ``sync`` also removes the documents that were found in these sources before and are there no more,
        and a file that was renamed keeps its vectors. What cannot be read has not gone; a source in which
        nothing is found keeps its documents unless ``allow_empty``.

        Raises EmbeddingError if the embedder fails time and again, DatabaseUnavailable if the server
        goes away; run it again to go on.
        """
        chosen = options or LoadOptions()
        listed = list(_listed(sources)) if sync else _listed(sources)
        kept = _sync(listed, chosen, allow_empty=allow_empty) if sync else None
        return ingest(self._session, self._job(chosen, progress), listed, chosen, kept)

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
        chosen = options or LoadOptions()
        watched = Watched(_paths(sources), chosen, allow_empty=allow_empty)
        return watch(self._session, lambda: self._job(chosen, progress), watched, stop)

    def sync_table(
        self,
        source: str | TableSource,
        *,
        url: str | None = None,
        options: LoadOptions | None = None,
        progress: Progress | None = None,
        **choices: Unpack[TableChoices],
    ) -> IngestReport:
        """Bring the collection in step with a table, or a query as a TableSource: also changed and gone rows.

        ``url`` is the database that it is in; without it, the collection's own. Run it again, as often as
        you like: rows are read by their ``updated_at``, or as triggers noted them.

        Raises InvalidArgument for columns that are not there.
        """
        with elsewhere(url) as session:
            task = self._table(source, options or LoadOptions(), session, progress, choices)
            return run(sync_table(task), self._session)

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
        look = partial(self.sync_table, source, url=url, options=options, allow_empty=allow_empty)
        return watch_table(look, every, stop)

    def search(self, question: Questions, **options: Unpack[SearchOptions]) -> Hits:
        """The chunks that answer best, best first; keywords as in ``SearchOptions``.

        A list of questions is searched at once, and their hits become one list.

        Raises FilterError, InvalidArgument, EmbeddingError.
        """
        return run(retrieve.search(self._target, question, options), self._session)

    def context(
        self,
        question: Questions,
        *,
        max_tokens: int = 3000,
        tokenizer: str = "cl100k_base",
        order: Order = "best_first",
        **options: Unpack[SearchOptions],
    ) -> Context:
        """The best passages in at most ``max_tokens`` tokens of ``tokenizer``, with citations.

        ``tokenizer`` is the name of the model that will read them ("gpt-4o") or of an encoding. With
        ``order="best_last"`` the best document stands last, for models that read the end best.
        """
        flow = self._context(question, max_tokens, tokenizer, order, options)
        return run(flow, self._session)

    def ask(
        self,
        question: str,
        *,
        model: str | LanguageModel | None = None,
        max_tokens: int = 3000,
        order: Order = "best_first",
        **options: Unpack[SearchOptions],
    ) -> Answer:
        """Let a language model answer from a context of ``max_tokens``; iterate over what it says.

        ``model`` is a name or a LanguageModel; without it PGRECALL_LLM_MODEL names one. Afterwards
        ``answer.verify()`` holds its markers and quotes against the passages. Raises LanguageModelUnset,
        which says what to set, MissingExtra, and what ``search`` raises.
        """
        chosen = _model(model)
        flow = self._context(question, max_tokens, chosen.tokenizer, order, options)
        return Answer(run(flow, self._session), question, chosen)

    def similar(self, to: Hit | Document | str, **options: Unpack[SimilarOptions]) -> Hits:
        """The chunks of other documents most like a hit, or like a document (or its uri) as a whole."""
        return run(retrieve.similar(self._target, to, options), self._session)

    def document(self, uri: str, *, tenant_id: str = "") -> Document:
        """A document as it was taken in, with its whole text; raises DocumentNotFound."""
        flow = originals.fetch_document(self._target.generation, uri, tenant_id)
        return run(flow, self._session)

    def index_metadata(self, key: str, *, type: str) -> None:
        """Index one key of the metadata that is often filtered on, for equality and ranges.

        ``type`` is int, float, text or date (as ISO 8601 text). Writers are not held up meanwhile.
        """
        run(self._index_metadata(key, type), self._session)

    def measure_recall(self, *, questions: int = 100) -> RecallReport:
        """Measure how much of the truth the vector index finds, and keep it for later searches.

        Raises InvalidArgument where every search is exact anyway.
        """
        return run(self._measure_recall(questions), self._session)

    def configure(self, **changes: Unpack[Defaults]) -> None:
        """Set what searches do unless they say otherwise; None goes back to the built-in default."""
        run(self._configure(changes), self._session)

    def clear_queries(self) -> int:
        """Forget the questions that were logged; the number of them."""
        return run(self._clear_queries(), self._session)

    def delete(self, uris: str | Iterable[str], *, tenant_id: str | None = None) -> int:
        """Remove documents by uri; the number that were there."""
        return run(self._delete(uris, tenant_id), self._session)

    def status(self) -> CollectionStatus:
        """What the collection holds, in figures."""
        return run(status.status(self._target.generation), self._session)

    def optimize(self) -> None:
        """Build missing indexes and take statistics anew."""
        run(self._optimize(), self._session)


class AsyncCollection(_Described):
    """As ``Collection``, awaited."""

    def __init__(self, target: Target, session: AsyncSession) -> None:
        super().__init__(target)
        self._session = session

    async def ingest(
        self,
        sources: SourceArgument,
        *,
        options: LoadOptions | None = None,
        progress: Progress | None = None,
        sync: bool = False,
        allow_empty: bool = False,
    ) -> IngestReport:
        """As ``Collection.ingest``."""
        chosen = options or LoadOptions()
        listed = list(_listed(sources)) if sync else _listed(sources)
        kept = _sync(listed, chosen, allow_empty=allow_empty) if sync else None
        job = self._job(chosen, progress)
        return await ingest_async(self._session, job, listed, chosen, kept)

    def watch(
        self,
        sources: SourceArgument,
        *,
        options: LoadOptions | None = None,
        progress: Progress | None = None,
        allow_empty: bool = False,
    ) -> AsyncGenerator[IngestReport, None]:
        """As ``Collection.watch``; cancelling ends it."""
        chosen = options or LoadOptions()
        watched = Watched(_paths(sources), chosen, allow_empty=allow_empty)
        return watch_async(self._session, lambda: self._job(chosen, progress), watched)

    async def sync_table(
        self,
        source: str | TableSource,
        *,
        url: str | None = None,
        options: LoadOptions | None = None,
        progress: Progress | None = None,
        **choices: Unpack[TableChoices],
    ) -> IngestReport:
        """As ``Collection.sync_table``."""
        async with elsewhere_async(url) as session:
            task = self._table(source, options or LoadOptions(), session, progress, choices)
            return await run_async(sync_table(task), self._session)

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
        look = partial(self.sync_table, source, url=url, options=options, allow_empty=allow_empty)
        return watch_table_async(look, every)

    async def search(self, question: Questions, **options: Unpack[SearchOptions]) -> Hits:
        """As ``Collection.search``."""
        return await run_async(retrieve.search(self._target, question, options), self._session)

    async def context(
        self,
        question: Questions,
        *,
        max_tokens: int = 3000,
        tokenizer: str = "cl100k_base",
        order: Order = "best_first",
        **options: Unpack[SearchOptions],
    ) -> Context:
        """As ``Collection.context``."""
        flow = self._context(question, max_tokens, tokenizer, order, options)
        return await run_async(flow, self._session)

    async def ask(
        self,
        question: str,
        *,
        model: str | LanguageModel | None = None,
        max_tokens: int = 3000,
        order: Order = "best_first",
        **options: Unpack[SearchOptions],
    ) -> AsyncAnswer:
        """As ``Collection.ask``."""
        chosen = _model(model)
        flow = self._context(question, max_tokens, chosen.tokenizer, order, options)
        return AsyncAnswer(await run_async(flow, self._session), question, chosen)

    async def similar(self, to: Hit | Document | str, **options: Unpack[SimilarOptions]) -> Hits:
        """As ``Collection.similar``."""
        return await run_async(retrieve.similar(self._target, to, options), self._session)

    async def document(self, uri: str, *, tenant_id: str = "") -> Document:
        """As ``Collection.document``."""
        flow = originals.fetch_document(self._target.generation, uri, tenant_id)
        return await run_async(flow, self._session)

    async def index_metadata(self, key: str, *, type: str) -> None:
        """As ``Collection.index_metadata``."""
        await run_async(self._index_metadata(key, type), self._session)

    async def measure_recall(self, *, questions: int = 100) -> RecallReport:
        """As ``Collection.measure_recall``."""
        return await run_async(self._measure_recall(questions), self._session)

    async def configure(self, **changes: Unpack[Defaults]) -> None:
        """As ``Collection.configure``."""
        await run_async(self._configure(changes), self._session)

    async def clear_queries(self) -> int:
        """As ``Collection.clear_queries``."""
        return await run_async(self._clear_queries(), self._session)

    async def delete(self, uris: str | Iterable[str], *, tenant_id: str | None = None) -> int:
        """As ``Collection.delete``."""
        return await run_async(self._delete(uris, tenant_id), self._session)

    async def status(self) -> CollectionStatus:
        """As ``Collection.status``."""
        return await run_async(status.status(self._target.generation), self._session)

    async def optimize(self) -> None:
        """As ``Collection.optimize``."""
        await run_async(self._optimize(), self._session)


def _model(given: str | LanguageModel | None) -> LanguageModel:
    return given if isinstance(given, LanguageModel) else language_model(given)


def _sync(
    sources: Iterable[StrPath | Document], options: LoadOptions, *, allow_empty: bool
) -> Sync:
    found = scopes(sources)
    return Sync(scopes=found, tenant_id=options.tenant_id, allow_empty=allow_empty)


def _paths(sources: SourceArgument) -> list[StrPath]:
    listed = list(_listed(sources))
    paths = [source for source in listed if not isinstance(source, Document)]
    if len(paths) < len(listed):
        raise errors.InvalidArgument(
            "Documents that are given cannot be watched; name files, folders or globs."
        )
    return paths


def _listed(sources: SourceArgument) -> Iterable[StrPath | Document]:
    return [sources] if isinstance(sources, str | PathLike | Document) else sources
