"""Waiting out an outage: how long, and of what."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pgrecall.errors import CredentialsMissing

logger = logging.getLogger(__name__)

#: Seconds to the next attempt after the first failure, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
#: Doublings after which a pause is the longest, whatever the first one was.
_DOUBLINGS = 16


@dataclass(slots=True)
class Outage:
    """Failures one after the other, each followed by a longer pause than the one before."""

    #: Seconds after the first of them.
    first: float = FIRST_PAUSE
    _failures: int = 0

    def over(self) -> None:
        """An attempt went well."""
        self._failures = 0

    def pause(self, reason: object) -> float:
        """Seconds to wait after one more failure. Raises the reason where no waiting mends it."""
        if isinstance(reason, CredentialsMissing):
            raise reason
        seconds = min(self.first * 2.0**self._failures, LONGEST_PAUSE)
        self._failures = min(self._failures + 1, _DOUBLINGS)
        logger.warning("%s Trying again in %.0f seconds.", reason, seconds)
        return seconds
