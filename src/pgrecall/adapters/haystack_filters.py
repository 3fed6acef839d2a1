"""Haystack's filters in the language of ``where``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgrecall.errors import FilterError

_COMPARISONS = {
    "==": "$eq",
    "!=": "$ne",
    ">": "$gt",
    ">=": "$gte",
    "<": "$lt",
    "<=": "$lte",
    "in": "$in",
    "not in": "$nin",
}

#: Not metadata, but fields of Haystack's own document.
_NOT_METADATA = {"id", "content", "blob", "meta", "score", "embedding", "sparse_embedding"}


def where(filters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """E.g. ``{"field": "meta.year", "operator": ">=", "value": 2024}`` -> ``{"year": {"$gte": 2024}}``.

    Raises FilterError for what is no filter of Haystack's, and where it has no operator of ours.
    """
    if not filters:
        return None
    try:
        return _condition(filters)
    except (KeyError, TypeError, AttributeError) as exc:
        raise FilterError(
            "A filter of Haystack's has an operator with conditions, or with a field and a value."
        ) from exc


def _condition(given: Mapping[str, Any]) -> dict[str, Any]:
    operator = given["operator"]
    if "field" not in given:
        return _logical(operator, [_condition(part) for part in given["conditions"]])
    if given["field"] in _NOT_METADATA:
        raise FilterError(f"A filter compares metadata (meta.KEY), not {given['field']!r}.")
    path, value = given["field"].removeprefix("meta.").split("."), given["value"]
    if operator not in _COMPARISONS:
        raise FilterError(
            f"Unknown operator {operator!r}; there are: {', '.join(_COMPARISONS)}, AND, OR, NOT."
        )
    if value is None and operator in ("==", "!="):
        # To Haystack a field that is missing is None.
        nothing = {"$or": [_at(path, {"$exists": False}), _at(path, {"$eq": None})]}
        return nothing if operator == "==" else {"$not": nothing}
    return _at(path, {_COMPARISONS[operator]: value})


def _logical(operator: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    match operator:
        case "AND":
            return {"$and": parts}
        case "OR":
            return {"$or": parts}
        case "NOT":
            return {"$not": {"$and": parts}}
        case _:
            raise FilterError(f"Unknown operator {operator!r}; conditions take AND, OR and NOT.")


def _at(path: list[str], test: dict[str, Any]) -> dict[str, Any]:
    for key in reversed(path):
        test = {key: test}
    return test
