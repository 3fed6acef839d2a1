"""The public face, from a document to a hit, on a real database."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Database, Document, IngestReport, errors
from pgrecall.ingest.job import PATIENCE
from pgrecall.types import Hit, Mode
from tests.embedders import CarelessEmbedder, DeadEmbedder, PoisonedEmbedder, TinyEmbedder

SMALL = pgrecall.ChunkConfig(max_tokens=24, overlap_tokens=6, min_tokens=4)

CHUNKS = """
    SELECT d.uri, c.ordinal, c.content, d.version, c.xmin::text
      FROM pgrecall.chunks AS c JOIN pgrecall.documents AS d USING (tenant_id, document_id)
     ORDER BY d.uri, c.ordinal
"""


@pytest.fixture
def embedder() -> TinyEmbedder:
    return TinyEmbedder()


@pytest.fixture
def docs(db: Database, embedder: TinyEmbedder) -> Collection:
    return db.create_collection("docs", embedder=embedder, chunking=SMALL)


def rows(url: str, query: str = CHUNKS, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode(), params or None).fetchall()


def counts(report: IngestReport) -> dict[str, int]:
    """What a report counts, without zeros."""
    names = ("new", "changed", "unchanged", "removed", "chunks", "embedded", "reused")
    found = {name: getattr(report, name) for name in names} | {"failed": len(report.failed)}
    return {name: count for name, count in found.items() if count}


def paragraphs(count: int, word: str = "tide") -> str:
    return "\n\n".join(
        f"Paragraph {n} says that the {word} number {n} rises twice." for n in range(count)
    )


def test_every_chunk_is_a_slice_of_its_document(db: Database, docs: Collection) -> None:
    texts = [
        paragraphs(20),
        "# Über\n\nZażółć gęślą jaźń. " * 9,
        "\U0001f600\U0001f680 emoji e\u0301 \u200d" * 40,
        "\r\n  leading and trailing  \r\n\r\n\ttabs\t\r\n" * 8,
        "単語は空白で区切られていない。" * 20,
        "x" * 700,
    ]
    docs.ingest(
        [Document(uri=f"{n}.md", text=text, title="A title") for n, text in enumerate(texts)]
    )
    found = rows(
        db.url,
        """
        SELECT d.text, c.start_offset, c.end_offset, c.content
          FROM pgrecall.chunks AS c JOIN pgrecall.documents AS d USING (tenant_id, document_id)
        """,
    )
    assert len(found) > 50
    for text, start, end, content in found:
        assert text[start:end] == content
    assert {row[0] for row in found} == set(texts)


def test_a_hit_carries_all_that_a_reader_needs(docs: Collection) -> None:
    text = "First page.\fSecond page about tides."
    docs.ingest(
        Document(
            uri="a", text=text, title="T", metadata={"n": [1, None]}, tenant_id="t", pages=(0, 12)
        )
    )
    hit = docs.search("tides", k=1)[0]
    assert text[hit.start : hit.end] == hit.text
    assert (hit.uri, hit.title, hit.metadata, hit.tenant_id) == ("a", "T", {"n": [1, None]}, "t")
    assert (hit.page, hit.ordinal, hit.vector_rank, hit.text_rank) == (1, 0, 1, 1)


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
def test_a_hit_is_a_dataclass_like_any_other(docs: Collection, mode: Mode) -> None:
    docs.ingest(Document(uri=f"d{n}", text=f"Ocean number {n}.") for n in range(3))
    hits = docs.search("ocean", mode=mode)
    assert len(hits) == 3
    for hit in hits:
        made = Hit(**vars(hit))
        assert made == hit
        assert vars(made) == vars(hit)
        assert {*vars(hit)} == {field.name for field in fields(Hit)}
        assert pickle.loads(pickle.dumps(hit)) == replace(hit) == hit


def test_what_has_not_changed_is_left_alone(
    db: Database, docs: Collection, embedder: TinyEmbedder
) -> None:
    given = [Document(uri=f"d{n}", text=paragraphs(6, f"word{n}")) for n in range(5)]
    first = docs.ingest(given)
    assert counts(first) == {"new": 5, "chunks": first.chunks, "embedded": first.chunks}
    before, embedded = rows(db.url), len(embedder.seen)

    assert counts(docs.ingest(given)) == {"unchanged": 5}

    assert rows(db.url) == before
    assert len(embedder.seen) == embedded


def test_a_change_embeds_only_what_it_touched(
    db: Database, docs: Collection, embedder: TinyEmbedder
) -> None:
    text = paragraphs(60)
    total = docs.ingest(Document(uri="d", text=text)).chunks
    embedder.seen.clear()

    report = docs.ingest(Document(uri="d", text=text.replace("number 30", "number thirty")))

    assert report.changed == 1
    assert 1 <= report.embedded == len(embedder.seen) <= 5
    assert report.reused == report.chunks - report.embedded > total / 2
    assert {row[3] for row in rows(db.url)} == {2}


def test_title_and_metadata_alone(db: Database, docs: Collection, embedder: TinyEmbedder) -> None:
    text = paragraphs(6)
    docs.ingest(Document(uri="d", text=text))
    embedder.seen.clear()

    assert counts(docs.ingest(Document(uri="d", text=text, metadata={"x": 1})))["changed"] == 1
    assert embedder.seen == []
    assert docs.search("tide", where={"x": 1}, k=1)[0].metadata == {"x": 1}

    report = docs.ingest(Document(uri="d", text=text, title="New", metadata={"x": 1}))
    # The title is part of what is embedded.
    assert report.embedded == report.chunks > 0
    assert docs.search("tide", k=1)[0].title == "New"


def test_the_same_uri_twice_in_a_run_is_reported(docs: Collection) -> None:
    far_apart = [Document(uri=f"d{n}", text=f"tide {n}") for n in range(100)]
    report = docs.ingest(
        [Document(uri="d", text="first tide"), *far_apart, Document(uri="d", text="second tide")]
    )
    assert report.new == 101
    assert [(failure.uri, failure.reason[:7]) for failure in report.failed] == [("d", "An earl")]
    assert docs.search("first", k=1, mode="text")[0].text == "first tide"
    assert docs.status().failed == 0


def test_a_name_that_no_index_takes_stops_nothing(docs: Collection) -> None:
    endless = "".join(f"{n:x}" for n in range(3_000))
    report = docs.ingest([Document(uri="d", text="tide"), Document(uri=endless, text="tide")])
    assert (report.new, len(report.failed)) == (1, 1)
    assert "shorten it" in report.failed[0].reason


def test_tenants_do_not_see_each_other(docs: Collection) -> None:
    docs.ingest([Document(uri="d", text=f"tide of {name}", tenant_id=name) for name in ("a", "b")])
    assert docs.status().documents == 2
    for mode in ("vector", "text", "hybrid"):
        found = docs.search("tide", mode=mode, tenant_id="a")
        assert [hit.tenant_id for hit in found] == ["a"]
    assert len(docs.search("tide")) == 2
    assert docs.search("tide", tenant_id="c") == []
    assert docs.delete("d", tenant_id="a") == 1
    assert [hit.tenant_id for hit in docs.search("tide")] == ["b"]


@pytest.mark.parametrize(
    "error", [errors.EmbeddingError("no answer"), errors.InvalidArgument("too long")], ids=type
)
def test_documents_that_the_embedder_refuses_keep_their_old_version(
    db: Database, error: Exception
) -> None:
    embedder = PoisonedEmbedder(error)
    docs = db.create_collection("docs", embedder=embedder)
    good = [Document(uri=f"good{n}", text=f"healthy tide {n}") for n in range(8)]
    docs.ingest([Document(uri="bad0", text="old tide")])
    bad = [Document(uri=f"bad{n}", text=f"poison {n}") for n in range(2)]

    report = docs.ingest([*good[:4], *bad, *good[4:]])

    assert sorted((failure.uri, failure.reason) for failure in report.failed) == [
        ("bad0", str(error)),
        ("bad1", str(error)),
    ]
    assert report.new == 8
    assert docs.search("old", mode="text", k=1)[0].uri == "bad0"
    status = docs.status()
    assert (status.documents, status.failed) == (9, 2)
    ledger = (
        "SELECT uri, status, error FROM pgrecall.documents WHERE error IS NOT NULL ORDER BY uri"
    )
    assert rows(db.url, ledger) == [
        ("bad0", "ready", str(error)),
        ("bad1", "failed", str(error)),
    ]

    assert counts(docs.ingest([Document(uri="bad1", text="cured tide")]))["new"] == 1
    assert counts(docs.ingest([Document(uri="bad0", text="old tide")])) == {"unchanged": 1}
    assert docs.status().failed == 0


def test_an_embedder_that_is_down_ends_the_run(db: Database) -> None:
    embedder = DeadEmbedder()
    docs = db.create_collection("docs", embedder=embedder)
    threads = threading.active_count()
    long = [Document(uri=f"d{n}", text=paragraphs(400, f"w{n}")) for n in range(60)]
    with pytest.raises(errors.EmbeddingError, match="down"):
        docs.ingest(long)
    assert threading.active_count() == threads
    # Far from one request for each document: a few for each group that it was patient with.
    calls = len([text for text in embedder.seen if text.startswith("Paragraph 0")])
    assert calls <= 60
    failed = docs.status().failed
    assert PATIENCE <= failed < 60


@pytest.mark.parametrize("answer", [0.0, float("nan"), float("inf"), 1e9])
def test_vectors_that_cannot_be_stored_are_reported(db: Database, answer: float) -> None:
    docs = db.create_collection("docs", embedder=CarelessEmbedder(answer))
    report = docs.ingest([Document(uri="a", text="careless tide"), Document(uri="b", text="tide")])
    assert [failure.uri for failure in report.failed] == ["a"]
    assert [hit.uri for hit in docs.search("tide")] == ["b"]


class Shapeless(TinyEmbedder):
    """Loses the last row, or the last column."""

    def __init__(self, cut: Callable[[Any], Any]) -> None:
        super().__init__()
        self.cut = cut

    def embed_documents(self, texts: Sequence[str]) -> Any:
        return self.cut(super().embed_documents(texts))


@pytest.mark.parametrize("cut", [lambda v: v[:-1], lambda v: v[:, :-1], lambda v: v[0]])
def test_an_embedder_that_answers_in_another_shape(db: Database, cut: Callable[[Any], Any]) -> None:
    docs = db.create_collection("docs", embedder=Shapeless(cut))
    report = docs.ingest([Document(uri="a", text="tide")])
    assert "answered with the shape" in report.failed[0].reason


def test_a_list_of_lists_will_do(db: Database) -> None:
    docs = db.create_collection("docs", embedder=Shapeless(lambda v: v.tolist()))
    assert docs.ingest([Document(uri="a", text="tide")]).new == 1


def test_characters_that_postgres_does_not_store(docs: Collection) -> None:
    bad = "\0\ud800"
    report = docs.ingest(
        Document(
            uri=f"d{bad}",
            text=f"tide{bad}s",
            title=f"t{bad}",
            tenant_id=f"x{bad}",
            metadata={f"k{bad}": bad},
        )
    )
    assert counts(report) == {"new": 1, "chunks": 1, "embedded": 1}
    hit = docs.search(f"tides{bad}")[0]
    assert (hit.uri, hit.text, hit.title, hit.metadata) == ("d", "tides", "t", {"k": ""})
    for act in (
        lambda: docs.search("x", tenant_id=bad),
        lambda: docs.delete(bad),
        lambda: docs.delete("\ud800"),
    ):
        with pytest.raises(errors.PgrecallError):
            act()


def test_an_object_of_the_callers_own_is_an_embedder(
    db: Database, docs: Collection, embedder: TinyEmbedder
) -> None:
    docs.ingest(Document(uri="a", text="tide"))
    assert [c.name for c in db.collections()] == ["docs"]
    nameless = db.collection("docs")
    with pytest.raises(errors.InvalidArgument, match="no embedder 'tiny'"):
        nameless.search("tide")
    assert nameless.search("tide", mode="text")[0].uri == "a"
    assert db.collection("docs", embedder=embedder).search("tide")[0].uri == "a"
    with pytest.raises(errors.InvalidArgument, match="16 dimensions, the collection has 32"):
        db.collection("docs", embedder=TinyEmbedder(16)).search("tide")


def test_deleting(docs: Collection, db: Database) -> None:
    docs.ingest([Document(uri=f"d{n}", text=f"tide {n}") for n in range(5)])
    assert docs.delete("d0") == 1
    assert docs.delete(["d1", "d2", "no such"]) == 2
    assert docs.delete([]) == 0
    assert [row[0] for row in rows(db.url)] == ["d3", "d4"]


def test_collections_come_and_go(db: Database, docs: Collection, embedder: TinyEmbedder) -> None:
    docs.ingest(Document(uri="a", text="tide"))
    with pytest.raises(errors.CollectionExists):
        db.create_collection("docs", embedder=embedder)
    assert db.create_collection("docs", exist_ok=True).status().chunks == 1
    assert db.create_collection("docs", embedder=embedder, chunking=SMALL, exist_ok=True)
    with pytest.raises(errors.InvalidArgument, match="exists with tiny, not other"):
        db.create_collection("docs", embedder=TinyEmbedder(name="other"), exist_ok=True)
    with pytest.raises(errors.InvalidArgument, match="exists with"):
        db.create_collection("docs", chunking=pgrecall.ChunkConfig(max_tokens=99), exist_ok=True)

    db.drop_collection("docs")

    assert db.collections() == []
    assert rows(db.url, "SELECT FROM pgrecall.documents") == []
    partitions = "SELECT FROM pg_inherits WHERE inhparent = 'pgrecall.chunks'::regclass"
    assert rows(db.url, partitions) == []
    with pytest.raises(errors.CollectionNotFound):
        db.drop_collection("docs")
    with pytest.raises(errors.CollectionNotFound):
        db.collection("docs")
    gone: list[Callable[[], object]] = [
        lambda: docs.search("tide"),
        lambda: docs.search("tide", mode="vector"),
        docs.status,
        docs.optimize,
        lambda: docs.ingest(Document(uri="b", text="tide")),
    ]
    for act in gone:
        with pytest.raises(errors.CollectionNotFound):
            act()


def test_a_collection_that_was_made_anew_is_found(db: Database, embedder: TinyEmbedder) -> None:
    docs = db.create_collection("docs", embedder=embedder)
    docs.ingest(Document(uri="old", text="tide"))
    db.drop_collection("docs")
    db.create_collection("docs", embedder=embedder).ingest(Document(uri="new", text="tide"))
    for mode in ("vector", "text", "hybrid"):
        assert [hit.uri for hit in docs.search("tide", mode=mode)] == ["new"]


@pytest.mark.parametrize("name", ["", "x" * 201, "nul\0", "\ud800"])
def test_names_that_no_collection_has(db: Database, embedder: TinyEmbedder, name: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        db.create_collection(name, embedder=embedder)
    with pytest.raises((errors.CollectionNotFound, errors.InvalidArgument)):
        db.collection(name)


@pytest.mark.parametrize(
    "name", ["it's", 'a "b"', "%s", "{}", "Ünï \U0001f600", "'; DROP TABLE x; --"]
)
def test_names_that_collections_have(db: Database, embedder: TinyEmbedder, name: str) -> None:
    docs = db.create_collection(name, embedder=embedder)
    docs.ingest(Document(uri="a", text="tide"))
    assert docs.search("tide")[0].uri == "a"
    db.drop_collection(name)


@pytest.mark.parametrize("dimensions", [4000, 4001])
def test_more_dimensions_than_an_index_of_halves_takes(db: Database, dimensions: int) -> None:
    docs = db.create_collection("docs", embedder=TinyEmbedder(dimensions))
    docs.ingest(Document(uri="a", text="tide"))
    assert docs.status().indexed
    assert docs.search("tide")[0].uri == "a"


def test_more_dimensions_than_a_vector_has(db: Database) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"16,?001"):
        db.create_collection("docs", embedder=TinyEmbedder(16_001))
    assert db.collections() == []


def test_an_unknown_language(db: Database, embedder: TinyEmbedder) -> None:
    with pytest.raises(errors.InvalidArgument, match="language"):
        db.create_collection("docs", embedder=embedder, language="klingon")
    docs = db.create_collection("docs", embedder=embedder, language="german")
    de = pgrecall.LoadOptions(language="de")
    for refused in (docs.ingest, docs.plan, docs.enqueue):
        with pytest.raises(
            errors.InvalidArgument, match=r'no text search configuration "de".*"german"'
        ):
            refused(Document(uri="a", text="Die Häuser der Stadt"), options=de)
    assert docs.status().documents == 0
    docs.ingest(Document(uri="a", text="Die Häuser der Stadt"))
    assert docs.search("Haus", mode="text")[0].uri == "a"


def test_many_small_documents_and_a_long_one(db: Database, embedder: TinyEmbedder) -> None:
    tiny = pgrecall.ChunkConfig(max_tokens=16, overlap_tokens=0, min_tokens=1)
    docs = db.create_collection("docs", embedder=embedder, chunking=tiny)
    small = [Document(uri=f"d{n:03}", text=f"tide number {n}") for n in range(300)]
    words = [f"w{n} x{n} y{n}" for n in range(3200)]
    long = Document(uri="long", text="\n\n".join(words))
    report = docs.ingest([*small, long])
    assert report.new == 301
    assert report.chunks > 5000
    status = docs.status()
    assert (status.documents, status.chunks, status.indexed) == (301, report.chunks, True)
    commits = len({row[4] for row in rows(db.url)})
    assert commits <= 4


def test_two_writers_of_the_same_documents(db: Database, embedder: TinyEmbedder) -> None:
    db.create_collection("docs", embedder=embedder, chunking=SMALL)

    def write(version: int) -> IngestReport:
        docs = db.collection("docs", embedder=TinyEmbedder())
        order = range(50) if version % 2 else range(49, -1, -1)
        return docs.ingest(
            [Document(uri=f"d{n}", text=paragraphs(4, f"v{version}n{n}")) for n in order]
        )

    for round_ in range(2):
        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(write, (2 * round_, 2 * round_ + 1)))
        assert [report.failed for report in reports] == [[], []]
        whole = rows(
            db.url,
            """
            SELECT bool_and(c.content = substr(d.text, c.start_offset + 1, c.end_offset - c.start_offset))
                   AND count(*) = max(c.ordinal) + 1 AND max(c.end_offset) = length(d.text)
              FROM pgrecall.documents AS d JOIN pgrecall.chunks AS c USING (tenant_id, document_id)
             GROUP BY d.tenant_id, d.document_id
            """,
        )
        assert whole == [(True,)] * 50


def test_a_reader_never_sees_half_a_swap(docs: Collection, db: Database) -> None:
    def version(number: int) -> Document:
        return Document(uri="d", text=paragraphs(5 + 10 * (number % 2), f"v{number}"))

    docs.ingest(version(0))
    stop = threading.Event()

    def read() -> tuple[int, set[int]]:
        looks, lengths = 0, set[int]()
        with psycopg.connect(db.url, autocommit=True) as connection:
            while not stop.is_set():
                found = connection.execute(CHUNKS).fetchall()
                words = {word for row in found for word in row[2].split() if word.startswith("v")}
                assert len(words) == 1, words
                assert [row[1] for row in found] == list(range(len(found)))
                assert docs.search("rises", mode="text", k=1)
                looks, lengths = looks + 1, lengths | {len(found)}
        return looks, lengths

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for number in range(1, 15):
                assert docs.ingest(version(number)).changed == 1
        finally:
            stop.set()
        for reader in readers:
            looks, lengths = reader.result()
            assert looks > 10
            assert len(lengths) > 1


def test_a_context_quotes_its_documents(docs: Collection) -> None:
    texts = {f"d{n}": paragraphs(10, f"word{n}") for n in range(3)}
    docs.ingest([Document(uri=uri, text=text) for uri, text in texts.items()])
    tight = docs.context("word1 tide", max_tokens=3)
    assert (tight.text, tight.citations) == ("", ())
    assert tight.notes == ("No passage that was found fits into 3 tokens, not even in part.",)
    context = docs.context("word1 tide", max_tokens=200)
    assert context.notes == ()
    assert context.citations
    for citation in context.citations:
        assert texts[citation.uri][citation.start : citation.end] == citation.quote
    with pytest.raises(errors.InvalidArgument):
        docs.context("x", max_tokens=0)


def test_progress_is_told_while_a_run_lasts(docs: Collection) -> None:
    told: list[int] = []
    docs.ingest(
        [Document(uri=f"d{n}", text="tide") for n in range(200)],
        progress=lambda report: told.append(report.documents),
    )
    assert told == sorted(told)
    assert told[-1] == 200
    assert len(told) > 3


def test_nothing_to_take_in(docs: Collection) -> None:
    assert counts(docs.ingest([])) == {}
    assert docs.search("tide") == []
    assert docs.context("tide").citations == ()
    report = docs.ingest([Document(uri="a", text=" "), "/no/such/file"])
    assert len(report.failed) == 2
    assert docs.status().documents == 0


def kill_connections(url: str) -> None:
    rows(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'pgrecall'",
    )


def test_connections_that_were_cut_while_idle_are_replaced(docs: Collection, db: Database) -> None:
    docs.ingest(Document(uri="a", text="high tide"))
    kill_connections(db.url)
    assert docs.search("high", k=1, mode="text")[0].uri == "a"
    kill_connections(db.url)
    assert docs.ingest(Document(uri="b", text="tide")).failed == []


def test_a_connection_that_is_cut_at_work(docs: Collection, db: Database) -> None:
    docs.ingest(Document(uri="a", text="tide"))

    with psycopg.connect(db.url) as blocker, ThreadPoolExecutor(1) as pool:
        blocker.execute("LOCK TABLE pgrecall.chunks IN ACCESS EXCLUSIVE MODE")
        waiting = pool.submit(docs.search, "tide")
        wait_for_lock(db.url)
        kill_connections(db.url)
        with pytest.raises(errors.DatabaseUnavailable, match="was lost"):
            waiting.result()
    assert docs.search("tide")[0].uri == "a"


def wait_for_lock(url: str) -> None:
    query = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    for _ in range(1000):
        if rows(url, query):
            return
    raise AssertionError("nobody waits")


def test_a_closed_database_says_so(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        pass
    with pytest.raises(errors.DatabaseUnavailable):
        db.collections()
    db.close()  # once more changes nothing
