"""Searching: plans and recall, the text arm, fusion, and the SQL functions from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Database, Document, Hits, errors
from pgrecall.flow import run
from pgrecall.store import documents, graph, identity, indexes
from pgrecall.store.prepared import Prepared
from pgrecall.store.vectors import encode_all
from pgrecall.types import Chunk, FloatArray, Mode
from tests.embedders import TinyEmbedder

ROWS, DIMENSIONS, CLUSTERS = 5400, 32, 60
SETTINGS = ("hnsw.ef_search", "hnsw.iterative_scan", "enable_sort", "enable_seqscan")


class World:
    """A collection of clustered vectors; row n lies in cluster n % CLUSTERS."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.embedder = TinyEmbedder(DIMENSIONS)
        self.docs = db.create_collection("world", embedder=self.embedder)
        random = np.random.default_rng(7)
        self.centres = random.standard_normal((CLUSTERS, DIMENSIONS)).astype(np.float32)
        noise = random.standard_normal((ROWS, DIMENSIONS)).astype(np.float32)
        self.vectors: FloatArray = self.centres[np.arange(ROWS) % CLUSTERS] + 0.7 * noise
        asked = random.standard_normal((20, DIMENSIONS)).astype(np.float32)
        self.questions: FloatArray = self.centres[:20] + 0.5 * asked
        generation = self.docs._target.generation
        run(documents.write(generation, list(self.rows())), db._session)
        run(graph.build(generation), db._session)
        run(indexes.settle(generation, written=ROWS), db._session)
        self.generation = generation

    def rows(self) -> Iterator[Prepared]:
        wires = encode_all(self.vectors)
        for n in range(ROWS):
            # "common" in all, "half" in every second, a word of their own in every 600th.
            text = f"common row {'half' if n % 2 else 'other'} w{n % 600}x"
            metadata = {"n": n, "cluster": n % CLUSTERS, "half": n % 2, "kept": n % 5 > 0}
            document = Document(uri=f"r{n}", text=text, metadata=metadata, tenant_id=f"t{n % 3}")
            yield Prepared(
                document=document,
                document_id=identity.document_id("world", document),
                generation=self.docs._target.generation,
                content_hash=b"",
                markup="plain",
                chunks=[Chunk(ordinal=0, start=0, end=len(text), content=text, tokens=3)],
                hashes=[n.to_bytes(16, "big")],
                vectors=[wires[n]],
            )


@pytest.fixture(scope="module")
def url(template_database: str, create_database: Any) -> Iterator[str]:
    with create_database(template_database) as created:
        yield created


@pytest.fixture(scope="module")
def world(url: str) -> Iterator[World]:
    with pgrecall.connect(url) as db:
        yield World(db)


def ids(hits: Hits) -> list[str]:
    return [hit.uri for hit in hits]


def recall(world: World, *, k: int = 10, **options: Any) -> tuple[float, set[str]]:
    """Mean recall@k against an exact search, and the strategies that ran."""
    shares, strategies = [], set()
    for question in world.questions:
        exact = world.docs.search(question, k=k, mode="vector", exact=True, **options)
        # Wide enough that the graph, which is another one in each run, decides nothing here.
        found = world.docs.search(question, k=k, mode="vector", ef_search=400, **options)
        assert exact.strategy == "exact"
        assert len(found) == len(exact)
        assert [hit.score for hit in found] == sorted((h.score for h in found), reverse=True)
        shares.append(len({*ids(found)} & {*ids(exact)}) / len(exact))
        strategies.add(found.strategy)
    return float(np.mean(shares)), strategies


def test_without_a_filter_the_index_answers(world: World) -> None:
    share, strategies = recall(world)
    assert strategies == {"hnsw"}
    assert share >= 0.95


def test_an_exact_search_is_exact(world: World) -> None:
    unit = world.vectors / np.linalg.norm(world.vectors, axis=1, keepdims=True)
    for question in world.questions[:5]:
        nearest = np.argsort(-(unit @ (question / np.linalg.norm(question))))[:10]
        found = world.docs.search(question, mode="vector", exact=True)
        assert (
            len({f"r{n}" for n in nearest} & {*ids(found)}) >= 9
        )  # half precision may swap the last


