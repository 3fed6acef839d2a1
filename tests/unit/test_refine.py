"""The laws of what happens to candidates, whatever they are."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrecall.errors import InvalidArgument
from pgrecall.refine import (
    Boost,
    Recency,
    above,
    boosted,
    deduplicated,
    diversified,
    expanded,
    fused,
    per_document,
    reranked,
    widened,
)
from pgrecall.refine.boost import moment
from pgrecall.refine.duplicates import shingles
from pgrecall.types import FloatArray, Hit

NOW = datetime(2025, 1, 1, tzinfo=UTC)
WORDS = ["tide", "moon", "Moon", "sea,", "harbour", "潮", "月"]


def hit(number: int = 0, **fields: Any) -> Hit:
    document = fields.pop("document", number)
    given: dict[str, Any] = {
        "text": f"text {number}",
        "score": 1.0,
        "uri": f"d{document}",
        "title": None,
        "metadata": {},
        "tenant_id": "",
        "document_id": UUID(int=document),
        "ordinal": number,
        "start": 0,
        "end": 10,
        "page": None,
        "headings": (),
    }
    return Hit(**(given | fields))


scores = st.floats(-1e6, 1e6)


@st.composite
def ranked(draw: st.DrawFn) -> list[Hit]:
    """Hits as a search returns them: best first, each chunk once, of a few documents."""
    found = sorted(draw(st.lists(scores, max_size=12)), reverse=True)
    texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
    return [
        hit(
            number,
            score=score,
            document=draw(st.integers(0, 3)),
            text=draw(texts),
            vector_score=draw(st.none() | st.floats(-1, 1)),
        )
        for number, score in enumerate(found)
    ]


@st.composite
def with_vectors(draw: st.DrawFn) -> tuple[list[Hit], FloatArray]:
    hits = draw(ranked())
    rows = draw(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=len(hits)))
    return hits, np.array(rows[: len(hits)], dtype=np.float32).reshape(-1, 3)


@given(with_vectors(), st.floats(0, 1))
def test_diversity_only_changes_the_order(
    candidates: tuple[list[Hit], FloatArray], diversity: float
) -> None:
    hits, vectors = candidates
    found = list(diversified(hits, vectors, diversity))
    assert sorted(found, key=lambda h: h.ordinal) == hits
    assert found[:1] == hits[:1]


@given(with_vectors())
def test_no_diversity_keeps_the_order(candidates: tuple[list[Hit], FloatArray]) -> None:
    assert list(diversified(*candidates, 0.0)) == candidates[0]


def test_diversity_puts_back_what_is_like_a_better_hit() -> None:
    hits = [hit(0, score=1.0), hit(1, score=0.9), hit(2, score=0.5), hit(3, score=0.0)]
    vectors = np.array([[3, 0], [2.9, 0.1], [0, 1], [1, 1]], dtype=np.float32)
    order = [found.ordinal for found in diversified(hits, vectors, 0.5)]
    # 0.5 * 0.9 - 0.5 * 0.999 < 0.5 * 0.5 - 0.5 * 0
    assert order == [0, 2, 1, 3]


def test_an_opposite_is_no_better_than_a_stranger() -> None:
    hits = [hit(0, score=1.0), hit(1, score=0.6), hit(2, score=0.5), hit(3, score=0.0)]
    vectors = np.array([[1, 0], [0, 1], [-1, 0], [0, 0]], dtype=np.float32)
    assert [found.ordinal for found in diversified(hits, vectors, 0.9)] == [0, 1, 2, 3]


@given(ranked(), st.integers(1, 4))
def test_a_document_has_so_many_hits_and_its_best(hits: list[Hit], most: int) -> None:
    found = list(per_document(hits, most))
    for document in {h.document_id for h in hits}:
        of_it = [h for h in hits if h.document_id == document]
        assert [h for h in found if h.document_id == document] == of_it[:most]
    assert found == [h for h in hits if h in found]


def test_a_document_of_another_tenant_is_another() -> None:
    hits = [hit(0, tenant_id="a"), hit(1, tenant_id="b", document=0)]
    assert list(per_document(hits, 1)) == hits


@given(ranked(), st.floats(-1, 1))
def test_the_threshold_is_a_filter(hits: list[Hit], least: float) -> None:
    assert above(hits, least) == [
        h for h in hits if h.vector_score is not None and h.vector_score >= least
    ]


def resemblance(one: Hit, other: Hit) -> float:
    a, b = shingles(one.text), shingles(other.text)
    return len(a & b) / len(a | b)


@given(ranked(), st.floats(0.05, 1))
def test_the_best_of_each_group_of_duplicates_stays(hits: list[Hit], same: float) -> None:
    found = list(deduplicated(hits, same))
    assert found == [h for h in hits if h in found]
    for one, other in combinations(found, 2):
        assert resemblance(one, other) < same + 1e-9
    for gone in [h for h in hits if h not in found]:
        better = [h for h in found if h.ordinal < gone.ordinal]
        assert any(resemblance(h, gone) >= same - 1e-9 for h in better)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The tide rises twice a day.", "the tide — rises TWICE a day", True),
        ("The tide rises twice a day.", "The tide rises once a day.", False),
        ("\uff46\uff55ll width", "full width", True),
        ("潮は一日に二度満ちる。", "潮は一日に二度、満ちる", True),
        ("潮は一日に二度満ちる。", "月は地球を回る。", False),
        ("...", "!!!", False),
        ("...", "...", True),
    ],
)
def test_what_counts_as_the_same(one: str, other: str, same: bool) -> None:
    hits = [hit(0, text=one), hit(1, text=other)]
    assert len(list(deduplicated(hits, 0.9))) == (1 if same else 2)


@given(ranked(), st.data())
def test_reranking_sorts_by_the_new_scores(hits: list[Hit], data: st.DataObject) -> None:
    new = data.draw(st.lists(scores, min_size=len(hits), max_size=len(hits)))
    found = reranked(hits, new)
    assert [h.score for h in found] == sorted(new, reverse=True)
    assert all(h.rerank_score == h.score == new[h.ordinal] for h in found)


def test_equal_scores_keep_the_order() -> None:
    hits = [hit(n, score=3 - n) for n in range(3)]
    assert [h.ordinal for h in reranked(hits, [1, 1, 1])] == [0, 1, 2]


@given(st.lists(ranked(), min_size=1, max_size=3), st.sampled_from(["rrf", "max"]))
def test_fusion_has_every_chunk_once(lists: list[list[Hit]], combine: Any) -> None:
    found = fused(lists, combine)
    keys = [(h.document_id, h.ordinal) for h in found]
    assert set(keys) == {(h.document_id, h.ordinal) for hits in lists for h in hits}
    assert len(keys) == len(set(keys))
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    if len(lists) == 1:
        assert found == lists[0]


def test_rank_fusion_prefers_what_several_questions_find() -> None:
    a, b, c = hit(0, score=0.9), hit(1, score=0.5), hit(2, score=0.8)
    both = fused([[a, b], [c, hit(1, score=0.6)]], "rrf")
    assert [h.ordinal for h in both] == [1, 0, 2]
    assert both[0].score == pytest.approx(2 / 62)
    assert [h.ordinal for h in fused([[a, b], [c, hit(1, score=0.6)]], "max")] == [0, 2, 1]


@given(ranked(), st.floats(0, 1))
def test_a_boost_that_says_nothing_keeps_the_order(hits: list[Hit], weight: float) -> None:
    found = boosted(hits, [Boost("kind", {"a": 1.0}, weight=weight)])
    assert sorted(h.ordinal for h in found) == [h.ordinal for h in hits]
    if weight == 0:
        assert [h.ordinal for h in found] == [h.ordinal for h in hits]
    assert all(0 <= h.score <= 1 for h in found)


def test_without_signals_the_scores_stay() -> None:
    hits = [hit(0, score=7.0), hit(1, score=-3.0)]
    assert boosted(hits, []) == hits


def test_recency_halves_with_each_half_life() -> None:
    dates = ["2025-01-01", "2024-12-02", "2024-11-02T00:00:00Z", "2031-05", None, "soon", True]
    hits = [hit(n, metadata={"date": date}) for n, date in enumerate(dates)]
    values = Recency("date", half_life=30, now=NOW).values(hits)
    assert values == pytest.approx([1, 0.5, 0.25, 1, 0, 0, 0])


def test_the_newer_of_two_equals_comes_first() -> None:
    hits = [hit(0, metadata={"date": "2001"}), hit(1, metadata={"date": "2024"})]
    found = boosted(hits, [Recency("date", now=NOW, weight=0.3)])
    assert [h.ordinal for h in found] == [1, 0]
    assert found[0].score == pytest.approx(0.7 + 0.3 * 0.5 ** (366 / 365))


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        (2024, "2024-01-01T00:00:00+00:00"),
        ("2024", "2024-01-01T00:00:00+00:00"),
        ("2024-05", "2024-05-01T00:00:00+00:00"),
        (" 2024-05-07 ", "2024-05-07T00:00:00+00:00"),
        ("2024-05-07T12:00:00+02:00", "2024-05-07T12:00:00+02:00"),
        (1700000000, "2023-11-14T22:13:20+00:00"),
        (1e300, None),
        ("\uff12\uff10\uff12\uff14", None),
        ([2024], None),
        ({"a": 1}, None),
    ],
)
def test_what_counts_as_a_time(value: object, meant: str | None) -> None:
    assert moment(value) == (None if meant is None else datetime.fromisoformat(meant))


@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text()
    | st.lists(st.text())
)
def test_any_metadata_gives_a_value_from_0_to_1(value: object) -> None:
    hits = [hit(0, metadata={"x": value})]
    table = {"a": 0.5, 1: 1.0}
    for signal in (Recency("x", now=NOW), Boost("x", table), Boost("x", pivot=0.5)):
        (found,) = boosted(hits, [signal])
        assert 0 <= found.score <= 1


def test_a_boost_by_table_and_by_number() -> None:
    hits = [
        hit(0, metadata={"kind": "forum", "votes": 300}),
        hit(1, metadata={"kind": ["forum", "handbook"], "votes": 100}),
        hit(2, metadata={"kind": {"a": 1}, "votes": -5}),
    ]
    assert Boost("kind", {"handbook": 1.0, "forum": 0.3}).values(hits) == [0.3, 1.0, 0.0]
    assert Boost("votes", pivot=100).values(hits) == [0.75, 0.5, 0.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Boost("x"),
        lambda: Boost("x", {"a": 1.0}, pivot=3),
        lambda: Boost("x", {"a": 1.5}),
        lambda: Boost("x", pivot=0),
        lambda: Boost("x", pivot=1, weight=1.1),
        lambda: Recency("x", half_life=0),
        lambda: Recency("x", weight=-0.1),
    ],
)
def test_a_signal_that_makes_no_sense_is_refused(make: Any) -> None:
    with pytest.raises(InvalidArgument):
        make()


def test_what_is_shown_already_is_not_shown_again() -> None:
    first = hit(4, document=0, start=40, end=50)
    inside = hit(5, document=0, start=50, end=60)
    outside = hit(7, document=0, start=70, end=80)
    elsewhere = hit(5, document=1, start=50, end=60)
    pairs = [(first, (30, 60)), (inside, (40, 70)), (outside, (60, 90)), (elsewhere, (40, 70))]
    assert [h for h, _ in widened(pairs)] == [first, outside, elsewhere]


@given(st.text(min_size=1, max_size=40), st.data())
def test_an_expanded_hit_is_a_slice(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=4, max_size=4)))
    low, start, end, high = cuts
    found = hit(0, start=start, end=end, text=text[start:end])
    wide = expanded(found, (low, high), (text[low:high], (0, 5)))
    assert (wide.start, wide.end, wide.text) == (low, high, text[low:high])
    assert wide.page == (2 if low >= 5 else 1)
    changed = expanded(found, (low, high), ("\x00" + text[low:high], ()))
    assert changed == found
    if low < high:
        assert expanded(found, (low, high), None) == found
