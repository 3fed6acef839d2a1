"""What a filter means, in plain Python: the second opinion on functions/filter_v1.sql."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

#: The outcomes of a comparison are true, false and unknown; only true counts.
COMPARE: dict[str, Callable[[int], bool]] = {
    "$eq": lambda order: order == 0,
    "$gt": lambda order: order > 0,
    "$gte": lambda order: order >= 0,
    "$lt": lambda order: order < 0,
    "$lte": lambda order: order <= 0,
}


def matches(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether the metadata, a JSON value, pass the filter; {} lets everything through."""
    return not where or _holds([metadata], where)


def _holds(values: list[Any], where: Any) -> bool:
    """Whether the values found under a path pass what the filter says about that path."""
    if not isinstance(where, Mapping):
        return _compare(values, "$eq", where)
    return all(_entry(values, key, wanted) for key, wanted in where.items())


def _entry(values: list[Any], key: str, wanted: Any) -> bool:
    match key:
        case "$and":
            return all(_holds(values, part) for part in wanted)
        case "$or":
            return any(_holds(values, part) for part in wanted)
        case "$not":
            return not _holds(values, wanted)
        case "$ne":
            return not _compare(values, "$eq", wanted)
        case "$in":
            return any(_compare(values, "$eq", item) for item in wanted)
        case "$nin":
            return not any(_compare(values, "$eq", item) for item in wanted)
        case "$exists":
            return bool(wanted) == bool(values)
        case _ if key in COMPARE:
            return _compare(values, key, wanted)
        case _:
            return _holds(list(_lookup(values, key)), wanted)


def _lookup(values: list[Any], key: str) -> Iterable[Any]:
    for value in _unwrapped(values):
        if isinstance(value, Mapping) and key in value:
            yield value[key]


def _unwrapped(values: list[Any]) -> Iterable[Any]:
    """Lists stand for their elements, one level deep."""
    for value in values:
        yield from value if isinstance(value, list) else [value]


def _compare(values: list[Any], operator: str, wanted: Any) -> bool:
    orders = (_order(value, wanted) for value in _unwrapped(values))
    return any(order is not None and COMPARE[operator](order) for order in orders)


def _order(value: Any, wanted: Any) -> int | None:
    """-1, 0 or 1; None where the two do not compare."""
    if type_of(value) != type_of(wanted) or type_of(value) in ("list", "object"):
        return None
    left, right = _key(value), _key(wanted)
    return int(left > right) - int(left < right)


def type_of(value: Any) -> str:
    """The JSON type; a boolean is no number."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"


def _key(value: Any) -> Any:
    if value is None:
        return 0
    if isinstance(value, int | float) and not isinstance(value, bool):
        # The number that the JSON text says, as Postgres reads it.
        return Decimal(json.dumps(value))
    return value
