"""Haystack: a collection as a retriever component."""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import Any

from pgrecall import AsyncCollection, Collection, Database, Hit, connect
from pgrecall.adapters.asking import checked, search, search_async
from pgrecall.adapters.extras import needs
from pgrecall.adapters.fields import identity, metadata
from pgrecall.adapters.haystack_filters import where

with needs("haystack", "haystack"):
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret

#: Where a pipeline that was loaded finds its database; unset: the embedded one.
_URL = Secret.from_env_var("PGRECALL_DATABASE_URL", strict=False)


@component
class PgrecallRetriever:
    """``PgrecallRetriever(docs, options={"k": 5}).run("a question")["documents"]``.

    Given the name of a collection, as after loading a pipeline, it connects at ``warm_up`` (or at the first
    run) to ``url`` and disconnects at ``close``. With an AsyncCollection only ``run_async`` works; otherwise
    both do, the awaited one in a thread.
    """

    def __init__(
        self,
        collection: Collection | AsyncCollection | str,
        *,
        url: Secret = _URL,
        options: dict[str, Any] | None = None,
    ) -> None:
        """``options`` are keywords of ``Collection.search``; ``url`` serves a collection given by name."""
        self._collection = collection
        self._url = url
        self._options = checked(options)
        self._database: Database | None = None
        self._opening = Lock()

    def warm_up(self) -> None:
        """Connect, if the collection was given by name."""
        self._opened()

    def close(self) -> None:
        """Disconnect what ``warm_up`` connected; a collection that was passed in stays open."""
        with self._opening:
            if self._database is not None:
                self._collection = self._name
                self._database.close()
                self._database = None

    def to_dict(self) -> dict[str, Any]:
        """The component by the name of its collection; options have to be plain values."""
        parameters = {"collection": self._name, "url": self._url, "options": self._options}
        data: dict[str, Any] = default_to_dict(self, **parameters)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PgrecallRetriever:
        """The component again, not connected yet."""
        made: PgrecallRetriever = default_from_dict(cls, data)
        return made

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """The documents, best first. ``filters`` are Haystack's, on top of ``where`` in the options."""
        hits = search(self._opened(), query, self._wanted(filters, top_k))
        return {"documents": [document(hit) for hit in hits]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """As ``run``, awaited."""
        source = await asyncio.to_thread(self._opened)
        hits = await search_async(source, query, self._wanted(filters, top_k))
        return {"documents": [document(hit) for hit in hits]}

    @property
    def _name(self) -> str:
        return self._collection if isinstance(self._collection, str) else self._collection.name

    def _opened(self) -> Collection | AsyncCollection:
        with self._opening:
            if isinstance(self._collection, str):
                database = connect(self._url.resolve_value())
                try:
                    self._collection = database.collection(self._collection)
                except BaseException:
                    database.close()
                    raise
                self._database = database
            return self._collection

    def _wanted(self, filters: dict[str, Any] | None, top_k: int | None) -> dict[str, Any]:
        wanted = dict(self._options)
        conditions = [given for given in (wanted.get("where"), where(filters)) if given]
        if conditions:
            wanted["where"] = {"$and": conditions}
        if top_k is not None:
            wanted["k"] = top_k
        return wanted


def document(hit: Hit) -> Document:
    """The hit as Haystack's document, with the metadata that its own splitters write."""
    return Document(
        id=identity(hit),
        content=hit.text,
        meta=metadata(
            hit,
            source=hit.uri,
            title=hit.title,
            page_number=hit.page,
            source_id=str(hit.document_id),
            split_id=hit.ordinal,
            split_idx_start=hit.start,
        ),
        score=hit.score,
    )
