"""Batches that are embedded at the same time: only by embedders that allow it, and nothing else changes."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

import pgrecall
from pgrecall import Database, Document, IngestReport, errors, open_embedder
from pgrecall.embed.retry import Backoff
from pgrecall.types import FloatArray
from tests.driving import go
from tests.embedders import TinyEmbedder
from tests.openai_server import Fault, OpenAIServer
from tests.vendor_server import Body

#: Enough for four batches of 512 chunks.
DOCUMENTS = [Document(uri=f"d{n}", text=f"Tide {n} rose by {n % 7} feet.") for n in range(2_000)]

Ingest = Callable[..., IngestReport]


class Counting(TinyEmbedder):
    """Knows how many of its calls were under way together; waits until that many have come."""

    def __init__(self, together: int) -> None:
        super().__init__()
        self.most = self._under_way = 0
        self._all = threading.Barrier(together, timeout=20)

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        with self._counted():
            if len(texts) > 100:  # not what recall is measured with
                self._all.wait()
            return super().embed_documents(texts)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._under_way += 1
            self.most = max(self.most, self._under_way)
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1


class Waiting(Counting):
    """Waits for somebody else, so that it can be asked for several batches at a time."""

    concurrency = 3


@pytest.fixture(params=["blocking", "awaited"])
def ingest(request: pytest.FixtureRequest, database_url: str) -> Ingest:
    """``ingest(embedder, documents, max_tokens=None)``, into a collection "docs"."""

    def blocking(
        embedder: Any, documents: Sequence[Document], max_tokens: int | None = None
    ) -> IngestReport:
        with pgrecall.connect(database_url) as db:
            docs = db.create_collection("docs", embedder=embedder, exist_ok=True)
            return docs.ingest(documents, max_tokens=max_tokens)

    def awaited(
        embedder: Any, documents: Sequence[Document], max_tokens: int | None = None
    ) -> IngestReport:
        async def main() -> IngestReport:
            async with pgrecall.connect_async(database_url) as db:
                docs = await db.create_collection("docs", embedder=embedder, exist_ok=True)
                report = await docs.ingest(documents, max_tokens=max_tokens)
            if hasattr(embedder, "aclose"):
                await embedder.aclose()
            return report

        return go(main())

    return blocking if request.param == "blocking" else awaited


def test_an_embedder_that_says_so_gets_several_batches_at_a_time(ingest: Ingest) -> None:
    embedder = Waiting(3)
    report = ingest(embedder, DOCUMENTS[:1_536])
    assert (report.new, report.embedded, report.failed) == (1_536, 1_536, [])
    assert embedder.most == 3


def test_any_other_embedder_gets_one_after_the_other(ingest: Ingest) -> None:
    embedder = Counting(1)
    assert ingest(embedder, DOCUMENTS).new == len(DOCUMENTS)
    assert embedder.most == 1


def test_a_generation_is_filled_with_several_batches_at_a_time(db: Database) -> None:
    docs = db.create_collection("docs", embedder=TinyEmbedder())
    docs.ingest(DOCUMENTS[:192])
    other = Waiting(3)
    other.name = "other"
    # Documents are read 64 at a time, and a read does not join a batch of another one.
    other.embed_documents = lambda texts: _all_of(other, texts)  # type: ignore[method-assign]
    report = docs.reindex(embedder=other)
    assert (report.documents, other.most) == (192, 3)


def _all_of(embedder: Waiting, texts: Sequence[str]) -> FloatArray:
    with embedder._counted():
        if len(texts) == 64:
            embedder._all.wait()
        return TinyEmbedder.embed_documents(embedder, texts)


def test_a_budget_goes_to_the_documents_of_the_plan(ingest: Ingest, db: Database) -> None:
    sized = random.Random(3)
    documents = [
        Document(uri=f"d{n}", text=" ".join(f"tide{n}" for _ in range(sized.randint(1, 40))))
        for n in range(2_000)
    ]
    planned = db.planned("docs", embedder=TinyEmbedder()).plan(documents)
    half = planned.tokens // 2
    foreseen = db.planned("docs", embedder=TinyEmbedder()).plan(documents, max_tokens=half)
    embedder = Waiting(1)
    report = ingest(embedder, documents, max_tokens=half)
    assert report.tokens <= half
    assert (report.new, report.left, report.tokens) == (
        foreseen.new,
        foreseen.left,
        foreseen.tokens,
    )
    assert len(embedder.seen) - report.embedded <= 200, "questions that measure the recall"


def test_what_succeeded_beside_a_batch_that_failed_is_written(ingest: Ingest, db: Database) -> None:
    class Ending(Waiting):
        """Its key expires for one of the batches that are under way."""

        def embed_documents(self, texts: Sequence[str]) -> FloatArray:
            vectors = super().embed_documents(texts)
            if any("Tide 600 " in text for text in texts):
                raise errors.CredentialsMissing("The key has expired.")
            return vectors

    with pytest.raises(errors.CredentialsMissing):
        ingest(Ending(3), DOCUMENTS[:1_536])
    docs = db.collection("docs", embedder=TinyEmbedder())
    assert docs.status().documents == 1_024
    assert docs.ingest(DOCUMENTS[:1_536]).embedded == 512


def test_a_provider_that_refuses_some_requests_gets_each_text_answered_once(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, answered = random.Random(5), list[str]()

    def rule(body: Body) -> Fault | None:
        if server._at_once > 6 or chance.random() < 0.2:
            return Fault(status=429, headers={"retry-after-ms": "20"})
        answered.extend(body["input"])
        return Fault(delay=0.03)

    with OpenAIServer() as server:
        server.rule = rule
        backoff = Backoff(attempts=20, first=0.01, longest=0.05)
        embedder = open_embedder("openai:any@48", base_url=server.url, api_key="k", backoff=backoff)
        report = ingest(embedder, DOCUMENTS)
    assert (report.new, report.embedded, report.failed) == (2_000, 2_000, [])
    texts = {document.text for document in DOCUMENTS}
    assert sorted(text for text in answered if text in texts) == sorted(texts)
