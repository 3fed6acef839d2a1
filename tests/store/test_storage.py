"""How vectors are stored and compared: each combination is found by its index, and as an exact search says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import ChunkConfig, Collection, Database, Document, Hits, Storage, errors
from pgrecall.flow import run
from pgrecall.store import graph, indexes
from pgrecall.store.session import fetch
from pgrecall.store.storage import Metric, StorageType, kept
from pgrecall.types import FloatArray
from tests.embedders import TinyEmbedder

ROWS, GROUPS, DIMENSIONS, PREFIX = 2600, 100, 64, 32
#: More rows match than are searched exactly (pgrecall.few).
MOST: dict[str, Any] = {"where": {"n": {"$gte": 100}}}
TYPES: tuple[StorageType, ...] = ("halfvec", "vector", "bit")
METRICS: tuple[Metric, ...] = ("cosine", "ip", "l2")
COMBINATIONS = [
    Storage(type=type_, metric=metric, prefix=prefix)
    for type_, metric, prefix in product(TYPES, METRICS, (None, PREFIX))
]
OPERATORS = {"cosine": "<=>", "ip": "<#>", "l2": "<->"}


def spectral(count: int, seed: int) -> FloatArray:
    """Vectors in groups, of nearly one length, whose first dimensions say most, as in Matryoshka models."""
    scale = np.arange(1, DIMENSIONS + 1) ** -0.3
    centres = np.random.default_rng(0).standard_normal((GROUPS, DIMENSIONS))
    random = np.random.default_rng(seed)
    noise = random.standard_normal((count, DIMENSIONS))
    vectors = scale * (centres[np.arange(count) % GROUPS] + 0.6 * noise)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True) * random.uniform(0.97, 1, (count, 1))
    found: FloatArray = (vectors / lengths).astype(np.float32)
    return found


class Numbered(TinyEmbedder):
    """The text "17" has the vector with that number."""

    def __init__(self) -> None:
        super().__init__(DIMENSIONS, "numbered")
        self.vectors = spectral(ROWS, 1)

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        return self.vectors[[int(text) for text in texts]]

    def embed_query(self, text: str) -> FloatArray:
        found: FloatArray = self.vectors[int(re.findall(r"\d+", text)[0])]
        return found


class Library:
    """The same rows in collections that store them differently, each made when it is asked for."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.embedder = Numbered()
        self.questions = spectral(20, 2)
        self._made: dict[Storage, Collection] = {}
        self.source = db.create_collection("source", embedder=self.embedder, storage="vector")
        self.source.ingest(
            Document(uri=f"d{n}", text=str(n), metadata={"n": n}) for n in range(ROWS)
        )

    def __getitem__(self, storage: Storage) -> Collection:
        if storage not in self._made:
            self._made[storage] = self._make(storage)
        return self._made[storage]

    def _make(self, storage: Storage) -> Collection:
        docs = self.db.create_collection(str(storage), embedder=self.embedder, storage=storage)
        generation = docs._target.generation
        with psycopg.connect(self.db.url, autocommit=True) as connection:
            column = generation.storage.column
            connection.execute(
                f"""
                INSERT INTO pgrecall.chunks (generation_id, tenant_id, document_id, ordinal, uri,
                       start_offset, end_offset, token_count, headings, header, content,
                       content_hash, language, metadata, {column})
                SELECT %s, tenant_id, document_id, ordinal, uri, start_offset, end_offset,
                       token_count, headings, header, content, content_hash, language, metadata,
                       embedding_full FROM pgrecall.{self.source._target.generation.table}
                """.encode(),  # noqa: S608 (names of ours)
                [generation.generation_id],
            )
        run(graph.build(generation), self.db._session)
        run(indexes.settle(generation, written=ROWS), self.db._session)
        return docs

    def similarity(self, metric: str, question: FloatArray) -> Any:
        """Of all rows to a question, in full precision."""
        vectors = self.embedder.vectors.astype(np.float64)
        if metric == "l2":
            return -np.linalg.norm(vectors - question, axis=1)
        product = vectors @ question
        if metric == "cosine":
            product /= np.linalg.norm(vectors, axis=1) * np.linalg.norm(question)
        return product


