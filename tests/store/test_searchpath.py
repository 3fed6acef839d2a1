"""pgvector may be in a schema that no search_path names: hosted databases have it in one of its own."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

import pgrecall
from pgrecall import Database, Document, EmbeddedChunk, EmbeddedDocument
from pgrecall.store import migrate
from pgrecall.store.storage import StorageType
from tests.conftest import CreateDatabase
from tests.embedders import TinyEmbedder

DIMENSIONS = 24


@pytest.fixture(scope="module")
def url(create_database: CreateDatabase) -> Iterator[str]:
    with create_database() as url:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute('CREATE SCHEMA "Ext"')
            admin.execute('CREATE EXTENSION vector SCHEMA "Ext"')
        migrate.upgrade(url)
        yield url


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    with pgrecall.connect(url) as db:
        yield db


@pytest.mark.parametrize("storage", ["halfvec", "bit"])
def test_everything_finds_pgvector(db: Database, storage: StorageType) -> None:
    embedder = TinyEmbedder(DIMENSIONS)
    docs = db.create_collection(storage, embedder=embedder, storage=storage)
    docs.add_chunks(
        EmbeddedDocument(
            uri=f"d{n}",
            chunks=[EmbeddedChunk(content=text, embedding=embedder.embed_query(text))],
            metadata={"n": n},
        )
        for n, text in ((n, f"number {n} of {n % 97}") for n in range(2_100))
    )
    report = docs.ingest(
        [
            Document(uri="new", text=f"a tide of {storage}"),
            Document(uri="copy", text="number 7 of 7"),
        ]
    )
    assert (report.failed, report.embedded) == ([], 1)
    assert docs.search("number 7", k=1)[0].text == "number 7 of 7"
    assert docs.search("a tide", k=1, mode="vector", exact=True)[0].uri == "new"
    assert docs.search("number", k=1, where={"n": {"$gt": 2000}}, mode="vector").complete
    assert len(docs.similar("d7", k=3)) == 3
    asked = np.stack([embedder.embed_query(f"number {n}") for n in range(10)])
    assert docs.measure_recall(embeddings=asked).curve[1000] > 0.8
    assert docs.measure_recall(questions=10).questions == 10
    assert db.verify().healthy


def test_the_callers_search_path_stays(db: Database, url: str) -> None:
    docs = db.create_collection("lent", embedder=TinyEmbedder(DIMENSIONS))
    with psycopg.connect(url, options="-c search_path=pg_catalog") as mine:
        with pgrecall.connect(mine) as lent:
            lent.collection("lent", embedder=TinyEmbedder(DIMENSIONS)).ingest(
                [Document(uri=f"d{n}", text=f"tide {n}") for n in range(9)]
            )
            assert mine.execute("SHOW search_path").fetchone() == ("pg_catalog",)
        mine.commit()
    assert docs.status().indexed


def test_measuring_in_sql(db: Database, url: str) -> None:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT pgrecall.measure_recall('halfvec', questions => 8)")
        row = found.fetchone()
    assert row is not None
    assert row[0][-1] > 0.8


def test_the_sql_for_others_finds_it(create_database: CreateDatabase) -> None:
    with create_database() as url:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute("CREATE SCHEMA ext")
            admin.execute("CREATE EXTENSION vector SCHEMA ext")
            admin.execute(migrate.offline_sql().encode())
        migrate.check(url)
