"""Filters on their way to SQL: what JSON cannot say is turned into what it can, or refused.

The meaning of a filter is defined once, in functions/filter_v1.sql.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from pgrecall.errors import FilterError
from pgrecall.types import Where

#: Python and Postgres both go down one call a level; neither goes down without end.
MAX_DEPTH = 100
#: Stored metadata hold no whole numbers beyond it (``load.clean``), and Python prints none of 4,300 digits.
LARGEST = 10**1000


def encode(where: Where | None) -> Jsonb | None:
    """The filter as jsonb; raises FilterError for values that JSON does not have."""
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise FilterError('A filter is a mapping, such as {"lang": "en"}.')
    return Jsonb(_plain(where, 0))


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise FilterError(f"A filter is nested at most {MAX_DEPTH} deep.")
    if isinstance(value, Mapping):
        return {_text(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth + 1) for item in value]
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, int) and abs(value) >= LARGEST:
        raise FilterError("A whole number in a filter has at most 1,000 digits.")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Decimal) and value.is_finite():
        value = float(value)
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise FilterError(f"A filter cannot compare with {value!r}; use text, numbers, dates or lists.")


def _text(value: object) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise FilterError(f"A filter cannot hold {value!r}: keys are text, without NUL characters.")
    # A lone surrogate is in no stored text; replaced, it still matches none.
    return value.encode("utf-8", "replace").decode()
