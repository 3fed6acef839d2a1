"""LangChain: a collection as a ``BaseRetriever``."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field, field_validator

from pgrecall import AsyncCollection, Collection, Hit
from pgrecall.adapters.asking import checked, search, search_async
from pgrecall.adapters.extras import needs
from pgrecall.adapters.fields import identity, metadata

with needs("langchain", "langchain_core"):
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
    )
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever


class PgrecallRetriever(BaseRetriever):
    """``PgrecallRetriever(collection=docs, options={"k": 5}).invoke("a question")``.

    Keywords of one call win over ``options``: ``invoke(question, k=3, where={"lang": "en"})``. With an
    AsyncCollection only ``ainvoke`` and its kin work; with a Collection all do, awaited ones in a thread.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    collection: Collection | AsyncCollection
    #: Keywords of ``Collection.search``.
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _known(cls, options: dict[str, Any]) -> dict[str, Any]:
        return checked(options)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        hits = search(self.collection, query, {**self.options, **options})
        return [document(hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        hits = await search_async(self.collection, query, {**self.options, **options})
        return [document(hit) for hit in hits]


def document(hit: Hit) -> Document:
    """The hit as LangChain's document: source, title, page, start_index and score beside its metadata."""
    return Document(
        id=identity(hit),
        page_content=hit.text,
        metadata=metadata(
            hit,
            source=hit.uri,
            title=hit.title,
            page=hit.page,
            start_index=hit.start,
            score=hit.score,
        ),
    )
