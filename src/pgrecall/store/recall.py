"""How much of the truth a generation's index finds, measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgrecall.errors import InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch

#: A recall that fell by more than this is worth a warning.
DRIFT = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallReport:
    """Recall@10 of the index at each step of ef_search, against exact search."""

    curve: Mapping[int, float]
    #: As it was measured before; None if it was not.
    previous: Mapping[int, float] | None
    #: What searches of the collection promise, unless they say otherwise.
    target: float
    #: The step that searches take: the smallest that keeps the promise, or, if none does, the one beyond
    #: which hardly anything is gained.
    ef_search: int

    @property
    def kept(self) -> bool:
        """Whether the index keeps the promise."""
        return self.curve[self.ef_search] >= self.target

    @property
    def drifted(self) -> bool:
        """Whether the step that searches took until now finds clearly less than it did."""
        if self.previous is None:
            return False
        step = _step(self.previous, self.target)
        return self.curve[step] < self.previous[step] - DRIFT


def measure(generation: Generation, *, questions: int = 100) -> Flow[RecallReport]:
    """Measure the recall with so many questions and keep it for the searches that follow.

    Raises InvalidArgument where there is nothing to measure, because all searches are exact.
    """
    if not 2 <= questions <= 10_000:
        raise InvalidArgument(f"questions lies between 2 and 10,000, not at {questions!r}.")
    before = yield from fetch(
        "SELECT pgrecall.steps(), recall_curve FROM pgrecall.generations WHERE generation_id = %s",
        [generation.generation_id],
    )
    steps, previous = before[0]
    measured = yield from fetch(
        "SELECT pgrecall.measure_recall(%s, %s::integer)", [generation.collection, questions]
    )
    curve = measured[0][0]
    if curve is None:
        raise InvalidArgument(
            f'The collection "{generation.collection}" has no vector index yet, or so few chunks that '
            "every search is exact: its recall is 1."
        )
    target = float(generation.defaults.get("recall", 0.98))
    found = dict(zip(steps, curve, strict=True))
    return RecallReport(
        curve=found,
        previous=None if previous is None else dict(zip(steps, previous, strict=True)),
        target=target,
        ef_search=_step(found, target),
    )


def _step(curve: Mapping[int, float], target: float) -> int:
    """As pgrecall.breadth chooses."""
    enough = target if max(curve.values()) >= target else max(curve.values()) - 0.01
    return next(step for step, reached in curve.items() if reached >= enough)