@pytest.fixture(scope="module")
def url(template_database: str, create_database: Any) -> Iterator[str]:
    with create_database(template_database) as created:
        yield created


@pytest.fixture(scope="module")
def library(url: str) -> Iterator[Library]:
    with pgrecall.connect(url) as db:
        yield Library(db)


def recall(library: Library, docs: Collection, rows: slice, **options: Any) -> float:
    """Mean recall@10 against the vectors in full precision; every search runs by the index."""
    shares = []
    for question in library.questions:
        truth = library.similarity(docs._target.generation.storage.metric, question)[rows]
        hits = docs.search(question, mode="vector", **options)
        assert hits.strategy == "hnsw"
        assert len(hits) == 10
        tenth = np.sort(truth)[-10] - 2e-3  # half precision
        shares.append(
            np.mean([truth[int(hit.uri[1:]) - (rows.start or 0)] >= tenth for hit in hits])
        )
    return float(np.mean(shares))


@pytest.mark.parametrize("storage", COMBINATIONS, ids=str)
def test_the_index_finds_what_is_nearest(library: Library, storage: Storage) -> None:
    docs = library[storage]
    # Wide enough that the graph, which is another one in each run, decides nothing here.
    assert recall(library, docs, slice(None), ef_search=400) >= 0.95
    assert recall(library, docs, slice(100, None), ef_search=400, **MOST) >= 0.95


@pytest.mark.parametrize("storage", COMBINATIONS, ids=str)
def test_plans(library: Library, storage: Storage) -> None:
    docs = library[storage]
    index = f"{docs._target.generation.table}_embedding"
    options: dict[str, Any]
    for options in ({}, MOST):
        hits = docs.search(library.questions[0], mode="vector", explain=True, **options)
        (stage,) = hits.explanation
        assert (stage.strategy, stage.indexes) == ("hnsw", (index,))
        (scan,) = scans(stage.plan[0]["Plan"])
        indexed = "<~>" if storage.type == "bit" else OPERATORS[storage.metric]
        assert f" {indexed} " in scan["Order By"]
        assert ("subvector" in scan["Order By"]) == (storage.prefix is not None)
        # What is only part of a vector in the index is compared with more rows than are asked for.
        partial = storage.type == "bit" or storage.prefix is not None
        # So is what may have rows that do not match around it.
        assert scan["Actual Rows"] >= (50 if partial else 10)
        assert scan["Actual Rows"] <= (250 if partial else 200 if options else 10)


@pytest.mark.parametrize("storage", COMBINATIONS, ids=str)
def test_the_kept_plan_of_a_generation_uses_the_index(library: Library, storage: Storage) -> None:
    generation = library[storage]._target.generation
    scanned = f"SELECT pg_stat_get_xact_numscans('pgrecall.{generation.table}_embedding'::regclass)"
    function = f"pgrecall.search_vector_g{generation.generation_id}"
    search = f"SELECT {function}(%s, %s::vector, 10, 100, NULL)"
    with psycopg.connect(library.db.url) as connection:
        # As where vectors are so long that an index scan looks dear.
        connection.execute("SET random_page_cost = 1000")
        for question in library.questions[:7]:
            connection.execute(search.encode(), [generation.collection, question.tolist()])
        row = connection.execute(scanned.encode()).fetchone()
    assert row == (7,)


