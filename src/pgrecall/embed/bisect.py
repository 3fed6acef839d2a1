"""Which texts of a request a provider refuses, found by halving; the rest goes through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from pgrecall.embed.outcome import Outcome
from pgrecall.errors import EmbeddingError
from pgrecall.flow import Flow
from pgrecall.types import FloatArray


class Refused(EmbeddingError):
    """The provider works, and refuses what it was asked: one of the texts is the reason."""


class Suspect(EmbeddingError):
    """The provider fails whenever it is asked this: one of the texts may be the reason."""


#: Embeds the texts at these positions: shape (len(positions), dimensions). Raises Refused, Suspect, or
#: what has nothing to do with the texts. With True it is to be impatient.
Ask: TypeAlias = Callable[[Sequence[int], bool], Flow[FloatArray]]


def bisected(ask: Ask, positions: Sequence[int]) -> Flow[Outcome]:
    """Ask for all; where that is refused, for each half: some 2 log2(n) requests for one bad text.

    Raises what ``ask`` raises otherwise, and Suspect if a text by itself fails as well.
    """
    outcome = Outcome()
    try:
        yield from _halves(ask, positions, outcome, sure=False)
    except EmbeddingError as exc:
        exc.answered = {**outcome.answered, **exc.answered}
        raise
    return outcome


def _halves(ask: Ask, positions: Sequence[int], outcome: Outcome, *, sure: bool) -> Flow[None]:
    try:
        vectors = yield from ask(positions, sure)
    except Refused as exc:
        reason: EmbeddingError = exc
    except Suspect as exc:
        if not sure and not (yield from _works(ask, positions, outcome)):
            raise
        reason = exc
    else:
        outcome.answered.update(zip(positions, vectors, strict=True))
        return
    left = [position for position in positions if position not in outcome.answered]
    if len(left) == 1 == len(positions):
        outcome.refused[left[0]] = reason
        return
    middle = (len(left) + 1) // 2
    for half in (left[:middle], left[middle:]):
        if half:
            yield from _halves(ask, half, outcome, sure=True)


def _works(ask: Ask, positions: Sequence[int], outcome: Outcome) -> Flow[bool]:
    """Whether the provider answers the first text, or the last, by itself."""
    if len(positions) == 1:
        return False
    for position in (positions[0], positions[-1]):
        try:
            (vector,) = yield from ask([position], True)
        except (Refused, Suspect):
            continue
        outcome.answered[position] = vector
        return True
    return False
