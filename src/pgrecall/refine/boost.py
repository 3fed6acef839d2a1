"""Signals beside relevance: how new a document is, or what a field of its metadata says.

A signal gives each hit a value from 0 to 1 and has a weight. The scores are brought to the range from 0 to
1 as well, and the sum is convex: (1 - all weights) * score + weight * value + ... So a weight of 0.2 means a
fifth of the score, whatever scale the search or the reranker has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from numbers import Real
from typing import Any, Protocol, TypeGuard

import numpy as np

from pgrecall.errors import InvalidArgument
from pgrecall.refine.reranked import best_first
from pgrecall.refine.scale import min_max
from pgrecall.types import Hit

_DAY = 86_400.0
_YEARS = range(1000, 10_000)
#: JSON knows numbers that no float holds.
_HUGE = 1e300


class Signal(Protocol):
    """Anything that says of a hit how welcome it is. ``Recency`` and ``Boost`` are signals."""

    @property
    def weight(self) -> float:
        """Its share of the score, 0 to 1."""

    def values(self, hits: Sequence[Hit]) -> Sequence[float]:
        """A value from 0 to 1 for each hit."""


@dataclass(frozen=True, slots=True)
class Recency:
    """Newer is better: 1 for now, and half as much with each ``half_life`` (in days) that has passed.

    The field holds an ISO date or time, a year, or seconds since 1970. A hit without it gets 0. Exponential
    decay as in Li and Croft, 2003, https://doi.org/10.1145/956863.956951
    """

    field: str
    half_life: float = 365.0
    weight: float = 0.2
    #: The time from which ages are counted; None: that of the search. Without a zone: UTC.
    now: datetime | None = None

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        if not (_is_number(self.half_life) and self.half_life > 0):
            raise InvalidArgument(f"half_life is a number of days above 0, not {self.half_life!r}.")
        if not isinstance(self.now, datetime | None):
            raise InvalidArgument(f"now is a datetime, not {self.now!r}.")

    def values(self, hits: Sequence[Hit]) -> list[float]:
        """The decay of each hit's age; what lies in the future is as good as new."""
        now = _aware(self.now or datetime.now(UTC))
        return [self._value(moment(hit.metadata.get(self.field)), now) for hit in hits]

    def _value(self, then: datetime | None, now: datetime) -> float:
        if then is None:
            return 0.0
        age = max(0.0, (now - then).total_seconds()) / _DAY
        return float(0.5 ** (age / self.half_life))


@dataclass(frozen=True, slots=True)
class Boost:
    """What a field of the metadata says, by a table or by a number.

    ``values_of={"handbook": 1.0, "forum": 0.3}`` gives each value its place; of a list the best item counts.
    ``pivot=100`` is for a number such as a count of votes: n / (n + pivot), i.e. 0.5 where it equals the
    pivot (Craswell et al., 2005, https://doi.org/10.1145/1076034.1076106). A hit without the field gets 0.
    """

    field: str
    values_of: Mapping[Any, float] | None = None
    pivot: float | None = None
    weight: float = 0.2

    def __post_init__(self) -> None:
        _check_weight(self.weight)
        if (self.values_of is None) == (self.pivot is None):
            raise InvalidArgument("A Boost has either values_of, a table, or pivot, a number.")
        if self.pivot is not None and not (_is_number(self.pivot) and self.pivot > 0):
            raise InvalidArgument(f"pivot is a number above 0, not {self.pivot!r}.")
        if not isinstance(self.values_of, Mapping | None):
            raise InvalidArgument(f"values_of is a table of numbers, not {self.values_of!r}.")
        if not all(_is_share(value) for value in (self.values_of or {}).values()):
            raise InvalidArgument("The values of a Boost lie between 0 and 1.")

    def values(self, hits: Sequence[Hit]) -> list[float]:
        """The value of each hit."""
        return [self._value(hit.metadata.get(self.field)) for hit in hits]

    def _value(self, found: object) -> float:
        if self.values_of is not None:
            items = found if isinstance(found, list) else [found]
            known = [item for item in items if isinstance(item, str | int | float)]
            return max((self.values_of.get(item, 0.0) for item in known), default=0.0)
        if self.pivot is None or not isinstance(found, int | float) or not found > 0:
            return 0.0
        number = float(min(found, _HUGE))
        return number / (number + self.pivot)


def boosted(hits: Sequence[Hit], signals: Sequence[Signal]) -> list[Hit]:
    """Best first by the scores with the signals in them; without signals the hits as they are."""
    if not signals or not hits:
        return list(hits)
    scores = (1 - sum(signal.weight for signal in signals)) * min_max([hit.score for hit in hits])
    for signal in signals:
        values = np.asarray(signal.values(hits), dtype=np.float64)
        scores += signal.weight * np.clip(np.nan_to_num(values), 0, 1)
    return best_first(
        replace(hit, score=score) for hit, score in zip(hits, scores.tolist(), strict=True)
    )


def moment(value: object) -> datetime | None:
    """The time that a value of metadata means; None if it means none."""
    try:
        if isinstance(value, str):
            return _aware(datetime.fromisoformat(_complete(value.strip())))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if value in _YEARS:
            return datetime(int(value), 1, 1, tzinfo=UTC)
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _complete(date: str) -> str:
    """2024 and 2024-05 are dates to people."""
    if re.fullmatch(r"\d{4}", date, re.A):
        return f"{date}-01-01"
    return f"{date}-01" if re.fullmatch(r"\d{4}-\d\d", date, re.A) else date


def _aware(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _check_weight(weight: object) -> None:
    if not _is_share(weight):
        raise InvalidArgument(f"The weight of a signal lies between 0 and 1, not at {weight!r}.")


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool)
