"""Laws of searching: what every answer satisfies, whatever was stored, asked, and how."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import pgrecall
from pgrecall import Collection, Database, Document, Hits, errors
from pgrecall.store import identity
from pgrecall.store.session import translated
from pgrecall.types import FloatArray, Mode
from tests.embedders import TinyEmbedder
from tests.store.filter_oracle import matches
from tests.store.filter_strategies import KEYS, filters, metadatas

MODES: tuple[Mode, ...] = ("vector", "text", "hybrid")
#: None is a stop word, and no two have the same stem.
WORDS = ["tide", "moon", "harbour", "gravity", "coast", "salt"]
FOLDERS = ["", "a/", "A/", "a%", "a_", "a\\", "é/", "it's/", "\U0001f600"]
TENANTS = ["", "t", "T", "o'hara", "t%"]
#: Seconds that no question may take, however strange; a quiet machine needs a tenth at most.
PATIENCE = 10.0

numbers = count()
bounded = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(scope="module")
def db(template_database: str, create_database: Any) -> Iterator[Database]:
    with create_database(template_database) as url, pgrecall.connect(url) as opened:
        yield opened


@pytest.fixture(scope="module")
def psql(db: Database) -> Iterator[psycopg.ClientCursor[Any]]:
    """A cursor that sends values as literals within the statement, as psql does."""
    with psycopg.connect(db.url, autocommit=True) as connection:
        connection.execute(f"SET statement_timeout = {int(PATIENCE * 1000)}".encode())
        with psycopg.ClientCursor(connection) as cursor:
            yield cursor


@dataclass(frozen=True)
class Asked:
    """A question of words, phrases and exclusions, and the rows that it is put to."""

    words: list[str]
    phrases: list[list[str]]
    excluded: list[list[str]]
    scope: dict[str, Any]

    @property
    def text(self) -> str:
        quoted = [f'"{" ".join(phrase)}"' for phrase in self.phrases]
        without = [
            f"-{phrase[0]}" if len(phrase) == 1 else f'-"{" ".join(phrase)}"'
            for phrase in self.excluded
        ]
        return " ".join([*self.words, *quoted, *without])

    def among(self, ids: Sequence[UUID]) -> Asked:
        """With the ids of documents where their places stood."""
        if "documents" not in self.scope:
            return self
        named = [ids[place % len(ids)] for place in self.scope["documents"]]
        return replace(self, scope={**self.scope, "documents": named})

    def in_scope(self, number: UUID, document: Document) -> bool:
        tenant, prefix = self.scope.get("tenant_id"), self.scope.get("uri_prefix")
        return (
            (tenant is None or document.tenant_id == tenant)
            and (prefix is None or document.uri.startswith(prefix))
            and number in self.scope.get("documents", [number])
            and matches(document.metadata, self.scope.get("where") or {})
        )

    def answered_by(self, number: UUID, document: Document, mode: Mode) -> bool:
        """Whether a document may be among the hits, and is if there is room for it."""
        if not self.in_scope(number, document):
            return False
        said = document.text.split()
        if mode == "vector":
            return True
        if not all(holds(said, phrase) for phrase in self.phrases):
            return False
        if any(holds(said, phrase) for phrase in self.excluded):
            return False
        return mode == "hybrid" or any(
            word in [*self.words, *chain(*self.phrases)] for word in said
        )


def holds(said: list[str], phrase: list[str]) -> bool:
    return any(said[n : n + len(phrase)] == phrase for n in range(len(said)))


words = st.sampled_from(WORDS)


@st.composite
def contents(draw: st.DrawFn) -> list[Document]:
    return [
        Document(
            uri=f"{draw(st.sampled_from(FOLDERS))}{n}",
            text=" ".join(draw(st.lists(words, min_size=1, max_size=6))),
            metadata=draw(metadatas),
            tenant_id=draw(st.sampled_from(TENANTS)),
        )
        for n in range(draw(st.integers(1, 14)))
    ]


@st.composite
def questions(draw: st.DrawFn) -> Asked:
    scope = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "where": filters(2),
                "tenant_id": st.sampled_from(TENANTS),
                "uri_prefix": st.sampled_from(FOLDERS[1:]),
                # Places on the shelf; ids of the collection take their place.
                "documents": st.lists(st.integers(0, 13), max_size=6),
            },
        )
    )
    phrases = st.lists(words, min_size=2, max_size=3)
    return Asked(
        words=draw(st.lists(words, min_size=1, max_size=4)),
        phrases=draw(st.lists(phrases, max_size=1)),
        excluded=draw(st.lists(st.lists(words, min_size=1, max_size=2), max_size=2)),
        scope=scope,
    )


def shelve(db: Database, stock: list[Document], keys: list[str]) -> Collection:
    """A collection of these documents, with indexes on some keys of their metadata."""
    docs = db.create_collection(f"shelf{next(numbers)}", embedder=TinyEmbedder(8))
    assert docs.ingest(stock).failed == []
    for key in keys:
        docs.index_metadata(key, type="text" if len(key) % 2 else "int")
    return docs


@bounded
@given(
    contents(),
    st.lists(questions(), min_size=1, max_size=6),
    st.lists(st.sampled_from([key for key in KEYS if key]), max_size=2),
    st.integers(1, 16),
)
def test_every_answer_is_right(
    db: Database,
    psql: psycopg.ClientCursor[Any],
    stock: list[Document],
    asked: list[Asked],
    keys: list[str],
    k: int,
) -> None:
    docs = shelve(db, stock, keys)
    shelf = {identity.document_id(docs.name, document): document for document in stock}
    for question in (one.among([*shelf]) for one in asked):
        for mode in MODES:
            right = {n for n, doc in shelf.items() if question.answered_by(n, doc, mode)}
            hits = docs.search(question.text, mode=mode, k=k, **question.scope)
            found = [hit.document_id for hit in hits]
            assert {*found} <= right
            assert len(found) == len({*found}) == min(k, len(right))
            assert [hit.uri for hit in hits] == [shelf[n].uri for n in found]
            assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)
            assert hits.complete
            exact = docs.search(question.text, mode=mode, k=k, exact=True, **question.scope)
            assert list(exact) == list(hits)
            assert from_sql(psql, docs, question.text, mode, {"k": k, **question.scope}) == [
                (h.document_id, h.score, h.vector_score, h.text_score, h.vector_rank, h.text_rank)
                for h in hits
            ]


def fused(hits: Hits, fusion: str, weight: float) -> list[float]:
    """The scores of all rows of a collection, as the formulas have it."""
    by_vector = np.array([hit.vector_score for hit in hits])
    by_words = np.array([hit.text_score or 0 for hit in hits])
    if not by_words.any():
        return [*map(float, by_vector)]
    if fusion == "rrf":
        return [
            2 * weight / (60 + (hit.vector_rank or 0))
            + (2 * (1 - weight) / (60 + hit.text_rank) if hit.text_rank else 0)
            for hit in hits
        ]
    if fusion == "dbsf":
        vector, text = (
            np.clip(0.5 + (scores - scores.mean()) / (6 * (scores.std() or 1)), 0, 1)
            for scores in (by_vector, by_words)
        )
    else:
        span = np.ptp(by_vector)
        vector = (by_vector - by_vector.min()) / span if span else np.ones(len(hits))
        text = by_words / by_words.max()
    return [*map(float, weight * vector + (1 - weight) * text)]


@bounded
@given(contents(), words, st.sampled_from(["convex", "dbsf", "rrf"]), st.floats(0, 1))
@example([Document(uri=name, text="tide") for name in "ab"], "tide", "dbsf", 0.3)
@example([Document(uri="a", text="tide")], "tide", "convex", 0.3)
def test_scores_are_those_of_the_formulas(
    db: Database, stock: list[Document], word: str, fusion: str, weight: float
) -> None:
    docs = shelve(db, stock, [])
    for question in (word, stock[0].text, f"{word} zork_blub"):
        hits = docs.search(question, k=20, fusion=fusion, vector_weight=weight)
        assert len(hits) == len(stock)
        expected = fused(hits, fusion, weight)
        assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-6)
        held = [bool({*hit.text.split()} & {*question.split()}) for hit in hits]
        assert held == [bool(hit.text_score) for hit in hits]
        assert held == [hit.text_rank is not None for hit in hits]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scope", [{}, {"where": {"n": {"$gte": 0}}}], ids=str)
def test_more_hits_begin_with_the_fewer(db: Database, mode: Mode, scope: dict[str, Any]) -> None:
    """Whatever is equally good is in the order of its ids."""
    stock = [
        Document(uri=f"d{n}", text=WORDS[n % 2], metadata={"n": n}, tenant_id=TENANTS[n % 3])
        for n in range(24)
    ]
    docs = shelve(db, stock, [])
    hits = docs.search("tide", mode=mode, k=24, **scope)
    assert len(hits) == (12 if mode == "text" else 24)
    assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.document_id))
    for k in range(1, len(hits)):
        assert docs.search("tide", mode=mode, k=k, **scope) == hits[:k]


#: What the SQL functions of a mode have no use for.
UNKNOWN: dict[Mode, set[str]] = {
    "vector": {"vector_weight", "fusion"},
    "text": {"vector_weight", "fusion", "exact", "recall", "ef_search"},
    "hybrid": set(),
}
#: Keywords of the SQL functions for those of Python.
NAMES = {"where": "filter", "tenant_id": "tenant"}
CASTS = {"where": "jsonb", "documents": "uuid[]"}
COLUMNS = "document_id, score, vector_score, text_score, vector_rank, text_rank"


def from_sql(
    psql: psycopg.ClientCursor[Any],
    docs: Collection,
    text: str,
    mode: Mode,
    options: dict[str, Any],
) -> list[tuple[Any, ...]]:
    """The rows that a user of SQL gets for the same question."""
    functions = {"vector": "search_vector", "text": "search_text", "hybrid": "search"}
    given: list[Any] = [docs.name]
    calls = ["%s"]
    if mode != "vector":
        given.append(text)
        calls.append("%s")
    if mode != "text":
        given.append(literal(docs._target.embedder.embed_query(text)))
        calls.append("%s::halfvec")
    for name, value in options.items():
        calls.append(
            f"{NAMES.get(name, name)} => %s" + (f"::{CASTS[name]}" if name in CASTS else "")
        )
        given.append(json.dumps(value) if name == "where" else value)
    query = f"SELECT {COLUMNS} FROM pgrecall.{functions[mode]}({', '.join(calls)})"  # noqa: S608
    return psql.execute(query.encode(), given).fetchall()


def literal(vector: FloatArray) -> str:
    return "[" + ",".join(repr(float(x)) for x in vector) + "]"


@bounded
@given(
    st.lists(words, min_size=1, max_size=4).map(" ".join),
    st.fixed_dictionaries(
        {},
        optional={
            "k": st.integers(1, 50),
            "exact": st.booleans(),
            "recall": st.floats(0, 1),
            "ef_search": st.integers(1, 1000),
            "vector_weight": st.floats(0, 1) | st.just(5e-324),
            "fusion": st.sampled_from(["convex", "dbsf", "rrf"]),
            "where": st.sampled_from([{"third": 1}, {"n": {"$lt": 1900}}, {"n": 77}]),
            "tenant_id": st.sampled_from(["t0", "t1"]),
            "uri_prefix": st.sampled_from(["r1", "r"]),
        },
    ),
)
def test_sql_and_python_agree(
    library: Collection, psql: psycopg.ClientCursor[Any], text: str, options: dict[str, Any]
) -> None:
    for mode in MODES:
        given = {key: value for key, value in options.items() if key not in UNKNOWN[mode]}
        assert from_sql(psql, library, text, mode, given) == [
            (h.document_id, h.score, h.vector_score, h.text_score, h.vector_rank, h.text_rank)
            for h in library.search(text, mode=mode, **options)
        ]


ROWS, VOCABULARY = 12_000, 4000
#: Zipf's law: the n-th word is said 1 / n times as often as the first.
SHARES = 1 / np.arange(1, VOCABULARY + 1)
SHARES /= SHARES.sum()


@pytest.fixture(scope="module")
def library(db: Database) -> Collection:
    """So many documents that an index answers, their words distributed as those of texts are."""
    random = np.random.default_rng(11)
    docs = db.create_collection("library", embedder=TinyEmbedder(24))
    ranks = random.choice(VOCABULARY, size=(ROWS, 30), p=SHARES)
    docs.ingest(
        Document(
            uri=f"r{n}",
            text=" ".join([WORDS[n % 6], *(f"w{rank}z" for rank in ranks[n])]),
            metadata={"n": n, "third": n % 3, "rare": n % 300, "common": int(5 in ranks[n])},
            tenant_id=f"t{n % 2}",
        )
        for n in range(ROWS)
    )
    return docs


def asked_for(low: int, high: int, length: int) -> list[str]:
    """Questions of so many words, from the low-th to the high-th most frequent."""
    random = np.random.default_rng(high)
    share = SHARES[low:high] / SHARES[low:high].sum()
    return [
        " ".join(f"w{low + rank}z" for rank in random.choice(high - low, length, False, share))
        for _ in range(12)
    ]


def overlap(found: Hits, truth: Hits) -> float:
    """The share of the ten best that was found; rows as good as the tenth are as right."""
    tenth = truth[:10][-1].score - 1e-6
    return sum(hit.score >= tenth for hit in found[:10]) / len(truth[:10])


SCOPES: dict[str, dict[str, Any]] = {
    "everything": {},
    "a third": {"where": {"third": 1}},
    "one in 300": {"where": {"rare": 7}},
    "correlated": {"where": {"common": 1}},
    "anti-correlated": {"where": {"common": 0}},
    "a tenant": {"tenant_id": "t1"},
    "a folder": {"uri_prefix": "r12"},
}


@pytest.mark.parametrize(
    ("scope", "strategy", "index"),
    [
        ("everything", "hnsw", "embedding"),
        ("a third", "exact", None),
        ("one in 300", "exact", "metadata"),
        ("correlated", "hnsw", "embedding"),
        ("anti-correlated", "hnsw", "embedding"),
        ("a tenant", "hnsw", "embedding"),
        ("a folder", "exact", "pkey"),
    ],
)
def test_the_strategy_of_the_vector_arm(
    library: Collection, scope: str, strategy: str, index: str | None
) -> None:
    options = SCOPES[scope]
    shares = []
    for question in [*asked_for(0, 60, 6), *asked_for(60, VOCABULARY, 3)]:
        truth = library.search(question, mode="vector", exact=True, **options)
        # Wide enough that the graph, which is another one in each run, decides nothing here.
        hits = library.search(question, mode="vector", ef_search=400, explain=True, **options)
        assert (truth.strategy, hits.strategy) == ("exact", strategy)
        assert len(hits) == len(truth) == 10
        (stage,) = hits.explanation
        assert (stage.arm, stage.strategy) == ("vector", strategy)
        table = library._target.generation.table
        assert index is None or f"{table}_{index}" in stage.indexes
        shares.append(overlap(hits, truth))
    assert np.mean(shares) >= (1 if strategy == "exact" else 0.95)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize(
    ("low", "high", "length", "tiers"),
    [
        # Common words alone: rows must hold several of them. Else the rarest decide.
        (1, 16, 5, {"sets"}),
        (0, 200, 6, {"sets", "any"}),
        (0, VOCABULARY, 6, {"sets", "any"}),
        (300, VOCABULARY, 3, {"any"}),
    ],
)
def test_the_candidates_of_the_text_arm(
    library: Collection,
    psql: psycopg.Cursor[Any],
    low: int,
    high: int,
    length: int,
    tiers: set[str],
    scope: str,
) -> None:
    shares, met = [], set()
    for question in asked_for(low, high, length):
        truth = library.search(question, mode="text", k=10_000, **SCOPES[scope])
        if not truth:
            continue
        hits = library.search(question, mode="text", explain=True, **SCOPES[scope])
        (stage,) = hits.explanation
        assert len(hits) == min(10, len(truth))
        if scope == "everything":
            assert stage.indexes == (f"{library._target.generation.table}_tsv",)
            met.add("sets" if "&" in selecting(psql, question) else "any")
        shares.append(overlap(hits, truth))
    assert met == (tiers if scope == "everything" else set())
    assert np.mean(shares) >= 0.9


def selecting(psql: psycopg.Cursor[Any], question: str) -> str:
    """Which rows the text arm ranks at first, for ten hits of the library."""
    row = psql.execute(
        """
        SELECT pgrecall.candidates(t.terms, t.weights, t.expected, g.chunk_count, 400)::text
          FROM pgrecall.active_generation('library') AS g, pgrecall.question_terms(g, %s) AS t
        """,
        [question],
    ).fetchone()
    assert row is not None
    return str(row[0])


LETTERS = "abcdefgh"


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from(LETTERS), st.floats(0.125, 16, width=32), st.floats(0.01, 5000)),
        min_size=1,
        max_size=8,
        unique_by=lambda term: term[0],
    ),
    st.floats(0, 1e5) | st.just(float("inf")),
    st.floats(100, 1e5),
)
def test_candidates_hold_one_of_the_words(
    psql: psycopg.Cursor[Any], terms: list[tuple[str, float, float]], enough: float, total: float
) -> None:
    names, weights, expected = zip(*sorted(terms, key=lambda term: term[2]), strict=True)
    rows = psql.execute(
        """
        SELECT v @@ pgrecall.candidates(t, %(weights)s::real[], %(expected)s::float8[], %(total)s, %(enough)s),
               v @@ pgrecall.candidates(t, %(weights)s::real[], %(expected)s::float8[], %(total)s, 'Infinity'),
               tsvector_to_array(v)
          FROM (SELECT %(names)s::tsquery[]) AS asked (t),
               generate_series(0, 255) AS held,
               LATERAL (SELECT array_to_tsvector(array_agg(letter)) FROM unnest(%(letters)s::text[])
                          WITH ORDINALITY AS l (letter, n)
                         WHERE held & (1 << (n::integer - 1)) <> 0 OR letter = 'z') AS made (v)
        """,
        {
            "names": list(names),
            "weights": list(weights),
            "expected": list(expected),
            "total": total,
            "enough": enough,
            "letters": [*LETTERS, "z"],
        },
    ).fetchall()
    assert len(rows) == 256
    for chosen, every, held in rows:
        assert every == bool({*held} & {*names})
        assert every or not chosen
        assert chosen == every or enough < float("inf")
    # Where terms are wanted, some row holds enough of them.
    assert enough == 0 or any(chosen for chosen, _, _ in rows)


HOSTILE = {
    "quote": "'" * 100_000,
    "double quote": '"' * 99_999,
    "backslash": "\\" * 100_000,
    "one word": "a" * 100_000,
    "dots": "a." * 50_000,
    "names": "a1" * 50_000,
    "minus": "-" * 100_000,
    "minus and quote": '-"-"-"' * 17_000,
    "phrases": '("a.b"' * 17_000,
    "exclusions": " -abc" * 20_000,
    "a long phrase": '"' + ".".join(f"w{n}" for n in range(17_000)) + '"',
    "a long exclusion": "-abc." + ".".join(f"w{n}" for n in range(17_000)),
    "long exclusions": " ".join("-" + "a" * 6_000 for _ in range(16)),
    "brackets": "(" * 50_000 + ")" * 50_000,
    "operators": "a':* & !b | <-> " * 6_000,
    "punctuation": "?!.,;:" * 16_000,
    "tags": "<a &amp; " * 11_000,
    "addresses": "http://a@b/c?d=e " * 6_000,
    "blanks": " " * 99_999 + "x",
    "NULs": "\0" * 100_000,
    "surrogates": "\ud800" * 100_000,
    "all planes": "".join(chr(n) for n in range(0, 0x110000, 11) if not 0xD800 <= n < 0xE000),
    "Chinese": '"' + "\u4eac\u5927" * 50_000 + '"',
    "Thai": "\u0e01\u0e23" * 50_000,
    "combining": "e" + "\u0301" * 99_999,
    "a word too long": "x" * 2_047,
    "a word just not too long": "x" * 2_046,
    "SQL": "'; DELETE FROM pgrecall.documents; --" * 2_000,
    "a million": " ".join(f"w{n}" for n in range(150_000)),
    "a million quotes": '"a.' * 350_000,
}
#: What a user of SQL may do with a question; his client sends neither NUL nor half a surrogate pair.
CALLS = (
    "search_text(%(name)s, %(text)s)",
    "search(%(name)s, %(text)s, %(one)s)",
    "explain(%(name)s, %(text)s, %(one)s)",
    "search_text(%(name)s, 'tide', tenant => %(text)s, uri_prefix => %(text)s)",
    "search_vector(%(name)s, %(one)s, filter => jsonb_build_object('a', %(text)s))",
    "search_vector(%(name)s, %(one)s, filter => jsonb_build_object('k' || %(text)s, 1))",
    "similar(%(name)s, gen_random_uuid(), tenant => %(text)s)",
    "search_text(%(text)s, 'tide')",
    "search(%(name)s, 'tide', %(one)s, fusion => %(text)s)",
)


@pytest.fixture(scope="module")
def few(db: Database) -> Collection:
    """In two languages, with the default embedder."""
    docs = db.create_collection("few")
    docs.ingest(
        Document(uri=f"d{n}", text=f"tide {n} over Katzen", language=language, metadata={"a": n})
        for n, language in enumerate(["english", "german"] * 10)
    )
    return docs


def timed(call: Callable[[], object]) -> None:
    began = time.monotonic()
    call()
    assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_questions(few: Collection, psql: psycopg.Cursor[Any], name: str) -> None:
    text = HOSTILE[name]
    timed(lambda: few.search(text, mode="text", explain=True))
    with suppress(errors.InvalidArgument):  # the embedder may say that it is too long
        timed(lambda: few.search(text, explain=True))
    if not {"\0", "\ud800"} & {*text}:
        from_a_client(psql, text)
    assert few.status().documents == 20


def from_a_client(psql: psycopg.Cursor[Any], text: str) -> None:
    """Every call with this text is answered, or refused for a reason of ours."""
    one = "[" + "1," * 255 + "1]"
    for call in CALLS:
        query = f"SELECT * FROM pgrecall.{call}"  # noqa: S608
        with suppress(errors.InvalidArgument, errors.CollectionNotFound):
            try:
                psql.execute(query.encode(), {"name": "few", "text": text, "one": one})
            except psycopg.Error as exc:
                raise translated(exc) from exc


PIECES = [*"'\"\\-&|!():*<>%${}[]/@._ \n\t\0", "tide", "-tide", "<->", "''", '""', "--", "/*", "$$"]
strange = st.one_of(
    st.text(max_size=40),
    st.text(st.characters(categories=["Cs", "Co", "Cn", "Cf", "Mn", "Lo", "Zs"]), max_size=20),
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=15).map(" ".join),
)
anything: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.binary(max_size=3),
    strange,
    st.lists(strange | st.integers(-5, 5), max_size=3),
    st.dictionaries(strange, strange | st.integers(), max_size=2),
    st.uuids(),
    st.lists(st.uuids(), max_size=2),
)
OPTIONS = [
    *("k", "where", "tenant_id", "uri_prefix", "documents", "exact", "recall", "ef_search"),
    *("vector_weight", "fusion", "mode", "explain"),
]


@settings(max_examples=150)
@given(strange | anything, st.dictionaries(st.sampled_from(OPTIONS), anything, max_size=2))
def test_whatever_is_asked_is_answered_or_refused(
    few: Collection, psql: psycopg.Cursor[Any], question: Any, options: dict[str, Any]
) -> None:
    with suppress(errors.InvalidArgument):
        hits = few.search(question, **options)
        assert len(hits) <= options.get("k", 10)
        assert all(hit.uri.startswith(options.get("uri_prefix") or "d") for hit in hits)
        assert all(hit.tenant_id == (options.get("tenant_id") or "") for hit in hits)
    if isinstance(question, str) and "\0" not in question and question.isprintable():
        from_a_client(psql, question)
    assert few.status().documents == 20


def test_filters_of_many_values(few: Collection) -> None:
    for where in (
        {"a": {"$in": list(range(30_000))}},
        {"a": {"$nin": list(range(20, 30_000))}},
        {"$or": [{"a": n} for n in range(30_000)]},
        {f"k{n}": {"$ne": n} for n in range(30_000)},
    ):
        assert len(few.search("tide", mode="vector", k=100, where=where)) == 20


def test_an_embedding_of_zeros_points_nowhere(few: Collection, psql: psycopg.Cursor[Any]) -> None:
    zero = "[" + "0," * 255 + "0]"
    for call in ("search_vector('few', %s)", "search('few', 'tide', %s)", "explain('few', '', %s)"):
        with pytest.raises(psycopg.Error, match="zero") as caught:
            psql.execute(f"SELECT * FROM pgrecall.{call}".encode(), [zero])  # noqa: S608
        assert caught.value.sqlstate == "PR004"
