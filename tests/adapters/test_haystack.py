from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pgrecall import AsyncCollection, Collection, Database, errors
from tests.adapters.conftest import FRUIT
from tests.store.filter_oracle import matches

pytest.importorskip("haystack", reason="the extra haystack")

from haystack import Document, Pipeline
from haystack.utils import Secret
from haystack.utils.filters import document_matches_filter
from hypothesis import given
from hypothesis import strategies as st

from pgrecall.adapters.haystack import PgrecallRetriever
from pgrecall.adapters.haystack_filters import where

YEARS = {"field": "meta.year", "operator": ">", "value": 0}


def test_a_hit_becomes_a_document(docs: Collection) -> None:
    (hit,) = docs.search("when are olives ripe", k=1)
    (found,) = PgrecallRetriever(docs, options={"k": 1}).run("when are olives ripe")["documents"]
    assert (found.id, found.content) == (f"{hit.document_id}:{hit.ordinal}", hit.text)
    assert FRUIT in hit.text
    assert found.score == hit.score
    kept = found.meta
    assert (kept["source"], kept["title"], kept["page_number"]) == ("garden.md", "The garden", 1)
    assert (kept["split_idx_start"], kept["year"]) == (hit.start, 2021)
    assert kept["pgrecall"]["headings"] == ["Trees"]
    assert Document.from_dict(found.to_dict()) == found


def test_filters_narrow_what_the_options_allow(docs: Collection) -> None:
    def found(options: dict[str, Any], filters: dict[str, Any] | None) -> set[str]:
        documents = PgrecallRetriever(docs, options=options).run("olives", filters)["documents"]
        return {document.meta["source"] for document in documents}

    old = {"field": "meta.year", "operator": "<", "value": 2000}
    assert found({}, None) == {"garden.md", "quinces.md", "harbour.md"}
    assert found({}, YEARS) == {"garden.md", "quinces.md"}
    assert found({"where": {"year": {"$gt": 0}}}, {"operator": "NOT", "conditions": [old]}) == {
        "garden.md"
    }
    missing = {"field": "meta.year", "operator": "==", "value": None}
    assert found({}, missing) == {"harbour.md"}


def test_top_k_of_a_run_wins(docs: Collection) -> None:
    retriever = PgrecallRetriever(docs, options={"k": 2})
    assert len(retriever.run("olives")["documents"]) == 2
    assert len(retriever.run("olives", top_k=3)["documents"]) == 3


def test_awaited_it_answers_the_same(
    docs: Collection, awaiting: Callable[[Callable[[AsyncCollection], Any]], Any]
) -> None:
    blocking = PgrecallRetriever(docs, options={"k": 2})
    expected = blocking.run("olives", YEARS)

    async def both(awaited: AsyncCollection) -> list[Any]:
        native = PgrecallRetriever(awaited, options={"k": 2})
        with pytest.raises(errors.InvalidArgument, match="has to be awaited"):
            native.run("olives")
        return [await native.run_async("olives", YEARS), await blocking.run_async("olives", YEARS)]

    assert awaiting(both) == [expected, expected]


def test_a_pipeline_is_saved_loaded_and_run(
    db: Database, docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline()
    pipeline.add_component("retriever", PgrecallRetriever(docs, options={"k": 1}))
    saved = pipeline.dumps()
    assert db.url not in saved
    monkeypatch.setenv("PGRECALL_DATABASE_URL", db.url)
    loaded = Pipeline.loads(saved, allowed_modules=["pgrecall.adapters.haystack"])
    asked = {"retriever": {"query": "when are olives ripe"}}
    try:
        assert loaded.run(asked) == pipeline.run(asked)
    finally:
        loaded.close()
    assert loaded.dumps() == saved
    pipeline.close()
    assert docs.search("olives"), "what was passed in stays open"


def test_a_collection_by_name_is_connected_once_and_closed(db: Database) -> None:
    retriever = PgrecallRetriever("notes", url=Secret.from_token(db.url), options={"k": 1})
    first = retriever.run("olives")
    retriever.warm_up()
    assert retriever.run("olives") == first
    retriever.close()
    retriever.close()
    assert retriever.run("olives") == first, "it connects again"
    retriever.close()


def test_a_collection_that_is_not_there_leaves_no_connection(db: Database) -> None:
    retriever = PgrecallRetriever("nothing", url=Secret.from_token(db.url))
    for _ in range(2):
        with pytest.raises(errors.CollectionNotFound):
            retriever.warm_up()


def test_an_unknown_option_is_refused_at_once(docs: Collection) -> None:
    with pytest.raises(errors.InvalidArgument, match="top_k"):
        PgrecallRetriever(docs, options={"top_k": 2})


KEYS = st.sampled_from(["meta.a", "b", "meta.deep.c"])
COMPARISONS = st.builds(
    lambda key, operator, value: {"field": key, "operator": operator, "value": value},
    KEYS,
    st.sampled_from(["==", "!=", ">", ">=", "<", "<="]),
    st.integers(-2, 2),
) | st.builds(
    lambda key, operator, values: {"field": key, "operator": operator, "value": values},
    KEYS,
    st.sampled_from(["in", "not in"]),
    st.lists(st.integers(-2, 2), max_size=3),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda parts: st.builds(
        lambda operator, conditions: {"operator": operator, "conditions": conditions},
        st.sampled_from(["AND", "OR", "NOT"]),
        st.lists(parts, min_size=1, max_size=3),
    ),
    max_leaves=6,
)
NULLS = st.builds(
    lambda key, operator: {"field": key, "operator": operator, "value": None},
    KEYS,
    st.sampled_from(["==", "!="]),
)
VALUES = st.integers(-2, 2) | st.none()
METADATA = st.fixed_dictionaries(
    {}, optional={"a": VALUES, "b": VALUES, "deep": st.fixed_dictionaries({"c": VALUES})}
)


@given(filters=FILTERS | NULLS, own=METADATA)
def test_a_filter_means_the_same_as_to_haystack(
    filters: dict[str, Any], own: dict[str, Any]
) -> None:
    translated = where(filters)
    assert translated is not None
    assert matches(own, translated) == document_matches_filter(filters, Document(meta=own))


@pytest.mark.parametrize(
    "wrong",
    [
        {"field": "meta.a", "operator": "~", "value": 1},
        {"operator": "XOR", "conditions": []},
        {"operator": "AND"},
        {"field": "meta.a", "operator": "=="},
        {"field": "content", "operator": "==", "value": "olives"},
        {"year": 2021},
    ],
    ids=str,
)
def test_what_is_no_filter_is_refused(docs: Collection, wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.FilterError):
        PgrecallRetriever(docs).run("olives", wrong)
