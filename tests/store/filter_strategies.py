"""Metadata and filters that hypothesis makes: few keys and values, so that they meet."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

#: Each of them is trouble somewhere.
KEYS = [
    "a",
    "b",
    "",
    "a.b",
    "it's",
    'say "x"',
    "back\\slash",
    "c$",
    "é\u0301",
    "\U0001f600",
    "\n",
    "@",
]
TEXTS = [
    "",
    "a",
    "b",
    "B",
    "10",
    "9",
    "'; DROP TABLE x; --",
    '" || true',
    "\\",
    "$.a",
    "%s",
    "ﬀ",
    "\U0001f600",
    "\U0010ffff",
    "\U0010ffffa",
]
NUMBERS = [
    0,
    -0.0,
    1,
    1.0,
    -1,
    2,
    0.1,
    1e-7,
    1e22,
    10**30,
    -(10**30),
    1.7976931348623157e308,
    5e-324,
]

keys = st.sampled_from(KEYS)
texts = st.sampled_from(TEXTS) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=3
)
numbers = (
    st.sampled_from(NUMBERS) | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
)
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)
metadatas = st.dictionaries(keys, values, max_size=4)
comparisons = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), scalars),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
)


@st.composite
def said_of_a_key(draw: st.DrawFn, depth: int) -> Any:
    """What a filter may say about one key."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(scalars)
    inner = said_of_a_key(depth - 1)
    operators = st.one_of(
        comparisons,
        st.tuples(keys, inner),
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, max_size=2)),
        st.tuples(st.just("$not"), inner),
    )
    return dict(draw(st.lists(operators, min_size=1, max_size=2)))


@st.composite
def filters(draw: st.DrawFn, depth: int) -> dict[str, Any]:
    if depth == 0 or draw(st.booleans()):
        return draw(st.dictionaries(keys, said_of_a_key(3), min_size=1, max_size=2))
    inner = filters(depth - 1)
    operators = st.one_of(
        st.tuples(st.sampled_from(["$and", "$or"]), st.lists(inner, max_size=3)),
        st.tuples(st.just("$not"), inner),
        st.tuples(keys, said_of_a_key(2)),
    )
    return dict(draw(st.lists(operators, min_size=1, max_size=2)))
