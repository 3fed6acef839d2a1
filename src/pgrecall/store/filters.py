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


def encode(where: Where | None) -> Jsonb | None:
    """The filter as jsonb; raises FilterError for values that JSON does not have."""
    if where is None:
        return None
    if not isinstance(where, Mapping):
        raise FilterError('A filter is a mapping, such as {"lang": "en"}.')
    return Jsonb(_plain(where))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_text(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float | Decimal) and math.isfinite(value):
        return float(value)
    raise FilterError(f"A filter cannot compare with {value!r}; use text, numbers, dates or lists.")


def _text(value: object) -> str:
    if not isinstance(value, str) or "\x00" in value:
        raise FilterError(f"A filter cannot hold {value!r}: keys are text, without NUL characters.")
    # A lone surrogate is in no stored text; replaced, it still matches none.
    return value.encode("utf-8", "replace").decode()
