"""What of a hit reaches the metadata of a framework's document."""

from __future__ import annotations

import dataclasses
import json
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from pgrecall import Collection, Hit
from pgrecall.adapters.fields import RECORD, identity, metadata, record
from tests.adapters.conftest import FRUIT

HIT = Hit(
    text="t",
    score=0.5,
    uri="u",
    title=None,
    metadata={},
    tenant_id="",
    document_id=UUID(int=1),
    ordinal=0,
    start=0,
    end=1,
    page=None,
    headings=(),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda some: st.lists(some), max_leaves=5
)


def test_the_record_has_every_field_and_is_json(docs: Collection) -> None:
    (hit, *_) = docs.search(FRUIT, k=1)
    kept = record(hit)
    assert kept.keys() | {"text", "metadata"} == {field.name for field in dataclasses.fields(Hit)}
    assert json.loads(json.dumps(kept)) == kept
    assert (kept["uri"], kept["start"], kept["end"]) == ("garden.md", hit.start, hit.end)
    assert (kept["page"], kept["headings"]) == (1, ["Trees"])


def test_a_hit_has_the_same_identity_in_each_search(docs: Collection) -> None:
    hits = docs.search("olives and carrots", k=10, tenant_id="")
    again = docs.search("carrots", k=10, mode="vector", tenant_id="")
    assert len({identity(hit) for hit in hits}) == len(hits) == 4
    assert {identity(hit) for hit in hits} == {identity(hit) for hit in again}


@given(own=st.dictionaries(st.text().filter(lambda key: key != RECORD), JSON))
def test_no_field_of_the_document_is_lost(own: dict[str, object]) -> None:
    hit = dataclasses.replace(HIT, metadata=own)
    found = metadata(hit, source=hit.uri, page=hit.page, score=hit.score)
    assert all(found[key] == value for key, value in own.items())
    assert found[RECORD]["score"] == hit.score
    assert "page" in own or "page" not in found, "None is left out"
