from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrecall.errors import InvalidArgument
from pgrecall.load import clean_document
from pgrecall.types import Document

ANY_TEXT = st.text(st.characters(), max_size=20)  # with NUL and surrogates
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.datetimes(),
    st.uuids(),
    ANY_TEXT,
)
KEYS = st.one_of(ANY_TEXT, st.integers(), st.dates(), st.floats(), st.none(), st.booleans())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.frozensets(SCALARS, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
    ),
    max_leaves=15,
)


def cleaned(metadata: dict[Any, Any]) -> dict[str, Any]:
    return dict(clean_document(Document(uri="u", text="x", metadata=metadata)).metadata)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_clean_metadata_survives_json(metadata: dict[Any, Any]) -> None:
    clean = cleaned(metadata)
    written = json.dumps(clean, allow_nan=False, ensure_ascii=False)
    assert json.loads(written) == clean
    assert "\0" not in written
    assert "\\u0000" not in written
    written.encode("utf-8")


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_clean_strings_can_be_stored(text: str, title: str, tenant: str) -> None:
    document = Document(uri="u", text=text, title=title, tenant_id=tenant)
    clean = clean_document(document)
    for value in (clean.text, clean.title or "", clean.tenant_id):
        assert "\0" not in value
        value.encode("utf-8")
    assert clean_document(clean) == clean


@given(st.lists(st.text(st.sampled_from("ab\0\ud800é"), max_size=8), min_size=1, max_size=6))
def test_pages_follow_the_text(pages: list[str]) -> None:
    starts = [sum(map(len, pages[:number])) for number in range(len(pages))]
    clean = clean_document(Document(uri="u", text="".join(pages), pages=tuple(starts)))
    ends = (*clean.pages[1:], len(clean.text))
    parts = [clean.text[start:end] for start, end in zip(clean.pages, ends, strict=True)]
    assert parts == [page.replace("\0", "").replace("\ud800", "") for page in pages]


def test_notes_count_what_was_removed() -> None:
    clean = clean_document(
        Document(uri="u", text="a\0b\0", title="\ud800t", metadata={"k": [float("inf"), 1.5]})
    )
    assert clean.notes == (
        "removed 2 NUL characters",
        "removed 1 lone surrogate",
        "set 1 NaN or infinite number of the metadata to null",
    )


def test_values_become_json() -> None:
    given = {
        "date": dt.date(2024, 5, 6),
        "time": dt.datetime(2024, 5, 6, 7, 8, tzinfo=dt.UTC),
        "set": {"b", "a"},
        "tuple": (1, 2),
        "decimal": Decimal("1.5"),
        "whole": Decimal("100"),
        "uuid": UUID(int=1),
        "path": PurePosixPath("a/b"),
        "numpy": np.int64(3),
        "float32": np.float32(0.5),
        7: {"nested": True},
    }
    assert cleaned(given) == {
        "date": "2024-05-06",
        "time": "2024-05-06T07:08:00+00:00",
        "set": ["a", "b"],
        "tuple": [1, 2],
        "decimal": 1.5,
        "whole": 100,
        "uuid": "00000000-0000-0000-0000-000000000001",
        "path": "a/b",
        "numpy": 3,
        "float32": 0.5,
        "7": {"nested": True},
    }


def test_values_that_json_cannot_hold_are_named() -> None:
    with pytest.raises(InvalidArgument, match=r"'a\.b' is a bytes"):
        cleaned({"a": {"b": b"raw"}})
    with pytest.raises(InvalidArgument, match="key under 'a' is a tuple"):
        cleaned({"a": {(1, 2): 3}})
    with pytest.raises(InvalidArgument, match="digits"):
        cleaned({"a": 10**5000})
    assert cleaned({"a": Decimal("1e999999"), "b": Decimal("sNaN")}) == {"a": None, "b": None}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"uri": "é" * 1001}, "uri has 2,002 bytes"),
        ({"tenant_id": "t" * 501}, "tenant_id has 501 bytes"),
        ({"markup": "rtf"}, "markup is plain"),
        ({"language": 5}, "language must be text or None, not int"),
        ({"mime_type": None}, "mime_type must be text, not NoneType"),
    ],
)
def test_fields_that_cannot_be_stored_are_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        clean_document(Document(**{"uri": "u", "text": "text", **fields}))


def test_metadata_that_multiplies_is_refused() -> None:
    layer: list[Any] = ["x"] * 10
    for _ in range(12):
        layer = [layer] * 10
    with pytest.raises(InvalidArgument, match="too large"):
        cleaned({"laughs": layer})
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(InvalidArgument, match="too large"):
        cleaned({"endless": endless})


def test_title_is_one_line() -> None:
    clean = clean_document(Document(uri="u", text="x", title="  a\n  b  "))
    assert clean.title == "a b"
    assert clean_document(Document(uri="u", text="x", title=" \n")).title is None