def test_few_matches_are_searched_exactly(world: World) -> None:
    share, strategies = recall(world, where={"cluster": 3})
    assert strategies == {"exact"}
    assert share == 1.0


@pytest.mark.parametrize("scope", [{"where": {"kept": True}}, {"where": {"n": {"$lt": 4800}}}])
def test_many_matches_are_searched_by_index(world: World, scope: dict[str, Any]) -> None:
    share, strategies = recall(world, **scope)
    assert strategies == {"hnsw"}
    assert share >= 0.95


def test_a_tenant_is_a_filter(world: World) -> None:
    share, _ = recall(world, tenant_id="t1")
    assert share >= 0.95
    hits = world.docs.search(world.questions[0], mode="vector", tenant_id="t1", k=50)
    assert {hit.tenant_id for hit in hits} == {"t1"}


def test_matches_that_are_far_away_are_found(world: World) -> None:
    """The index scan gives up before it reaches the rows that match; k rows come back all the same."""
    near = world.centres @ world.centres[0]
    where = {"cluster": {"$in": np.argsort(near)[: CLUSTERS // 2].tolist()}}
    with psycopg.connect(world.db.url, autocommit=True) as connection:
        connection.execute("SET hnsw.max_scan_tuples = 1")
        rows = connection.execute(
            "SELECT uri, strategy FROM pgrecall.search_vector('world', %s::halfvec, 1000, %s)",
            [literal(world.centres[0]), json.dumps(where)],
        ).fetchall()
    assert len(rows) == 1000
    assert {strategy for _, strategy in rows} == {"exact"}
    exact = world.docs.search(world.centres[0], k=1000, mode="vector", where=where, exact=True)
    assert [uri for uri, _ in rows] == ids(exact)


def test_what_does_not_match_may_stand_around_the_question(world: World) -> None:
    """A third of the clusters is left out, the nearest ones."""
    shares = []
    for question in world.questions:
        around = np.argsort(-(world.centres @ question))[: CLUSTERS // 3].tolist()
        where = {"cluster": {"$nin": around}}
        exact = world.docs.search(question, mode="vector", where=where, exact=True)
        found = world.docs.search(question, mode="vector", where=where)
        assert found.strategy == "hnsw"
        shares.append(len({*ids(found)} & {*ids(exact)}) / 10)
    assert np.mean(shares) >= 0.97


def test_more_rows_than_the_index_scan_visits(world: World) -> None:
    assert len(world.docs.search(world.questions[0], k=ROWS + 5, mode="vector")) == ROWS
    with psycopg.connect(world.db.url, autocommit=True) as connection:
        connection.execute("SET hnsw.max_scan_tuples = 100")
        query = "SELECT count(*) FROM pgrecall.search_vector('world', %s::halfvec, 3000)"
        assert connection.execute(query, [literal(world.questions[0])]).fetchone() == (3000,)


CALL = "SELECT * FROM pgrecall.{}"


def test_plans(world: World) -> None:
    table = world.generation.table

    def stages(question: Any = None, **options: Any) -> dict[str, tuple[str, set[str]]]:
        asked = world.questions[0] if question is None else question
        mode: Mode = "vector" if question is None else "text"
        hits = world.docs.search(asked, mode=mode, explain=True, **options)
        return {s.arm: (s.strategy, {*s.indexes}) for s in hits.explanation}

    assert stages() == {"vector": ("hnsw", {f"{table}_embedding"})}
    assert stages(exact=True) == {"vector": ("exact", set())}
    assert stages(where={"kept": True}) == {"vector": ("hnsw", {f"{table}_embedding"})}
    assert stages(where={"cluster": 3}) == {"vector": ("exact", {f"{table}_metadata"})}
    assert stages(tenant_id="t1") == {"vector": ("exact", {f"{table}_pkey"})}
    assert stages(uri_prefix="r77") == {"vector": ("exact", {f"{table}_pkey"})}
    assert stages("w17x") == {"text": ("text", {f"{table}_tsv"})}


def literal(vector: FloatArray) -> str:
    return "[" + ",".join(repr(float(x)) for x in vector) + "]"


def test_sql_users_get_the_same_rows(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # A hybrid search embeds its words; with the same embedding it is the same question.
    monkeypatch.setattr(world.embedder, "embed_query", lambda text: world.questions[0])
    question = literal(world.questions[0])
    columns = "SELECT uri, score, vector_score, text_score, vector_rank, text_rank, strategy FROM "
    for mode, call in (
        ("vector", f"pgrecall.search_vector('world', '{question}', 5)"),
        ("text", "pgrecall.search_text('world', 'half w17x', 5)"),
        ("hybrid", f"pgrecall.search('world', 'half w17x', '{question}', 5)"),
    ):
        with psycopg.connect(world.db.url) as connection:
            rows = connection.execute((columns + call).encode()).fetchall()
        asked: Any = world.questions[0] if mode == "vector" else "half w17x"
        hits = world.docs.search(asked, mode=mode, k=5)  # type: ignore[arg-type]
        assert [
            (
                h.uri,
                h.score,
                h.vector_score,
                h.text_score,
                h.vector_rank,
                h.text_rank,
                hits.strategy,
            )
            for h in hits
        ] == rows


@pytest.mark.parametrize("transaction", [False, True])
def test_settings_do_not_leak(world: World, transaction: bool) -> None:
    question = literal(world.questions[0])
    look = "SELECT " + ", ".join(f"current_setting('{name}', true)" for name in SETTINGS)
    with psycopg.connect(world.db.url, autocommit=not transaction) as connection:
        connection.execute("SELECT '[1]'::vector")  # loads the extension, and with it its settings
        connection.execute("SET hnsw.ef_search = 77")
        before = connection.execute(look.encode()).fetchone()
        assert before is not None
        assert before[0] == "77"
        for call in (
            "search_vector('world', %s::halfvec, 500, NULL, NULL, false, 900)",
            "search_vector('world', %s::halfvec, 5, '{\"half\": 1}', NULL, true)",
            "search('world', 'half', %s::halfvec, 5, NULL, NULL, false, 300)",
        ):
            rows = connection.execute(CALL.format(call).encode(), [question]).fetchall()
            assert rows
            assert connection.execute(look.encode()).fetchone() == before


BAD: list[dict[str, Any]] = [
    {"k": 0},
    {"k": -1},
    {"k": 10_001},
    {"k": 2**40},
    {"k": "5"},
    {"k": 2.5},
    {"ef_search": 0},
    {"ef_search": 1001},
    {"mode": "nearest"},
]


@pytest.mark.parametrize("options", BAD, ids=str)
def test_arguments_that_cannot_be_used(world: World, options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidArgument):
        world.docs.search("half", **options)


@pytest.mark.parametrize(
    "options", [{"vector_weight": 1.5}, {"vector_weight": float("nan")}, {"fusion": "max"}], ids=str
)
def test_fusions_that_there_are_not(world: World, options: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"The (vector_weight|fusion) must"):
        world.docs.search("half", **options)


@pytest.mark.parametrize(
    "vector",
    [
        *(np.ones(31), np.ones(33), np.ones((1, 1, 32)), np.zeros(32), np.full(32, np.nan)),
        *(np.ones(0), np.ones(16_001), np.ones(70_000)),
    ],
    ids=str,
)
def test_embeddings_that_do_not_fit(world: World, vector: Any) -> None:
    with pytest.raises(errors.InvalidArgument):
        world.docs.search(vector.astype(np.float32), mode="vector")
    with pytest.raises(errors.InvalidArgument, match="needs words"):
        world.docs.search(vector.astype(np.float32))


@pytest.mark.parametrize("number", [1e25, 1e300])
def test_numbers_that_no_embedding_holds(world: World, number: float) -> None:
    questions: list[Any] = [[number] * 32, np.full(32, number)]
    for question in questions:
        with pytest.raises(errors.InvalidArgument, match="infinite"):
            world.docs.search(question, mode="vector")


def sqlstate(world: World, call: str) -> str | None:
    with psycopg.connect(world.db.url) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(CALL.format(call).encode())
    return caught.value.sqlstate


def test_errors_of_the_sql_functions(world: World) -> None:
    question = f"'{literal(world.questions[0])}'"
    calls = {
        f"search_vector('nowhere', {question})": "PR001",
        f"search_vector('world', {question}, generation => 999999)": "PR002",
        f"search_vector('world', {question}, 5, '{{\"x\": []}}')": "PR003",
        f"search_vector('world', {question}, 0)": "PR004",
        f"search_vector('world', {question}, NULL)": "PR004",
        f"search_vector('world', {question}, 2147483647)": "PR004",
        "search_vector('world', '[1,2]')": "PR004",
        "search_vector('world', NULL)": "PR004",
        "search_text('world', 'half', 0)": "PR004",
        "search_text('world', 'half', 2147483647)": "PR004",
        f"search('world', 'half', {question}, 2147483647)": "PR004",
        f"search('world', 'half', {question}, -1)": "PR004",
        f"search('world', 'half', {question}, vector_weight => 2)": "PR004",
        f"search('world', 'half', {question}, fusion => 'x')": "PR004",
    }
    assert {call: sqlstate(world, call) for call in calls} == calls


def test_a_text_search_needs_only_one_of_the_words(world: World) -> None:
    hits = world.docs.search("w17x nowhere-to-be-found", mode="text", k=100)
    assert {*ids(hits)} == {f"r{n}" for n in range(17, ROWS, 600)}
    assert (hits.strategy, hits.complete) == ("text", True)
    assert [hit.text_rank for hit in hits] == list(range(1, 10))
    assert hits[0].vector_score is None


def test_a_rare_word_outweighs_common_ones(world: World) -> None:
    hits = world.docs.search("common half row w18x", mode="text", k=20)
    assert {*ids(hits)[:9]} == {f"r{n}" for n in range(18, ROWS, 600)}
    assert hits[8].score > 2 * hits[9].score


HOSTILE = [
    "'",
    "''''",
    '"',
    "\\",
    "\\'\\",
    "a'b\\c",
    "& | ! <-> ( ) : *",
    "w17x:* & !half | (",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "%s %(x)s {} $1",
    "'; DROP TABLE pgrecall.chunks; --",
    "\0",
    "\ud800",
    "\n\t\r",
    "",
    "x" * 5000,
    "http://user:p@ss@host/path?q=1#f e-mail@host.org 1.5e-7 /usr/lib a-b-c",
    " ".join(f"word{n}" for n in range(10_000)),
    " ".join(f"x{n}y" for n in range(150_000)),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_is_too_strange_to_look_for(world: World, text: str) -> None:
    for mode in ("text", "hybrid"):
        world.docs.search(text, mode=mode)
    if len(text) < 10_000:
        assert "w17x" in world.docs.search(f"{text} w17x", mode="text", k=1)[0].text


@pytest.mark.parametrize("text", ["the and of", "?!", ""])
def test_without_words_there_is_nothing_to_find(world: World, text: str) -> None:
    assert world.docs.search(text, mode="text") == []


@pytest.fixture
def small(database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder())
        words = [
            "tide",
            "moon",
            "rises",
            "falls",
            "twice",
            "sea",
            "water",
            "gravity",
            "harbour",
            "coast",
        ]
        random = np.random.default_rng(3)
        docs.ingest(
            [
                Document(uri=f"d{n}", text=" ".join(random.choice(words, 6)) + f" {n}")
                for n in range(60)
            ]
        )
        yield docs


def fused(hits: Hits, fusion: str, weight: float) -> dict[tuple[UUID, int], float]:
    """The documented formula over candidates that hold both scores."""
    vector = {(h.document_id, h.ordinal): h.vector_score or 0.0 for h in hits}
    text = {(h.document_id, h.ordinal): h.text_score or 0.0 for h in hits}
    if fusion == "rrf":
        by_vector = sorted(vector, key=lambda key: (-vector[key], key))
        by_text = sorted((k for k in text if text[k] > 0), key=lambda key: (-text[key], key))
        scores = {key: 1 / (61 + rank) for rank, key in enumerate(by_vector)}
        for rank, key in enumerate(by_text):
            scores[key] += 1 / (61 + rank)
        return scores
    low, high, most = min(vector.values()), max(vector.values()), max(text.values())
    return {
        key: weight * (vector[key] - low) / (high - low) + (1 - weight) * text[key] / most
        for key in vector
    }


@pytest.mark.parametrize(
    ("fusion", "weight"), [("convex", 0.5), ("convex", 0.2), ("convex", 1.0), ("rrf", 0.5)]
)
def test_a_hybrid_score_is_the_documented_formula(
    small: Collection, fusion: str, weight: float
) -> None:
    hits = small.search("moon over the harbour", k=100, fusion=fusion, vector_weight=weight)
    # All sixty rows are candidates, so the formula can be computed from the hits alone.
    assert len(hits) == 60
    assert hits.strategy == "hybrid:exact"
    expected = fused(hits, fusion, weight)
    for hit in hits:
        assert hit.score == pytest.approx(expected[hit.document_id, hit.ordinal], abs=1e-9)
        assert fusion == "rrf" or 0 <= hit.score <= 1
    assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)


def test_a_hybrid_search_unites_both_arms(small: Collection) -> None:
    question = "moon over the harbour"
    vector = small.search(question, mode="vector", k=60)
    text = small.search(question, mode="text", k=60)
    both = small.search(question, k=60)
    assert {*ids(both)} == {*ids(vector)} | {*ids(text)}
    scores = {hit.uri: hit.vector_score for hit in vector}
    words = {hit.uri: hit.text_score for hit in text}
    for hit in both:
        assert hit.vector_score == pytest.approx(scores[hit.uri])
        assert hit.text_score == pytest.approx(words.get(hit.uri, 0.0))
        assert (hit.text_rank is None) == (hit.uri not in words)

    assert ids(small.search(question, k=60, vector_weight=1.0)) == ids(vector)
    by_words = ids(small.search(question, k=60, vector_weight=0.0))
    assert by_words[: len(text)] == sorted(
        ids(text), key=lambda uri: (-(words[uri] or 0), ids(vector).index(uri))
    )


def test_without_a_matching_word_the_vectors_decide(small: Collection) -> None:
    for question in ("the of and", "zzz", "?"):
        vector = small.search(question, mode="vector", k=20)
        both = small.search(question, k=20)
        assert ids(both) == ids(vector)
        assert [hit.score for hit in both] == [hit.score for hit in vector]


def test_a_client_follows_a_switch_of_generations(small: Collection, database_url: str) -> None:
    """As when another process has built a new generation and made it the active one."""
    generation = small._target.generation
    with pgrecall.connect(database_url) as db:
        other = db.create_collection("other", embedder=TinyEmbedder(16))
        other.ingest(Document(uri="new", text="moon harbour"))
        with psycopg.connect(db.url, autocommit=True) as connection:
            connection.execute(
                "UPDATE pgrecall.generations SET collection_id = %s WHERE generation_id = %s",
                [generation.collection_id, other._target.generation.generation_id],
            )
            connection.execute(
                "UPDATE pgrecall.collections SET active_generation_id = %s WHERE name = 'docs'",
                [other._target.generation.generation_id],
            )
    # Words can be looked for by anybody; a question needs the new generation's embedder.
    assert ids(small.search("moon", mode="text")) == ["new"]
    with pytest.raises(errors.InvalidArgument, match="32 dimensions, the collection has 16"):
        small.search("moon")


@pytest.mark.parametrize(
    ("embedder", "weight"),
    [
        ("static", 0.5),
        ("mine", 0.5),
        ("openai:text-embedding-3-small", 0.7),
        ("sentence-transformers:all-MiniLM-L6-v2", 0.7),
    ],
)
def test_models_that_read_words_in_context_weigh_more(
    template_database: str, create_database: Any, embedder: str, weight: float
) -> None:
    with create_database(template_database) as url, psycopg.connect(url) as connection:
        found = connection.execute("SELECT pgrecall.default_weight(%s)", [embedder]).fetchone()
    assert found == (weight,)
