"""A collection: what users hold in their hands, blocking or awaiting.

Both classes only choose how to wait. Most of what they can do is in their parts: ``searching``, ``ingesting``,
``exchanging`` and ``generations``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, TypedDict, Unpack, cast

from pgrecall import errors
from pgrecall.exchanging import AsyncExchanging, Exchanging
from pgrecall.flow import Flow, run, run_async
from pgrecall.generations import AsyncGenerations, Generations
from pgrecall.ingesting import AsyncIngesting, Ingesting
from pgrecall.keywords import check_keywords
from pgrecall.searching import AsyncSearching, Searching
from pgrecall.settle import measure_recall, settle
from pgrecall.store import (
    collections,
    documents,
    graph,
    indexes,
    originals,
    queries,
    recall,
    status,
    wordsearch,
)
from pgrecall.store.recall import RecallReport
from pgrecall.store.session import AsyncSession, Session
from pgrecall.store.status import CollectionStatus, IndexBuild
from pgrecall.target import Target, follow
from pgrecall.types import Document, FloatArray


class Defaults(TypedDict, total=False):
    """What ``configure`` takes."""

    #: Share of the nearest rows that the index is to find. Built in: 0.98.
    recall: float | None
    #: Share of the vector arm in a hybrid score. Built in: 0.5, and 0.7 with models of vendors.
    vector_weight: float | None
    #: The extension that ranks words, "pg_textsearch", where the database has it. Built in: none.
    text_search: str | None
    #: Whether questions that are asked from Python and the command line are kept, for measuring the recall.
    #: Built in: they are not.
    log_queries: bool | None


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

    def _delete(self, uris: str | Iterable[str], tenant_id: str | None) -> Flow[int]:
        named = [uris] if isinstance(uris, str) else list(uris)
        return documents.delete(self._target.generation, named, tenant_id)

    def _configure(self, options: Defaults) -> Flow[None]:
        check_keywords(options, Defaults)
        for name in ("recall", "vector_weight"):
            value = cast(float | None, options.get(name))
            if value is not None and not (isinstance(value, Real) and 0 <= value <= 1):
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
            yield from graph.build(generation)

    def _measure_recall(self, questions: int, embeddings: FloatArray | None) -> Flow[RecallReport]:
        if not 2 <= questions <= 10_000:
            raise errors.InvalidArgument(f"questions is 2 to 10,000, not {questions!r}.")
        target = self._target
        generation = yield from follow(target)
        if embeddings is not None:
            asked = recall.checked(embeddings, generation)
            return (yield from recall.measure(generation, asked))
        embedder = target.embedder_of(generation)
        return (yield from measure_recall(generation, embedder, questions=questions))

    def _clear_queries(self) -> Flow[int]:
        return queries.clear(self._target.generation)

    def _index_metadata(self, key: str, type: str) -> Flow[None]:
        yield from indexes.index_metadata((yield from follow(self._target)), key, type)

    def _optimize(self) -> Flow[None]:
        # As if every chunk were new: all statistics are taken again.
        target = self._target
        generation = yield from follow(target)
        yield from settle(
            generation,
            lambda: target.embedder_of(generation),
            written=2**62,
        )

    def _status(self) -> Flow[CollectionStatus]:
        return (yield from status.status((yield from follow(self._target))))


class Collection(_Described, Searching, Generations, Ingesting, Exchanging):
    """A named set of documents that are searched together. From ``Database.collection``."""

    def __init__(self, target: Target, session: Session) -> None:
        super().__init__(target)
        self._session = session

    def document(self, uri: str, *, tenant_id: str = "") -> Document:
        """A document as it was taken in, with its whole text; raises DocumentNotFound."""
        flow = originals.fetch_document(self._target.generation, uri, tenant_id)
        return run(flow, self._session)

    def index_metadata(self, key: str, *, type: str) -> None:
        """Index one key of the metadata that is often filtered on, for equality and ranges.

        ``type`` is int, float, text or date (as ISO 8601 text). Writers are not held up meanwhile.
        """
        run(self._index_metadata(key, type), self._session)

    def measure_recall(
        self, *, questions: int = 400, embeddings: FloatArray | None = None
    ) -> RecallReport:
        """Measure how much of the truth the vector index finds, and keep it for later searches.

        ``embeddings`` are those of real questions, shape (n, dimensions), for vectors that were made
        elsewhere. Without them, it is measured with logged questions and pieces of the stored texts, or with
        stand-ins made of stored vectors where no question can be embedded.

        Raises InvalidArgument where every search is exact anyway.
        """
        return run(self._measure_recall(questions, embeddings), self._session)

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
        return run(self._status(), self._session)

    def index_build(self) -> IndexBuild | None:
        """How far the index is that is being built just now; None if there is none."""
        return run(status.building(self._target.generation), self._session)

    def optimize(self) -> None:
        """Build missing indexes and take statistics anew."""
        run(self._optimize(), self._session)


class AsyncCollection(
    _Described, AsyncSearching, AsyncGenerations, AsyncIngesting, AsyncExchanging
):
    """As ``Collection``, awaited."""

    def __init__(self, target: Target, session: AsyncSession) -> None:
        super().__init__(target)
        self._session = session

    async def document(self, uri: str, *, tenant_id: str = "") -> Document:
        """As ``Collection.document``."""
        flow = originals.fetch_document(self._target.generation, uri, tenant_id)
        return await run_async(flow, self._session)

    async def index_metadata(self, key: str, *, type: str) -> None:
        """As ``Collection.index_metadata``."""
        await run_async(self._index_metadata(key, type), self._session)

    async def measure_recall(
        self, *, questions: int = 400, embeddings: FloatArray | None = None
    ) -> RecallReport:
        """As ``Collection.measure_recall``."""
        return await run_async(self._measure_recall(questions, embeddings), self._session)

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
        return await run_async(self._status(), self._session)

    async def index_build(self) -> IndexBuild | None:
        """As ``Collection.index_build``."""
        return await run_async(status.building(self._target.generation), self._session)

    async def optimize(self) -> None:
        """As ``Collection.optimize``."""
        await run_async(self._optimize(), self._session)
