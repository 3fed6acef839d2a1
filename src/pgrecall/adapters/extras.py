"""Packages that only an adapter needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pgrecall.errors import MissingExtra


@contextmanager
def needs(extra: str, *packages: str) -> Iterator[None]:
    """Around the imports of ``packages``: raises MissingExtra if one of them is not installed."""
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in packages:
            raise
        raise MissingExtra(f"The adapter for {extra}", extra) from exc
