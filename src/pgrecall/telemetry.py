"""OpenTelemetry: spans and metrics for a program that has it running, nothing for one that has not.

Nothing is imported here: who set up a tracer or a meter has loaded OpenTelemetry before. Names are those of
its semantic conventions for databases and for generative AI where they fit, and begin with ``pgrecall``
where they do not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Self

#: What may be missing is None, and left out.
Attributes = Mapping[str, "str | bool | int | float | None"]

#: What our spans and metrics come from.
SCOPE = "pgrecall"
#: Metric -> unit and meaning. Those that end in ``duration`` or ``usage`` are histograms, others counters.
METRICS = {
    "gen_ai.client.operation.duration": ("s", "Duration of a call of an embedder or reranker."),
    "gen_ai.client.token.usage": ("{token}", "Tokens that were given to an embedder."),
    "pgrecall.search.duration": ("s", "Duration of a search, embedding and reranking included."),
    "pgrecall.ingest.stage.duration": ("s", "Duration of one stage for one batch of documents."),
    "pgrecall.ingest.documents": ("{document}", "Documents that went through an ingestion."),
    "pgrecall.ingest.chunks": ("{chunk}", "Chunks that were written."),
    "pgrecall.ingest.cost": ("USD", "Cost of embedding, by list price."),
}


class Span:
    """What happens while it is entered; this one is for programs without OpenTelemetry."""

    def set(self, attributes: Attributes) -> None:
        """What is known only later."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """It is over."""


_NOTHING = Span()
_NONE: Attributes = {}


class _Live(Span):
    def __init__(
        self, opening: AbstractContextManager[Any] | None, duration: str | None, labels: Attributes
    ) -> None:
        self._opening, self._duration, self._labels = opening, duration, labels
        self._span: Any = None

    def set(self, attributes: Attributes) -> None:
        if self._span is not None:
            self._span.set_attributes(_present(attributes))

    def __enter__(self) -> Self:
        self._began = time.perf_counter()
        if self._opening is not None:
            self._span = self._opening.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        labels = self._labels
        if kind is not None:
            labels = {**labels, "error.type": kind.__name__}
            self.set({"error.type": kind.__name__})
        if self._duration is not None:
            record(self._duration, time.perf_counter() - self._began, labels)
        if self._opening is not None:
            self._opening.__exit__(kind, error, trace)


def span(
    name: str, labels: Attributes, *, details: Attributes = _NONE, duration: str | None = None
) -> Span:
    """A span around a block, and how long it took as a metric.

    Labels are few different ones, for both; details, and what is ``set`` later, are the span's alone.
    """
    tracer, meter = _tracer(), _meter()
    if tracer is None and meter is None:
        return _NOTHING
    attributes = _present({**labels, **details})
    opening = tracer and tracer.start_as_current_span(name, attributes=attributes)
    return _Live(opening, duration, labels)


def stage(name: str, documents: int | None = None) -> Span:
    """A stage of an ingestion, at work on one batch of so many documents."""
    return span(
        f"pgrecall.ingest.{name}",
        {"pgrecall.stage": name},
        details={"pgrecall.documents": documents},
        duration="pgrecall.ingest.stage.duration",
    )


def record(name: str, amount: float, attributes: Attributes) -> None:
    """Add to a metric of ``METRICS``."""
    meter = _meter()
    if meter is None:
        return
    instruments = meter[1]
    if name not in instruments:
        unit, meaning = METRICS[name]
        histogram = name.endswith(("duration", "usage"))
        make = meter[0].create_histogram if histogram else meter[0].create_counter
        made = make(name, unit=unit, description=meaning)
        instruments[name] = made.record if histogram else made.add
    instruments[name](amount, _present(attributes))


def _present(attributes: Attributes) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


#: Provider -> our tracer, our meter with its instruments. A program has one provider, tests have more.
_opened: dict[int, tuple[Any, Any]] = {}


def _tracer() -> Any:
    """Our tracer, if the program has set a provider."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return None
    if id(provider) not in _opened:
        _opened[id(provider)] = provider, provider.get_tracer(SCOPE)
    return _opened[id(provider)][1]


def _meter() -> Any:
    """Our meter and its instruments, if the program has set a provider."""
    metrics = sys.modules.get("opentelemetry.metrics")
    if metrics is None:
        return None
    provider = metrics.get_meter_provider()
    # The proxy of the API is no public name.
    if type(provider).__module__.startswith("opentelemetry.metrics"):
        return None
    if id(provider) not in _opened:
        _opened[id(provider)] = provider, (provider.get_meter(SCOPE), {})
    return _opened[id(provider)][1]


class Stopwatch:
    """Milliseconds by stage, for who wants to know; a stage may come more than once."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._since = time.perf_counter()

    def lap(self, stage: str) -> None:
        """What was done since the last one was this stage."""
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._since) * 1e3
        self._since = now