@pytest.mark.parametrize("storage", COMBINATIONS, ids=str)
def test_scores_are_exact(library: Library, storage: Storage) -> None:
    docs = library[storage]
    options: dict[str, Any]
    for question in library.questions[:3]:
        truth = library.similarity(storage.metric, question)
        close = 2e-6 if storage.type == "vector" else 2e-3
        exact = docs.search(question, mode="vector", exact=True, k=20)
        assert exact.strategy == "exact"
        assert [hit.score for hit in exact] == pytest.approx(np.sort(truth)[::-1][:20], abs=close)
        for options in ({}, MOST, {"exact": True}):
            hits = docs.search(question, mode="vector", **options)
            scores = [hit.score for hit in hits]
            assert scores == sorted(scores, reverse=True)
            expected = [truth[int(hit.uri[1:])] for hit in hits]
            assert scores == pytest.approx(expected, abs=close)


@pytest.mark.parametrize("storage", COMBINATIONS, ids=str)
def test_sql_hybrid_similar_and_embeddings(library: Library, storage: Storage) -> None:
    docs, question = library[storage], library.questions[0]
    with psycopg.connect(library.db.url) as connection:
        asked = [str(storage), question.tolist()]
        rows = connection.execute(
            "SELECT uri, score FROM pgrecall.search_vector(%s, %s::vector, 10)", asked
        ).fetchall()
        alike = connection.execute(
            "SELECT s.uri FROM pgrecall.chunks AS c, pgrecall.similar(%s, c.document_id) AS s"
            " WHERE c.generation_id = %s AND c.uri = 'd17'",
            [str(storage), docs._target.generation.generation_id],
        ).fetchall()
    assert len({*alike} - {("d17",)}) == 10
    assert sum(int(uri[1:]) % GROUPS == 17 for (uri,) in alike) >= 9
    assert rows == [(hit.uri, hit.score) for hit in docs.search(question, mode="vector")]
    hybrid = docs.search("17")
    assert hybrid.strategy == "hybrid:hnsw"
    assert hybrid[0].uri == "d17"
    assert hybrid[0].vector_rank == hybrid[0].text_rank == 1
    # The stored vectors come back: what is left out as too similar is measured with them.
    varied = docs.search(question, mode="vector", diversity=0.5)
    assert len(varied) == 10
    assert uris(varied) != uris(docs.search(question, mode="vector"))


@pytest.mark.parametrize("length", [1e-30, 1e25])
@pytest.mark.parametrize(
    "call",
    [
        "search_vector(%s, %s::vector)",
        "search_vector(%s, %s::vector, exact => true)",
        "search(%s, '17', %s::vector)",
        "explain(%s, NULL, %s::vector)",
    ],
)
def test_embeddings_whose_squares_have_no_place_in_single_precision(
    library: Library, call: str, length: float
) -> None:
    """All rows would be equally near."""
    storage = Storage(type="vector")
    question = library.questions[0].astype(np.float64) * length
    with psycopg.connect(library.db.url) as connection, pytest.raises(psycopg.Error) as caught:
        connection.execute(
            f"SELECT * FROM pgrecall.{call}".encode(),  # noqa: S608
            [library[storage].name, str(question.tolist())],
        )
    assert caught.value.sqlstate == "PR004"
    with pytest.raises(errors.InvalidArgument):
        library[storage].search(question, mode="vector")


@pytest.mark.parametrize(
    "storage",
    [
        Storage(type="halfvec"),
        Storage(type="bit"),
        Storage(type="vector", metric="l2", prefix=PREFIX),
    ],
    ids=str,
)
def test_the_measured_recall_is_that_of_the_whole_search(
    library: Library, storage: Storage
) -> None:
    docs = library[storage]
    with psycopg.connect(library.db.url, autocommit=True) as connection:
        asked = [f"[{','.join(map(str, question))}]" for question in library.questions]
        row = connection.execute(
            "SELECT pgrecall.measure_recall(%s, embeddings => %s::text[]::vector[])",
            [str(storage), asked],
        ).fetchone()
    assert row is not None
    curve = row[0]
    assert curve[0] == pytest.approx(recall(library, docs, slice(None), ef_search=40), abs=0.03)
    assert curve[0] < 1 or storage.type != "bit"
    assert curve[-1] >= 0.99


