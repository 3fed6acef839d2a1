from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pgrecall import AsyncCollection, Collection, errors
from tests.adapters.conftest import FRUIT, ROOTS

pytest.importorskip("llama_index.core", reason="the extra llama-index")

from llama_index.core.schema import MetadataMode, NodeRelationship, QueryBundle, TextNode

from pgrecall.adapters.llama_index import PgrecallRetriever


def test_a_hit_becomes_a_node(docs: Collection) -> None:
    (hit,) = docs.search("when are olives ripe", k=1)
    (found,) = PgrecallRetriever(docs, options={"k": 1}).retrieve("when are olives ripe")
    node = found.node
    assert isinstance(node, TextNode)
    assert (found.score, node.text, node.id_) == (hit.score, hit.text, f"{hit.document_id}:0")
    assert (node.start_char_idx, node.end_char_idx) == (hit.start, hit.end)
    assert node.ref_doc_id == str(hit.document_id)
    assert node.relationships[NodeRelationship.SOURCE] == node.source_node
    kept = node.metadata
    assert (kept["source"], kept["title"], kept["page_label"]) == ("garden.md", "The garden", 1)
    assert (kept["year"], kept["pgrecall"]["headings"]) == (2021, ["Trees"])


def test_a_language_model_reads_the_metadata_without_the_record(docs: Collection) -> None:
    (found,) = PgrecallRetriever(docs, options={"k": 1}).retrieve("when are olives ripe")
    shown = found.node.get_content(metadata_mode=MetadataMode.LLM)
    assert "source: garden.md" in shown
    assert "year: 2021" in shown
    assert "document_id" not in shown


def test_the_strings_of_a_query_transform_are_searched(docs: Collection) -> None:
    retriever = PgrecallRetriever(docs, options={"k": 2})
    bundle = QueryBundle("anything", custom_embedding_strs=[FRUIT, ROOTS])
    found = [node.node.get_content() for node in retriever.retrieve(bundle)]
    assert found == [hit.text for hit in docs.search([FRUIT, ROOTS], k=2)]
    assert found != [node.node.get_content() for node in retriever.retrieve("noon ferry")]


def test_awaited_it_answers_the_same(
    docs: Collection, awaiting: Callable[[Callable[[AsyncCollection], Any]], Any]
) -> None:
    blocking = PgrecallRetriever(docs, options={"k": 3, "where": {"year": {"$gt": 0}}})
    expected = blocking.retrieve("olives")
    assert len(expected) == 3

    async def both(awaited: AsyncCollection) -> list[Any]:
        native = PgrecallRetriever(awaited, options={"k": 3, "where": {"year": {"$gt": 0}}})
        with pytest.raises(errors.InvalidArgument, match="has to be awaited"):
            native.retrieve("olives")
        return [await native.aretrieve("olives"), await blocking.aretrieve("olives")]

    assert awaiting(both) == [expected, expected]


def test_an_unknown_option_is_refused_at_once(docs: Collection) -> None:
    with pytest.raises(errors.InvalidArgument, match="similarity_top_k"):
        PgrecallRetriever(docs, options={"similarity_top_k": 2})
