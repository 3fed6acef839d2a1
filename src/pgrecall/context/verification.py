"""What was found out about an answer: its markers, its quotes, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass

#: Characters of a quote that a sentence about it repeats.
_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a quote stands: ``document_text[start:end]``, in the passage of that number."""

    number: int
    uri: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """One number of a marker such as ``[1]`` or ``[2, 3]``, which is ``answer[start:end]``."""

    number: int
    start: int
    end: int
    #: Whether a passage of the context has that number.
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Text in quotation marks: ``answer[start:end] == text``."""

    text: str
    start: int
    end: int
    #: The passages that hold it, and where; none if it is no quote of any.
    places: tuple[Place, ...]
    #: Numbers of the passages that are cited in its paragraph.
    cited: tuple[int, ...]

    @property
    def found(self) -> bool:
        """Whether it stands in a passage that its paragraph cites; in any, where it cites none."""
        numbers = {place.number for place in self.places}
        return bool(numbers.intersection(self.cited) if self.cited else numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Every marker and every quote of an answer, in its order."""

    markers: tuple[Marker, ...] = ()
    quotes: tuple[Quote, ...] = ()

    @property
    def ok(self) -> bool:
        """True if each marker names a passage and each quote stands where it should."""
        return not self._wrong

    @property
    def problems(self) -> list[str]:
        """A sentence for each marker and each quote that does not match its source."""
        return [_problem(part) for part in sorted(self._wrong, key=lambda part: part.start)]

    @property
    def _wrong(self) -> list[Marker | Quote]:
        parts: list[Marker | Quote] = [*self.markers, *self.quotes]
        return [part for part in parts if not part.found]


def _problem(part: Marker | Quote) -> str:
    if isinstance(part, Marker):
        return f"[{part.number}] names no passage."
    line = " ".join(part.text.split())
    shown = line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
    if not part.places:
        return f'"{shown}" stands in no passage.'
    there = "".join(f"[{place.number}]" for place in part.places)
    cited = "".join(f"[{number}]" for number in part.cited)
    return f'"{shown}" stands in {there}, not in {cited}.'