@pytest.mark.parametrize("storage", [Storage(type=type_) for type_ in TYPES], ids=str)
def test_a_question_may_have_any_form_in_sql(library: Library, storage: Storage) -> None:
    docs, question = library[storage], library.questions[0]
    name, literal = str(storage), f"[{','.join(map(str, question))}]"
    calls = {
        "search_vector": "(%s, {}, 10)",
        "search": "(%s, '17 18', {}, 10)",
        "explain": "(%s, query_embedding => {})",
    }
    with psycopg.connect(library.db.url) as connection:
        for function, arguments in calls.items():
            columns = "uri, score" if function != "explain" else "strategy, rows"
            asked = f"SELECT {columns} FROM pgrecall.{function}{arguments}"  # noqa: S608 (names of ours)
            answers = [
                connection.execute(asked.format(form).encode(), [name, *given]).fetchall()
                for form, given in [
                    (f"'{literal}'", []),
                    ("%s", [literal]),
                    ("%s::vector", [literal]),
                    ("%s::real[]", [question.tolist()]),
                    ("%s", [question.astype(float).tolist()]),
                    ("%s::halfvec", [literal]),
                ]
            ]
            assert all(answer == answers[0] for answer in answers[1:-1]), function
            # A half is what its caller made of the question.
            assert [row[0] for row in answers[-1]][:3] == [row[0] for row in answers[0]][:3]
            assert (answers[-1] == answers[0]) == (
                storage.type != "vector" or function == "explain"
            )
    found = docs.search(question, mode="vector")
    rows = [(hit.uri, hit.score) for hit in found]
    with psycopg.connect(library.db.url) as connection:
        sql = "SELECT uri, score FROM pgrecall.search_vector(%s, %s, 10)"
        assert connection.execute(sql, [name, literal]).fetchall() == rows
        with pytest.raises(psycopg.Error, match="the query embedding is missing"):
            connection.execute("SELECT pgrecall.search_vector(%s, NULL)", [name])


def test_more_hits_than_an_index_scan_has(library: Library) -> None:
    hits = library[Storage(type="bit")].search(library.questions[0], mode="vector", k=1500)
    assert len(hits) == 1500


