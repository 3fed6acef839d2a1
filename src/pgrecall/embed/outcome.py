"""What becomes of each text that is embedded: its vector, or why it has none."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from pgrecall.embed.checks import has_direction, no_direction, normalised
from pgrecall.errors import EmbeddingError, PgrecallError
from pgrecall.types import FloatArray


@dataclass(slots=True)
class Outcome:
    """Vectors and refusals by the position of their text; several threads may add to one."""

    #: Each of shape (dimensions,).
    answered: dict[int, FloatArray] = field(default_factory=dict)
    refused: dict[int, PgrecallError] = field(default_factory=dict)

    def normalise(self, vectors: Mapping[int, FloatArray]) -> None:
        """Add vectors, each scaled to length 1; one without direction is a refusal of its text."""
        if not vectors:
            return
        positions, rows = list(vectors), np.stack(list(vectors.values()))
        good = has_direction(rows)
        kept = [position for position, is_good in zip(positions, good, strict=True) if is_good]
        self.answered.update(zip(kept, normalised(rows[good]), strict=True))
        for position in set(positions) - set(kept):
            self.refused[position] = EmbeddingError(no_direction(position))

    @contextmanager
    def handed_over(self) -> Iterator[None]:
        """A failure inside takes along what was answered and refused before it, a cancellation the answers."""
        try:
            yield
        except EmbeddingError as exc:
            exc.answered, exc.refused = {**self.answered, **exc.answered}, dict(self.refused)
            raise
        except CancelledError as exc:
            # No class of ours, since asyncio.timeout knows none but this one.
            vars(exc)["answered"] = dict(self.answered)
            raise

    def vectors(self, count: int) -> FloatArray:
        """Those of ``count`` texts in order: shape (count, dimensions), count at least 1.

        Raises EmbeddingError for the first text that was refused; what was answered goes along.
        """
        if not self.refused:
            return np.stack([self.answered[position] for position in range(count)])
        position = min(self.refused)
        reason = self.refused[position]
        error = EmbeddingError(_told(position, reason, count), answered=self.answered)
        error.refused = self.refused
        raise error from (reason.__cause__ or reason)


def answered_before(failure: BaseException) -> Mapping[int, FloatArray]:
    """What was answered before a call failed, or was cancelled, by position in its texts."""
    answered: Mapping[int, FloatArray] = getattr(failure, "answered", {})
    return answered


def _told(position: int, reason: PgrecallError, count: int) -> str:
    said = str(reason)
    return said if count == 1 or said.startswith("Text ") else f"Text {position}: {said}"
