"""Spans and metrics, as the SDK of OpenTelemetry receives them; and that nobody else pays for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pgrecall
from pgrecall import Collection, Document, errors, telemetry
from tests.embedders import DeadEmbedder, TinyEmbedder


class Seen:
    """What was exported."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans.get_finished_spans() if span.name == name]

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        data = self.reader.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
        ]
        return [(dict(p.attributes or {}), p) for metric in found for p in metric.data.data_points]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """Providers of this test's own: those of a program are set once and for all."""
    heard = Seen()
    tracers, meters = TracerProvider(), MeterProvider([heard.reader])
    tracers.add_span_processor(SimpleSpanProcessor(heard.spans))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: tracers)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: meters)
    yield heard
    tracers.shutdown()
    meters.shutdown()


@pytest.fixture
def docs(database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        yield db.create_collection("docs", embedder=TinyEmbedder(name="openai:tiny@32"))


NOTES = [Document(uri=f"note-{n}", text=f"Boat {n} is in the harbour.") for n in range(3)]


def test_an_ingestion_is_one_trace(seen: Seen, docs: Collection) -> None:
    docs.ingest(NOTES)
    (root,) = seen.named("pgrecall.ingest docs")
    assert root.context is not None
    assert root.attributes is not None
    assert root.attributes["pgrecall.run_id"] == docs.runs()[0].run_id
    for stage in ("read", "select", "chunk", "embed", "write", "settle"):
        spans = seen.named(f"pgrecall.ingest.{stage}")
        assert spans, stage
        for span in spans:
            assert span.parent is not None
            assert span.parent.span_id == root.context.span_id, "whatever thread it ran in"
    (request,) = seen.named("embeddings tiny")
    (embed,) = seen.named("pgrecall.ingest.embed")
    assert request.parent == embed.context
    tokens = sum(docs._target.embedder.tokenizer.count(note.text) for note in NOTES)
    assert dict(request.attributes or {}) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "tiny",
        "gen_ai.usage.input_tokens": tokens,
        "pgrecall.texts": 3,
    }
    ((labels, usage),) = seen.points("gen_ai.client.token.usage")
    assert (labels["gen_ai.token.type"], usage.sum) == ("input", tokens)


def test_documents_are_counted_by_what_became_of_them(seen: Seen, docs: Collection) -> None:
    docs.ingest(NOTES)
    docs.ingest([NOTES[0], Document(uri="note-1", text="Boat 1 has left."), "/no/such/file"])
    docs.ingest([Document(uri="note-9", text="Boat 9 is late.")], max_tokens=1)
    docs.plan([Document(uri="note-8", text="Boat 8 is later.")])
    found = {p["pgrecall.outcome"]: n.value for p, n in seen.points("pgrecall.ingest.documents")}
    assert found == {"new": 3, "changed": 1, "unchanged": 1, "failed": 1, "left": 1}
    ((labels, chunks),) = seen.points("pgrecall.ingest.chunks")
    assert (labels, chunks.value) == ({"pgrecall.collection": "docs"}, 4)


@pytest.mark.parametrize("mode", ["hybrid", "text"])
def test_a_search_shows_what_it_waited_for(seen: Seen, docs: Collection, mode: Any) -> None:
    docs.ingest(NOTES)
    seen.spans.clear()
    hits = docs.search("boat 2", k=2, mode=mode)
    (root,) = seen.named("retrieval docs")
    assert root.attributes is not None
    assert root.attributes["pgrecall.hits"] == len(hits) == 2
    assert root.attributes["gen_ai.data_source.id"] == "docs"
    inside = [span.name for span in seen.spans.get_finished_spans() if span.parent == root.context]
    embedding = [] if mode == "text" else ["embeddings tiny"]
    assert inside == [*embedding, "SELECT pgrecall.search"]
    ((labels, duration),) = seen.points("pgrecall.search.duration")
    assert (labels["pgrecall.mode"], duration.count) == (mode, 1)
    assert 0 < duration.sum < 60


class Backwards:
    name = "mine:backwards"

    def rerank(self, query: str, texts: Any) -> Any:
        return list(range(len(texts)))


def test_reranking_is_a_span(seen: Seen, docs: Collection) -> None:
    docs.ingest(NOTES)
    docs.search("boat 2", reranker=Backwards())
    (span,) = seen.named("rerank backwards")
    assert span.attributes is not None
    assert span.attributes["pgrecall.texts"] == 3


def test_awaited_calls_are_seen_as_well(seen: Seen, database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder())
            await docs.ingest(NOTES)
            await asyncio.gather(*(docs.search(f"boat {n}") for n in range(3)))

    asyncio.run(main())
    (root,) = seen.named("pgrecall.ingest docs")
    for stage in ("select", "embed", "write"):
        (span,) = seen.named(f"pgrecall.ingest.{stage}")
        assert span.parent == root.context
    searches = seen.named("retrieval docs")
    sql = seen.named("SELECT pgrecall.search")
    parents = {span.parent.span_id for span in sql if span.parent}
    assert parents == {span.context.span_id for span in searches if span.context}
    assert len(searches) == 3


def test_what_fails_is_seen_to_fail(seen: Seen, docs: Collection, database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        dead = db.create_collection("dead", embedder=DeadEmbedder())
        with pytest.raises(errors.FilterError):
            docs.search("boat", where={"$no": 1})
        dead.ingest(NOTES)
    (span,) = seen.named("retrieval docs")
    assert span.status.status_code == trace.StatusCode.ERROR
    failed = [p for p, _ in seen.points("gen_ai.client.operation.duration") if "error.type" in p]
    assert [p["error.type"] for p in failed] == ["EmbeddingError"]


def test_without_a_provider_nothing_is_made() -> None:
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert telemetry.span("x", {"a": 1}) is telemetry.span("y", {})
    telemetry.record("pgrecall.ingest.chunks", 1, {})


def test_nobody_who_has_no_telemetry_loads_or_pays_for_it() -> None:
    code = "import sys, pgrecall.collection; sys.exit('opentelemetry' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    rounds = 20_000
    began = time.process_time()
    for _ in range(rounds):
        with telemetry.span("a", {"b": 1}, details={"c": 2}, duration="pgrecall.search.duration"):
            pass
    # Three of them in a search, which takes a millisecond and more.
    assert (time.process_time() - began) / rounds < 10e-6
