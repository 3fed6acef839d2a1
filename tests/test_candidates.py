"""What comes after the candidates, as users meet it: blocking and awaited, on a real Postgres."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import Boost, Collection, Database, Document, Hits, MaxSim, Recency, errors
from pgrecall.candidates import CandidateOptions, Refinement
from pgrecall.retrieve import Questions
from pgrecall.types import FloatArray
from tests.cohere_server import CohereServer, Fault
from tests.embedders import TinyEmbedder
from tests.test_api import SMALL
from tests.unit.test_rerank import Letters

BOOK = "\n\n".join(
    f"# Chapter {c}\n\n"
    + "\n\n".join(f"The tide of chapter {c} rises in part {n}." for n in range(6))
    for c in range(4)
)
DOCUMENTS = [
    Document(uri="book.md", text=BOOK, title="Book", metadata={"year": 1990}),
    *[
        Document(
            uri=f"n{n}.md",
            text=f"Note {n}: the tide at {place} is high.",
            metadata={"year": 2000 + n, "kind": "note", "votes": 10 * n},
        )
        for n, place in enumerate(["Brest", "Cadiz", "Dover", "Genoa", "Hull"])
    ],
    Document(uri="copy.md", text="note 2 - The Tide at Dover is HIGH", metadata={"year": 2030}),
]

NOW = datetime(2031, 1, 1, tzinfo=UTC)

Ask = Callable[..., Hits]


@pytest.fixture
def docs(db: Database) -> Collection:
    made = db.create_collection("docs", embedder=TinyEmbedder(), chunking=SMALL)
    made.ingest(DOCUMENTS)
    return made


@pytest.fixture
def ask(docs: Collection, database_url: str) -> Ask:
    """Search blocking and awaited, which must find the same."""

    async def awaited(question: Questions, options: Any) -> Hits:
        async with pgrecall.connect_async(database_url) as opened:
            collection = await opened.collection("docs", embedder=TinyEmbedder())
            return await collection.search(question, **options)

    def search(question: Questions, **options: Any) -> Hits:
        hits = docs.search(question, **options)
        again = asyncio.run(awaited(question, options))
        assert (again, again.notes, again.strategy) == (hits, hits.notes, hits.strategy)
        return hits

    return search


class Apart(TinyEmbedder):
    """Questions point to what is written in capitals, which has none of their words."""

    def embed_query(self, text: str) -> FloatArray:
        return super().embed_query("near" if text.isupper() or text == "tide" else "far")


class Reversed:
    """A reranker that likes what is short, and remembers what it read."""

    name = "reversed"

    def __init__(self) -> None:
        self.read: list[tuple[str, Sequence[str]]] = []

    def rerank(self, question: str, texts: Sequence[str]) -> FloatArray:
        self.read.append((question, texts))
        return np.array([-len(text) for text in texts], dtype=np.float32)


class Broken:
    name = "broken"

    def rerank(self, question: str, texts: Sequence[str]) -> FloatArray:
        raise ConnectionError("no line\nto the model")


class Slow(Reversed):
    def rerank(self, question: str, texts: Sequence[str]) -> FloatArray:
        time.sleep(0.2)
        return super().rerank(question, texts)


def test_each_stage_says_how_long_it_took(docs: Collection) -> None:
    began = time.perf_counter()
    hits = docs.search("tide at Dover", explain=True, reranker=Slow(), deduplicate=True)
    whole = (time.perf_counter() - began) * 1e3
    assert list(hits.timings) == ["embed", "search", "refine", "rerank"]
    assert 200 <= hits.timings["rerank"] <= sum(hits.timings.values()) <= whole
    assert all(0 < hits.timings[stage] < whole - 200 for stage in ("embed", "search", "refine"))
    assert "rerank" not in docs.search("tide at Dover", explain=True).timings
    assert docs.search("tide at Dover", reranker=Slow()).timings == {}


def test_every_keyword_is_checked_by_the_refinement() -> None:
    assert set(CandidateOptions.__annotations__) | {"k"} == set(Refinement.__dataclass_fields__)


def test_a_plain_search_is_what_it_was(docs: Collection) -> None:
    plain = docs.search("tide at Dover", k=7)
    assert docs.search("tide at Dover", k=7, candidates=7) == plain
    assert docs.search(["tide at Dover"], k=7) == plain
    assert plain.notes == []
    assert all(hit.rerank_score is None for hit in plain)


def test_nothing_below_the_threshold(ask: Ask) -> None:
    everything = ask("tide at Dover", k=100)
    least = sorted(hit.vector_score or 0 for hit in everything)[-4]
    hits = ask("tide at Dover", min_similarity=least)
    assert len(hits) == 4
    assert [hit for hit in everything if (hit.vector_score or 0) >= least] == hits
    assert ask("tide at Dover", min_similarity=1.5) == []


@pytest.mark.parametrize(
    ("far", "candidates", "complete"), [(90, None, True), (300, None, True), (300, 100, False)]
)
def test_hits_by_words_crowd_out_no_nearer_ones(
    db: Database, far: int, candidates: int | None, complete: bool
) -> None:
    docs = db.create_collection("apart", embedder=Apart())
    docs.ingest(Document(uri=f"far{n}", text=f"the tide {n}") for n in range(far))
    docs.ingest(Document(uri=f"near{n}", text=f"HIGH WATER {n}") for n in range(8))
    hits = docs.search("tide", min_similarity=0.5, vector_weight=0.1, candidates=candidates)
    assert len(hits) == (8 if complete else 0)
    assert hits.complete == complete
    assert bool(hits.notes) != complete
    assert all(hit.uri.startswith("near") for hit in hits)
    # By vectors alone, what comes after them is known to be too far away.
    hits = docs.search("tide", min_similarity=0.5, mode="vector")
    assert (len(hits), hits.complete) == (8, True)


def test_a_document_has_at_most_so_many(ask: Ask) -> None:
    plain = ask("tide of chapter", k=6)
    assert Counter(hit.uri for hit in plain)["book.md"] > 1
    hits = ask("tide of chapter", k=6, per_document=1)
    assert len(hits) == len({hit.uri for hit in hits}) == 6


def test_near_duplicates_leave_the_best(ask: Ask) -> None:
    hits = ask("note 2 tide at dover is high", k=100)
    assert {"n2.md", "copy.md"} <= {hit.uri for hit in hits}
    first = next(hit for hit in hits if hit.uri in ("n2.md", "copy.md"))
    kept = ask("note 2 tide at dover is high", k=100, deduplicate=True)
    assert [hit.uri for hit in kept if hit.uri in ("n2.md", "copy.md")] == [first.uri]
    assert len(ask("tide", k=100, deduplicate=0.01)) < len(ask("tide", k=100, deduplicate=0.95))


def test_of_two_duplicates_a_boost_keeps_the_newer(ask: Ask) -> None:
    question = "Note 2: the tide at Dover is high."
    newer = ask(question, k=3, boost=Recency("year", 3650, weight=0.9, now=NOW), deduplicate=True)
    assert newer[0].uri == "copy.md"
    assert "n2.md" not in {hit.uri for hit in newer}


def test_diversity_spreads_the_hits(docs: Collection, ask: Ask) -> None:
    def closeness(hits: Hits) -> float:
        vectors = TinyEmbedder().embed_documents([hit.text for hit in hits])
        likeness = vectors @ vectors.T
        return float(likeness.sum() - np.trace(likeness))

    plain = ask("tide of chapter 2", k=5)
    spread = ask("tide of chapter 2", k=5, diversity=0.7)
    assert ask("tide of chapter 2", k=5, diversity=0.0) == plain
    assert spread[0] == plain[0]
    assert closeness(spread) < closeness(plain)
    # Text searches know no vectors, but the chunks have them.
    assert len(docs.search("tide", mode="text", diversity=0.5, k=4)) == 4


def test_a_boost_is_a_share_of_the_score(ask: Ask) -> None:
    hits = ask("tide", k=5, boost=Boost("votes", pivot=10, weight=1.0))
    assert [hit.uri for hit in hits] == ["n4.md", "n3.md", "n2.md", "n1.md", hits[4].uri]
    assert hits[0].score == pytest.approx(40 / 50)
    both = ask(
        "tide", k=1, boost=[Boost("kind", {"note": 1}, weight=0.5), Recency("year", now=NOW)]
    )
    assert both[0].metadata.get("kind") == "note"


@pytest.mark.parametrize("expand_by", [1, 2])
def test_neighbours_come_from_the_document(ask: Ask, expand_by: int) -> None:
    hits = ask("tide of chapter 2 part 3", k=4, where={"year": 1990})
    wide = ask(
        "tide of chapter 2 part 3", k=4, where={"year": 1990}, expand="neighbours",
        expand_by=expand_by,
    )  # fmt: skip
    chunks = {hit.ordinal: hit for hit in ask("tide", k=100, where={"year": 1990})}
    assert wide[0].ordinal == hits[0].ordinal
    for hit in wide:
        around = [chunks[n] for n in range(hit.ordinal - expand_by, hit.ordinal + expand_by + 1)
                  if n in chunks]  # fmt: skip
        assert (hit.start, hit.end) == (around[0].start, around[-1].end)
        assert hit.text == BOOK[hit.start : hit.end]
    places = [(hit.start, hit.end) for hit in wide]
    for number, hit in enumerate(wide):
        chunk = chunks[hit.ordinal]
        assert not any(start <= chunk.start and chunk.end <= end for start, end in places[:number])


def test_a_section_is_what_stands_under_the_headings(ask: Ask) -> None:
    hits = ask("tide", k=4, where={"year": 1990}, expand="section", expand_by=20)
    assert len(hits) == 4
    chunks = ask("tide", k=100, where={"year": 1990})
    for hit in hits:
        inside = [chunk for chunk in chunks if chunk.headings == hit.headings]
        assert hit.start == min(chunk.start for chunk in inside)
        assert hit.end == max(chunk.end for chunk in inside)
        assert hit.text == BOOK[hit.start : hit.end]
    one = ask("tide", k=1, where={"year": 1990}, expand="section", expand_by=1)[0]
    assert len(one.text) < len(hits[0].text)


def test_a_document_that_changed_meanwhile_is_not_expanded(
    docs: Collection, database_url: str
) -> None:
    (plain,) = docs.search("tide of chapter 2 part 3", k=1, where={"year": 1990})
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE pgrecall.documents SET text = 'x' || text")
    (hit,) = docs.search("tide of chapter 2 part 3", k=1, where={"year": 1990}, expand="section")
    assert hit == plain


def test_several_questions_are_one_list(docs: Collection, ask: Ask) -> None:
    questions = ["tide at Brest", "tide at Hull", "chapter 3"]
    singles = [docs.search(question, k=100) for question in questions]
    ranks: Counter[tuple[str, int]] = Counter()
    for hits in singles:
        for rank, hit in enumerate(hits, start=1):
            ranks[hit.uri, hit.ordinal] += 1 / (60 + rank)  # type: ignore[assignment]
    found = ask(questions, k=8)
    assert [hit.score for hit in found] == pytest.approx(sorted(ranks.values(), reverse=True)[:8])
    assert all(hit.score == pytest.approx(ranks[hit.uri, hit.ordinal]) for hit in found)
    best = ask(questions, k=8, combine="max")
    top = max(hit.score for hits in singles for hit in hits)
    assert best[0].score == pytest.approx(top)
    assert {"n0.md", "n4.md"} <= {hit.uri for hit in best}


def test_several_questions_are_embedded_at_once(docs: Collection) -> None:
    class Batching(TinyEmbedder):
        batches = 0

        def embed_queries(self, texts: Sequence[str]) -> FloatArray:
            self.batches += 1
            return np.array([super(Batching, self).embed_query(text) for text in texts])

        def embed_query(self, text: str) -> FloatArray:
            raise AssertionError("one by one")

    embedder = Batching()
    docs._target.know(embedder)
    assert len(docs.search(["tide", "Dover", "chapter"], k=3)) == 3
    assert embedder.batches == 1
    docs.search(["tide", "Dover"], k=3, mode="text")
    assert embedder.batches == 1


def test_embeddings_are_questions_too(ask: Ask) -> None:
    texts = [DOCUMENTS[4].text, DOCUMENTS[5].text]
    one, other = map(TinyEmbedder().embed_query, texts)
    options: dict[str, Any] = {"mode": "vector", "combine": "max", "k": 2}
    expected = ask(texts, **options)
    assert {hit.uri for hit in expected} == {"n3.md", "n4.md"}
    for questions in ([one, other], np.stack([one, other]), [texts[0], other]):
        assert ask(questions, **options) == expected
    assert ask(other.tolist(), mode="vector", k=1)[0].uri == "n4.md"


def test_a_reranker_decides_the_order(ask: Ask) -> None:
    reranker = Reversed()
    hits = ask("tide", k=5, reranker=reranker, candidates=12)
    (question, texts), _ = reranker.read
    assert (question, len(texts)) == ("tide", 12)
    assert [hit.score for hit in hits] == sorted((-float(len(t)) for t in texts), reverse=True)[:5]
    assert all(hit.rerank_score == hit.score for hit in hits)
    assert any(text.startswith("Book > Chapter") for text in texts), "titles and headings are read"


def test_a_boost_is_a_share_of_what_the_reranker_says(ask: Ask) -> None:
    options: dict[str, Any] = {"boost": Boost("votes", pivot=1, weight=1.0), "k": 1}
    assert ask("tide", reranker=Reversed(), **options)[0].uri == "n4.md"


def test_with_several_questions_each_is_read(ask: Ask) -> None:
    reranker = Reversed()
    ask(["tide", "moon"], reranker=reranker)
    assert [question for question, _ in reranker.read] == ["tide", "moon"] * 2


def test_a_reranker_that_fails_leaves_the_order_and_a_note(
    ask: Ask, docs: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    hits = ask("tide at Dover", k=5, reranker=Broken())
    assert hits == docs.search("tide at Dover", k=100)[:5]
    said = "The reranker broken failed (no line to the model); the order is the one without it."
    assert hits.notes == [said]
    assert said in caplog.text
    assert docs.context("tide at Dover", reranker=Broken()).notes == (said,)
    assert docs.context("tide at Dover").notes == ()


def test_late_interaction_with_any_encoder(ask: Ask) -> None:
    class Words(Letters):
        def encode_query(self, text: str) -> FloatArray:
            kept = "".join(filter(str.isascii, filter(str.isalpha, text.lower())))
            return super().encode_query(kept)

    hits = ask("quiz", k=100, reranker=MaxSim(Words()))
    assert hits.notes == []
    assert hits[0].score >= hits[-1].score


def test_cohere_by_its_name(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with CohereServer() as server:
        monkeypatch.setenv("CO_API_URL", server.url)
        hits = ask("harbour Genoa", k=3, reranker="cohere:rerank-v3.5")
        assert hits[0].uri == "n3.md"
        assert hits[0].rerank_score == 0.5
        server.faults += [Fault(status=503), Fault(status=503)]
        degraded = ask("harbour Genoa", k=3, reranker="cohere:rerank-v3.5")
    assert degraded.notes == [
        f"The reranker cohere:rerank-v3.5 failed ({server.host} answered 503: as scripted); "
        "the order is the one without it."
    ]


def test_a_reranker_by_name_is_opened_once(
    docs: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CohereServer() as server:
        monkeypatch.setenv("CO_API_URL", server.url)
        docs.search("tide", reranker="cohere:m")
        monkeypatch.delenv("CO_API_URL")
        assert docs.search("tide", reranker="cohere:m").notes == []
        with pytest.raises(errors.CredentialsMissing):
            docs.search("tide", reranker="cohere:other")


def test_all_of_it_together(ask: Ask) -> None:
    hits = ask(
        ["tide of chapter 2", "tide at Dover"],
        k=4,
        candidates=50,
        min_similarity=-0.5,
        reranker=Reversed(),
        boost=[Recency("year", weight=0.1, now=NOW), Boost("votes", pivot=20, weight=0.1)],
        deduplicate=True,
        diversity=0.3,
        per_document=2,
        expand="section",
    )
    assert len(hits) == 4
    assert max(Counter(hit.uri for hit in hits).values()) <= 2
    texts = {document.uri: document.text for document in DOCUMENTS}
    assert all(hit.text == texts[hit.uri][hit.start : hit.end] for hit in hits)


def test_contexts_take_the_same_options(docs: Collection) -> None:
    packed = docs.context(
        ["tide of chapter 2", "tide at Dover"], max_tokens=300, per_document=1, expand="section"
    )
    assert packed.citations
    assert len({cited.uri for cited in packed.citations}) == len(packed.citations)
    texts = {document.uri: document.text for document in DOCUMENTS}
    assert all(c.quote == texts[c.uri][c.start : c.end] for c in packed.citations)


def test_the_pool_grows_with_k() -> None:
    assert Refinement(k=10).pools(1) == [10]
    assert Refinement(k=10).pools(2) == [100, 400, 1600]
    assert Refinement(k=50, diversity=0.5).pools(1) == [200, 800, 3200]
    assert Refinement(k=1000, deduplicate=True).pools(1) == [4000, 10_000]
    assert Refinement(k=9000, deduplicate=True).pools(1) == [10_000]
    assert Refinement(k=10, candidates=30).pools(1) == [30]
    assert Refinement(k=10, per_document=1, reranker=Reversed()).pools(1) == [100]
    options: dict[str, Any] = {
        "min_similarity": 0.0, "boost": Recency("year"), "per_document": 2, "expand": "section",
    }  # fmt: skip
    for name, value in options.items():
        assert Refinement(**{name: value}).pools(1)[0] == 100, name


def test_a_long_document_leaves_room_for_others(docs: Collection, ask: Ask) -> None:
    long = "\n\n".join(f"The tide of the tide tables, and the tide on day {n}." for n in range(150))
    docs.ingest(Document(uri="tables.md", text=long, title="Tide"))
    assert {hit.uri for hit in docs.search("tide of the tide tables", k=100)} == {"tables.md"}

    hits = ask("tide of the tide tables", k=5, per_document=1)
    assert len({hit.uri for hit in hits}) == 5
    assert (hits.complete, hits.notes) == (True, [])
    # Fewer than k because there are no more is complete.
    hits = ask("tide of the tide tables", k=8, per_document=1, uri_prefix="n")
    assert (len(hits), hits.complete, hits.notes) == (5, True, [])
    hits = ask("tide of the tide tables", k=50, per_document=1)
    assert (len(hits), hits.complete) == (len(DOCUMENTS) + 1, True)
    # As many candidates as were asked for, or as a reranker is given to read, and no more.
    for options in ({"candidates": 20}, {"reranker": Reversed()}):
        hits = ask("tide of the tide tables", k=5, per_document=1, **options)
        assert not hits.complete
        assert "ask for more candidates" in hits.notes[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"k": 0}, "k must be a whole number from 1 to 10,000, not 0"),
        ({"k": "3"}, "k must be a whole number"),
        ({"candidates": 5}, "candidates must be a whole number from 10 to 10,000"),
        ({"per_document": 0}, "per_document must be a whole number from 1"),
        ({"expand": "section", "expand_by": 1.5}, "expand_by must be a whole number"),
        ({"expand_by": 2}, "expand_by must go with expand"),
        ({"expand": "page"}, 'expand is "neighbours" or "section", not \'page\''),
        ({"combine": "sum"}, 'combine is "rrf" or "max"'),
        ({"diversity": 1.1}, "diversity must be a number from 0 to 1"),
        ({"deduplicate": -1}, "deduplicate must be a number from 0 to 1"),
        ({"min_similarity": "high"}, "min_similarity must be a number"),
        ({"min_similarity": float("nan")}, "min_similarity must be a number"),
        ({"min_similarity": 0.1, "mode": "text"}, "a text search compares none"),
        ({"boost": [Recency("a", weight=0.6)] * 2}, "weights of all boosts together"),
        ({"boost": 0.5}, "boost is a Recency, a Boost, or a list of these, not 0.5"),
        ({"reranker": object()}, "object cannot serve as a reranker"),
        ({"reranker": "magic:x"}, "There is no reranker 'magic:x'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(
    docs: Collection, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        docs.search("tide", **options)
    assert said in str(caught.value)


def test_a_question_that_is_none_is_refused(docs: Collection) -> None:
    with pytest.raises(errors.InvalidArgument, match="There is no question"):
        docs.search([])
    vector = TinyEmbedder().embed_query("tide")
    with pytest.raises(errors.InvalidArgument, match="ask it in words"):
        docs.search(vector, mode="vector", reranker=Reversed())
    with pytest.raises(errors.InvalidArgument, match="needs words"):
        docs.search(["tide", vector])
