from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pgrecall import AsyncCollection, Collection, errors
from tests.adapters.conftest import FRUIT

pytest.importorskip("langchain_core", reason="the extra langchain")

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from pydantic import ValidationError

from pgrecall.adapters.langchain import PgrecallRetriever


def test_a_hit_becomes_a_document(docs: Collection) -> None:
    (hit,) = docs.search("when are olives ripe", k=1, tenant_id="")
    retriever = PgrecallRetriever(collection=docs, options={"k": 1, "tenant_id": ""})
    (found,) = retriever.invoke("when are olives ripe")
    assert isinstance(found, Document)
    assert FRUIT in found.page_content
    assert found.page_content == hit.text
    assert found.id == f"{hit.document_id}:{hit.ordinal}"
    kept = found.metadata
    assert (kept["source"], kept["title"], kept["page"]) == ("garden.md", "The garden", 1)
    assert (kept["start_index"], kept["year"]) == (hit.start, 2021)
    assert kept["score"] == "their own", "what the document says of itself stays"
    assert kept["pgrecall"]["score"] == hit.score
    assert kept["pgrecall"]["headings"] == ["Trees"]


def test_keywords_of_a_call_win(docs: Collection) -> None:
    retriever = PgrecallRetriever(collection=docs, options={"k": 4, "tenant_id": ""})
    assert len(retriever.invoke("olives")) == 4
    old = retriever.invoke("olives", k=2, where={"year": {"$lt": 2000}})
    assert [found.metadata["source"] for found in old] == ["quinces.md"]
    assert len(retriever.batch(["olives", "ferry"])) == 2


def test_awaited_it_answers_the_same(
    docs: Collection, awaiting: Callable[[Callable[[AsyncCollection], Any]], Any]
) -> None:
    blocking = PgrecallRetriever(collection=docs, options={"k": 3})
    expected = blocking.invoke("olives")

    async def both(awaited: AsyncCollection) -> list[Any]:
        native = PgrecallRetriever(collection=awaited, options={"k": 3})
        with pytest.raises(errors.InvalidArgument, match="has to be awaited"):
            native.invoke("olives")
        return [await native.ainvoke("olives"), await blocking.ainvoke("olives", k=3)]

    assert awaiting(both) == [expected, expected]


def test_it_is_a_link_of_a_chain(docs: Collection) -> None:
    chain = PgrecallRetriever(collection=docs) | RunnableLambda(lambda found: found[0].page_content)
    assert FRUIT in chain.invoke("when are olives ripe")


@pytest.mark.parametrize(
    "wrong", [{"options": {"top_k": 3}}, {"k": 3}, {"collection": "notes"}], ids=str
)
def test_what_does_not_fit_is_refused_at_once(docs: Collection, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PgrecallRetriever(**{"collection": docs, **wrong})