def scans(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Index Name" in plan:
        yield plan
    for child in plan.get("Plans", []):
        yield from scans(child)


def uris(hits: Hits) -> list[str]:
    return [hit.uri for hit in hits]


@pytest.mark.parametrize(
    ("dimensions", "storage", "complaint"),
    [
        (4001, Storage(type="halfvec"), "takes at most 4,000 dimensions, not 4,001: give a prefix"),
        (2001, "vector", "takes at most 2,000 dimensions, not 2,001: give a prefix"),
        (8000, Storage(type="vector", prefix=2001), "not 2,001: shorten the prefix"),
        (8000, Storage(type="halfvec", prefix=4001), "not 4,001: shorten the prefix"),
        (16_001, None, "stores at most 16,000: ask the model for fewer"),
        (32, Storage(prefix=32), "is no part of the 32"),
        (32, Storage(type="bit", prefix=33), "is no part of the 32"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(
    url: str, dimensions: int, storage: Any, complaint: str
) -> None:
    made = "SELECT count(*), max(oid) FROM pg_class WHERE relnamespace = 'pgrecall'::regnamespace"
    with pgrecall.connect(url) as db, psycopg.connect(url, autocommit=True) as connection:
        before = connection.execute(made).fetchall()
        with pytest.raises(errors.InvalidArgument, match=complaint) as refused:
            db.create_collection("no", embedder=TinyEmbedder(dimensions), storage=storage)
        assert str(refused.value).count(". ") == 0
        assert connection.execute(made).fetchall() == before


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"type": "int8"}, '"halfvec", "vector" or "bit"'),
        ({"metric": "dot"}, '"cosine", "ip" or "l2"'),
        ({"prefix": 0}, "from 1, not 0"),
        ({"prefix": True}, "from 1, not True"),
        ({"prefix": "256"}, "from 1, not '256'"),
    ],
)
def test_a_storage_that_is_none(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(errors.InvalidArgument, match=complaint):
        Storage(**options)


@pytest.mark.parametrize(
    ("dimensions", "storage", "expected"),
    [
        (4000, None, Storage(type="halfvec")),
        (4001, None, Storage(type="bit")),
        (4001, Storage(prefix=256), Storage(type="halfvec", prefix=256)),
        (2000, "vector", Storage(type="vector")),
        (16_000, Storage(type="vector", prefix=2000), Storage(type="vector", prefix=2000)),
        (16_000, None, Storage(type="bit")),
    ],
)
def test_dimensions_decide(
    database_url: str, dimensions: int, storage: Any, expected: Storage
) -> None:
    with pgrecall.connect(database_url) as db:
        embedder = TinyEmbedder(dimensions)
        docs = db.create_collection("docs", embedder=embedder, storage=storage)
        texts = ["a first text", "another one"]
        docs.ingest(Document(uri=text, text=text) for text in texts)  # builds the index
        assert docs.generations()[0].storage == expected
        assert docs.generations()[0].indexed
        hits = docs.search("a first text", mode="vector")
        assert uris(hits) == texts
        assert hits[0].score == pytest.approx(1, abs=1e-3)


def test_full_precision_and_lengths_are_kept(database_url: str) -> None:
    """What a cosine would not see."""

    class Long(TinyEmbedder):
        def embed_query(self, text: str) -> FloatArray:
            return np.array([1024 + len(text), 1 / 4], dtype=np.float32)

    with pgrecall.connect(database_url) as db:
        storage = Storage(type="vector", metric="l2")
        docs = db.create_collection("docs", embedder=Long(2), storage=storage)
        docs.ingest([Document(uri="one", text="one"), Document(uri="three", text="three")])
        hits = docs.search("three", mode="vector")
        assert [(hit.uri, hit.score) for hit in hits] == [("three", 0), ("one", -2)]
        docs.ingest([Document(uri="again", text="three")])
        assert docs.search("three", mode="vector", k=2)[1].score == 0


def test_a_number_that_no_half_holds(database_url: str) -> None:
    class Large(TinyEmbedder):
        def embed_query(self, text: str) -> FloatArray:
            return np.array([1e6, 1.0], dtype=np.float32)

    with pgrecall.connect(database_url) as db:
        halves = db.create_collection("halves", embedder=Large(2))
        failed = halves.ingest([Document(uri="one", text="one")]).failed
        assert "zero or holds NaN or infinity" in failed[0].reason
        whole = db.create_collection("whole", embedder=Large(2), storage="vector")
        assert whole.ingest([Document(uri="one", text="one")]).failed == []
        assert whole.search("one", mode="vector")[0].uri == "one"
        with pytest.raises(errors.InvalidArgument, match="all zero"):
            halves.search("one", mode="vector")


def test_a_collection_is_used_with_the_storage_that_it_has(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        embedder = TinyEmbedder()
        db.create_collection("docs", embedder=embedder, storage=Storage(type="bit", metric="ip"))
        for same in (None, Storage(type="bit", metric="ip")):
            db.create_collection("docs", embedder=embedder, storage=same, exist_ok=True)
        with pytest.raises(errors.InvalidArgument, match="exists with bit, ip, not bit, cosine"):
            db.create_collection("docs", embedder=embedder, storage="bit", exist_ok=True)


def test_reindexing_changes_the_storage(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(), storage=Storage(metric="ip"))
        docs.ingest(Document(uri=f"d{n}", text=f"text {n}") for n in range(20))
        before = docs.search("text 3", mode="vector", k=5)
        docs.reindex(storage=Storage(type="vector", metric="l2", prefix=8))
        docs.ingest([Document(uri="new", text="text of both")])  # reaches both generations
        docs.activate()
        hits = docs.search("text 3", mode="vector", k=21)
        assert hits[0].uri == "d3"
        assert hits[0].score == pytest.approx(0, abs=1e-3)
        assert "new" in uris(hits)
        assert [str(item.storage) for item in docs.generations()] == [
            "halfvec, ip",
            "vector, l2, prefix 8",
        ]
        docs.rollback()
        assert docs.search("text 3", mode="vector", k=5)[0].score == before[0].score
        with pytest.raises(errors.InvalidArgument, match="stored like that already"):
            docs.reindex(storage=Storage(metric="ip"))


def test_another_storage_of_the_same_vectors_embeds_nothing(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder())
        docs.ingest(Document(uri=f"d{n}", text=f"text {n}") for n in range(20))
        embedded = []
        # Halves make no full vectors; full ones make halves.
        for storage in ("bit", "vector", Storage(type="halfvec", metric="l2", prefix=8)):
            assert docs.plan_reindex(storage=storage).tokens == 0 or storage == "vector"
            embedded.append(docs.reindex(storage=storage).embedded)
            docs.activate()
            assert docs.search("text 3", mode="vector")[0].uri == "d3"
            docs.drop_generation()
        assert embedded == [0, 20, 0]
        assert docs.search("text 3", mode="vector")[0].score == pytest.approx(0, abs=0.05)


def test_a_long_document_waits_in_full_precision(database_url: str) -> None:
    """Its vectors are kept part by part before it is written, and are not rounded there."""
    with pgrecall.connect(database_url) as db:
        embedder, config = TinyEmbedder(), ChunkConfig(max_tokens=16, overlap_tokens=0)
        docs = db.create_collection("docs", embedder=embedder, chunking=config, storage="vector")
        text = "\n\n".join(f"Line {n} is a paragraph of some words." for n in range(600))
        report = docs.ingest([Document(uri="long", text=text)])
        assert (report.failed, report.chunks > 512) == ([], True)
        hit = docs.search("line", mode="vector", k=1)[0]
        found = docs.search(embedder.embed_query(hit.text), mode="vector", exact=True, k=1)[0]
        assert found.score == pytest.approx(1, abs=1e-7)
        rows = run(fetch("SELECT count(*) FROM pgrecall.paid_vectors"), db._session)
        assert rows[0][0] == 0


@pytest.mark.parametrize(
    ("storage", "before", "dimensions", "expected"),
    [
        # Chosen, and kept.
        (Storage(type="bit"), 1536, 256, Storage(type="bit")),
        (Storage(type="vector"), 384, 2000, Storage(type="vector")),
        (Storage(type="halfvec", metric="ip", prefix=256), 1024, 384, None),
        (Storage(type="vector", prefix=256), 1536, 8000, None),
        # What does not fit goes, and nothing else.
        (Storage(type="vector", metric="l2"), 384, 2001, Storage(type="halfvec", metric="l2")),
        (Storage(type="vector", prefix=256), 1536, 256, Storage(type="vector")),
        (Storage(type="bit", prefix=512), 3072, 384, Storage(type="bit")),
        (Storage(type="vector", prefix=2000), 3072, 1024, Storage(type="vector")),
        # Decided by the length of the vectors, as it is again.
        (Storage(type="bit"), 8000, 384, Storage(type="halfvec")),
        (Storage(type="halfvec"), 384, 8000, Storage(type="bit")),
        (Storage(type="halfvec", prefix=512), 8000, 384, Storage(type="halfvec")),
    ],
)
def test_what_another_model_keeps(
    storage: Storage, before: int, dimensions: int, expected: Storage | None
) -> None:
    assert kept(storage, dimensions, "m", before=before) == (expected or storage)


def test_another_model_keeps_the_storage_that_fits_it(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        storage = Storage(type="vector", metric="l2", prefix=16)
        docs = db.create_collection("docs", embedder=TinyEmbedder(), storage=storage)
        docs.ingest([Document(uri="a", text="a text")])
        docs.reindex(embedder=TinyEmbedder(12, "tinier"))
        assert docs.generations()[1].storage == Storage(type="vector", metric="l2")
