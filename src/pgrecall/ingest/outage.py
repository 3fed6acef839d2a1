"""Waiting out an outage: how long, and of what."""

from __future__ import annotations

from pgrecall.errors import CredentialsMissing

#: Seconds to the next attempt after the first failure, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0


def unless_final(exc: Exception) -> None:
    """Raise what no waiting mends."""
    if isinstance(exc, CredentialsMissing):
        raise exc
