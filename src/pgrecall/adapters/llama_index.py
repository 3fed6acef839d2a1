"""LlamaIndex: a collection as a ``BaseRetriever``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgrecall import Hit
from pgrecall.adapters.asking import Source, checked, search, search_async
from pgrecall.adapters.extras import needs
from pgrecall.adapters.fields import RECORD, identity, metadata

with needs("llama-index", "llama_index"):
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import (
        NodeRelationship,
        NodeWithScore,
        ObjectType,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )


class PgrecallRetriever(BaseRetriever):
    """``PgrecallRetriever(docs, options={"k": 5}).retrieve("a question")``.

    Strings that a query transform wants searched instead of the question (HyDE) are searched at once. With
    an AsyncCollection only ``aretrieve`` works; with a Collection both do, the awaited one in a thread.
    """

    def __init__(
        self, collection: Source, *, options: Mapping[str, Any] | None = None, **settings: Any
    ) -> None:
        """``options`` are keywords of ``Collection.search``; ``settings`` go to BaseRetriever."""
        super().__init__(**settings)
        self._collection = collection
        self._options = checked(options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = search(self._collection, query_bundle.embedding_strs, self._options)
        return [node(hit) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = await search_async(self._collection, query_bundle.embedding_strs, self._options)
        return [node(hit) for hit in hits]


def node(hit: Hit) -> NodeWithScore:
    """The hit as a TextNode whose source is its document; language models do not see the record."""
    text = TextNode(
        id_=identity(hit),
        text=hit.text,
        start_char_idx=hit.start,
        end_char_idx=hit.end,
        metadata=metadata(hit, source=hit.uri, title=hit.title, page_label=hit.page),
        excluded_llm_metadata_keys=[RECORD],
        excluded_embed_metadata_keys=[RECORD],
        relationships={
            NodeRelationship.SOURCE: RelatedNodeInfo(
                node_id=str(hit.document_id),
                node_type=ObjectType.DOCUMENT,
                metadata=dict(hit.metadata),
            )
        },
    )
    return NodeWithScore(node=text, score=hit.score)
