"""Broken on purpose, found, mended: whatever can be wrong with a database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import psycopg
import pytest

import pgrecall
from pgrecall import Database, Document
from pgrecall.chunking import ChunkConfig
from pgrecall.types import Hit
from tests.acceptance.conftest import assert_whole
from tests.embedders import TinyEmbedder

SMALL = ChunkConfig(max_tokens=64, overlap_tokens=8)
DOCUMENTS = [
    Document(
        uri=f"d{n}.txt",
        text="\n\n".join(
            f"Żółw {n} saw {day} ships pass the {n * day} light." for day in range(30)
        ),
        title=f"Log {n}",
        metadata={"n": n, "large": 1e22, "flat": 2.0},
        pages=(0, 200, 500),
    )
    for n in range(4)
]
#: What D1 stands for in the statements that break it.
D1 = "document_id = (SELECT document_id FROM pgrecall.documents WHERE uri = 'd1.txt')"


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder(), chunking=SMALL)
        docs.ingest([*DOCUMENTS, "/no/such/file"])
        docs.index_metadata("n", type="int")
        yield db


def search(db: Database) -> list[Hit]:
    docs = db.collection("docs", embedder=TinyEmbedder())
    return list(docs.search("Żółw 1 saw 7 ships", k=5))


def execute(db: Database, *statements: str) -> None:
    with psycopg.connect(db.url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.replace("D1", D1).encode())


def test_a_sound_database_is_found_sound(db: Database) -> None:
    found = db.verify(repair=True)
    assert (found.healthy, found.found, found.documents, found.embedded) == (True, 0, 4, 0)
    assert found.chunks == db.collection("docs").status().chunks
    with_object = db.doctor(embedders=[TinyEmbedder()])
    assert with_object.healthy
    names = {check.name: check for check in with_object.checks}
    assert names["embedder tiny"].state == "ok"
    assert names["server"].detail.startswith("PostgreSQL ")
    assert names["disk"].detail.endswith("MB")
    assert names["fsync"].state == "warning"  # as tests run it
    without = {check.name: check for check in db.doctor().checks}
    assert without["embedder tiny"].state == "warning"


BROKEN = {
    "content": "UPDATE pgrecall.chunks SET content = content || '!' WHERE ordinal = 2 AND D1",
    "offsets": "UPDATE pgrecall.chunks SET end_offset = 1000000 WHERE ordinal = 2 AND D1",
    "ordinals": "UPDATE pgrecall.chunks SET ordinal = 99 WHERE ordinal = 2 AND D1",
    "coverage": "DELETE FROM pgrecall.chunks WHERE D1",
    "coverage of the end": "DELETE FROM pgrecall.chunks WHERE D1 AND ordinal ="
    " (SELECT max(ordinal) FROM pgrecall.chunks WHERE D1)",
    "pages": "UPDATE pgrecall.chunks SET page = 7 WHERE ordinal = 2 AND D1",
    "hash": "UPDATE pgrecall.chunks SET content_hash = 'x' WHERE ordinal = 2 AND D1",
    "copies": "UPDATE pgrecall.chunks SET title = 'other' WHERE ordinal = 2 AND D1",
    "copies of metadata": "UPDATE pgrecall.chunks SET metadata = '{}' WHERE ordinal = 2 AND D1",
    "tokens": "UPDATE pgrecall.chunks SET token_count = 0 WHERE ordinal = 2 AND D1",
    "document hash": "UPDATE pgrecall.documents SET text = text || ' More.' WHERE uri = 'd1.txt'",
    "document hash missing": "UPDATE pgrecall.documents SET content_hash = NULL WHERE uri = 'd1.txt'",
    "status": "UPDATE pgrecall.documents SET status = 'failed' WHERE uri = 'd1.txt'",
    "vector of zeros": "UPDATE pgrecall.chunks SET embedding = array_fill(0, ARRAY[32])::real[]::halfvec"
    " WHERE ordinal = 2 AND D1",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_document_is_found_and_mended(db: Database, name: str) -> None:
    before = search(db)
    execute(db, BROKEN[name])
    found = db.verify()
    assert not found.healthy
    kinds = {problem.kind for problem in found.problems}
    assert name.partition(" of ")[0].removesuffix(" missing") in kinds
    assert {problem.subject for problem in found.problems} == {"docs: d1.txt"}
    assert not any(problem.repaired for problem in found.problems)
    mended = db.verify(repair=True, embedders=[TinyEmbedder()])
    assert mended.healthy
    assert mended.found == mended.repaired == found.found
    # What is whole is not embedded again, and what is broken is not copied.
    assert mended.embedded <= (20 if "document hash" in name or name == "coverage" else 3)
    assert db.verify().found == 0
    assert assert_whole(db.url) == 4
    if "hash" not in name and "pages" not in name:
        assert [(h.uri, h.start, h.text) for h in search(db)] == [
            (h.uri, h.start, h.text) for h in before
        ]


def test_wrong_counts_of_tokens_are_found_and_mended(database_url: str) -> None:
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", chunking=SMALL)
        docs.ingest(DOCUMENTS)
        before = docs.status().tokens
        execute(db, "UPDATE pgrecall.chunks SET token_count = token_count + 1 WHERE D1")
        found = db.verify(repair=True)
        assert [(p.kind, p.repaired) for p in found.problems] == [("tokens", True)]
        assert "the tokens of chunk 0 are said to be " in found.problems[0].detail
        assert (found.embedded, found.checks, docs.status().tokens) == (0, [], before)


def test_tokens_of_an_unknown_tokenizer_are_told_not_guessed(db: Database) -> None:
    execute(db, "UPDATE pgrecall.chunks SET token_count = token_count + 1 WHERE D1")
    found = db.verify()
    (check,) = found.checks
    assert (found.healthy, check.name, check.state) == (True, "tokens of docs", "warning")
    assert "no embedder 'tiny'" in check.detail
    assert {p.kind for p in db.verify(embedders=[TinyEmbedder()]).problems} == {"tokens"}
    execute(db, "UPDATE pgrecall.generations SET embedder = 'openai:of-our-own@32'")
    assert "which tokenizer it was opened with" in db.verify().checks[0].detail


def test_tokens_are_counted_again_without_a_key(db: Database) -> None:
    execute(db, "UPDATE pgrecall.generations SET embedder = 'openai:text-embedding-3-small@32'")
    found = db.verify()  # tiny's tokenizer is another one
    assert found.checks == []
    assert {p.kind for p in found.problems} == {"tokens"}


def test_vectors_of_another_length_are_found_and_mended(db: Database) -> None:
    # An index on the column would refuse them.
    execute(
        db,
        "DROP INDEX pgrecall.chunks_g1_embedding",
        "UPDATE pgrecall.chunks SET embedding = '[1,2]' WHERE ordinal IN (1, 2) AND D1",
    )
    mended = db.verify(repair=True, embedders=[TinyEmbedder()])
    kinds = {problem.kind: problem for problem in mended.problems}
    assert kinds.keys() == {"vector", "index"}
    assert kinds["vector"].detail.endswith("and 1 more")
    assert mended.healthy
    assert db.verify().found == 0
    assert search(db)[0].uri == "d1.txt"


def test_swapped_hashes_do_not_lend_wrong_vectors(db: Database) -> None:
    execute(
        db,
        "UPDATE pgrecall.chunks AS c SET content_hash = (SELECT o.content_hash FROM pgrecall.chunks AS o"
        " WHERE o.document_id = c.document_id AND o.ordinal = 3 - c.ordinal)"
        " WHERE ordinal IN (1, 2) AND c.D1",
    )
    mended = db.verify(repair=True, embedders=[TinyEmbedder()])
    assert {problem.kind for problem in mended.problems} == {"hash"}
    assert mended.embedded == 2
    best = db.collection("docs", embedder=TinyEmbedder()).search(
        next(h.text for h in search(db) if h.uri == "d1.txt"), k=1, mode="vector"
    )[0]
    assert best.vector_score == pytest.approx(1, abs=0.15)


STRUCTURE = {
    "function": ["DROP FUNCTION pgrecall.nearest_g1"],
    "partition": ["DROP TABLE pgrecall.chunks_g1"],
    "collection": ["UPDATE pgrecall.collections SET active_generation_id = 77"],
    "leftover table": ["CREATE TABLE pgrecall.chunks_g77 (LIKE pgrecall.chunks)"],
    "leftover function": [
        "CREATE FUNCTION pgrecall.nearest_g77() RETURNS void LANGUAGE sql AS 'SELECT'"
    ],
    "leftover vectors": [
        "INSERT INTO pgrecall.paid_vectors (content_hash, embedder, dimensions, embedding, created_at)"
        " VALUES ('x', 'tiny', 32, '[1]', now() - interval '31 days')"
    ],
    "orphans": [
        "ALTER TABLE pgrecall.chunks DROP CONSTRAINT fk_chunks_documents",
        "DELETE FROM pgrecall.documents WHERE uri = 'd1.txt'",
    ],
    "index": ["DROP INDEX pgrecall.chunks_g1_embedding", "DROP INDEX pgrecall.chunks_g1_tsv"],
    "index that is not valid": [
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'pgrecall.chunks_g1_embedding'::regclass"
    ],
    "index of ours that is not valid": [
        "UPDATE pg_index SET indisvalid = false"
        " WHERE indexrelid = 'pgrecall.ix_documents_collection_id_uri'::regclass"
    ],
    "index on metadata": [
        "DO $$ BEGIN EXECUTE (SELECT 'DROP INDEX pgrecall.' || relname FROM pg_class"
        " WHERE relname LIKE 'chunks\\_g1\\_metadata\\_%' AND relkind = 'i' LIMIT 1); END $$"
    ],
}


@pytest.mark.parametrize("name", STRUCTURE)
def test_what_stands_around_documents_is_found_and_mended(db: Database, name: str) -> None:
    execute(db, *STRUCTURE[name])
    quick = db.doctor()
    assert not quick.healthy
    assert name.startswith(quick.problems[0].kind)
    mended = db.verify(repair=True, embedders=[TinyEmbedder()])
    assert mended.healthy, mended.problems
    assert db.verify().found == 0
    assert db.doctor().healthy
    if name == "partition":  # its indexes come with the next run
        db.collection("docs", embedder=TinyEmbedder()).optimize()
    assert search(db)


def test_what_cannot_be_mended_is_told(db: Database) -> None:
    execute(db, "UPDATE pgrecall.documents SET pages = '{0,500,2}' WHERE uri = 'd1.txt'")
    found = db.verify(repair=True, embedders=[TinyEmbedder()])
    assert {problem.kind for problem in found.problems if not problem.repaired} == {"pages"}
    # The source knows where its pages are.
    report = db.collection("docs", embedder=TinyEmbedder()).ingest(DOCUMENTS)
    assert (report.changed, report.embedded) == (1, 0)
    assert db.verify().healthy
    execute(db, BROKEN["coverage"])
    # Nobody passes the object that embeds.
    found = db.verify(repair=True)
    assert not found.healthy
    assert "cannot be repaired" in found.problems[0].detail
    execute(db, "UPDATE pgrecall.generations SET state = 'retired'")
    execute(db, "UPDATE pgrecall.collections SET active_generation_id = NULL")
    assert not db.verify(repair=True, embedders=[TinyEmbedder()]).healthy


def test_awaited(database_url: str, db: Database) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as awaited:
            execute(db, BROKEN["content"])
            assert (await awaited.doctor()).healthy
            assert not (await awaited.verify()).healthy
            assert (await awaited.verify(repair=True, embedders=[TinyEmbedder()])).healthy

    asyncio.run(main())


def test_writers_go_on_meanwhile(db: Database) -> None:
    """A document that is replaced between two reads is not called broken."""
    stop = threading.Event()

    def write() -> None:
        docs = db.collection("docs", embedder=TinyEmbedder())
        number = 0
        while not stop.is_set():
            number += 1
            docs.ingest(
                [
                    Document(uri=d.uri, text=d.text.replace("ships", f"ships {number}"))
                    for d in DOCUMENTS
                ]
            )

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(10):
            found = db.verify()
            assert found.found == 0, found.problems
    finally:
        stop.set()
        thread.join()
