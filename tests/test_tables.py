"""Staying in step with a table of the user's own: by updated_at, and by triggers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

import pgrecall
from pgrecall import LoadOptions, errors
from pgrecall.collection import Collection
from pgrecall.ingest import TableSource
from pgrecall.ingest.tables import EMPTY
from pgrecall.store import tables
from pgrecall.types import IngestReport
from tests.conftest import CreateDatabase
from tests.embedders import DeadEmbedder, TinyEmbedder

ARTICLES = """
    CREATE TABLE articles (
        id bigint PRIMARY KEY, title text, body text, lang text DEFAULT 'en', owner text,
        updated_at timestamptz NOT NULL DEFAULT clock_timestamp());
    INSERT INTO articles (id, title, body, owner)
    SELECT n, 'Article ' || n, 'The body of number ' || n, 't' || n % 2 FROM generate_series(1, 7) AS n;
"""


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PAGE", 3)


@pytest.fixture
def user(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(ARTICLES)
        yield connection


@pytest.fixture
def docs(user: psycopg.Connection, database_url: str) -> Iterator[Collection]:
    with pgrecall.connect(database_url) as db:
        yield db.create_collection("docs", embedder=TinyEmbedder())


def counts(report: IngestReport) -> tuple[int, int, int]:
    assert report.failed == []
    return report.new, report.changed, report.removed


def texts(docs: Collection, **options: str) -> dict[str, str]:
    hits = docs.search("body", mode="vector", k=100, **options)  # type: ignore[arg-type]
    return {hit.uri: hit.text for hit in hits}


def touch(user: psycopg.Connection, number: int, text: str) -> None:
    user.execute(
        "UPDATE articles SET body = %s, updated_at = clock_timestamp() WHERE id = %s",
        [text, number],
    )


@pytest.mark.parametrize("triggers", [False, True])
def test_new_changed_and_deleted_rows(
    triggers: bool, docs: Collection, user: psycopg.Connection
) -> None:
    source = TableSource(table="articles", triggers=triggers)
    assert counts(docs.sync_table(source)) == (7, 0, 0)
    assert counts(docs.sync_table(source)) == (0, 0, 0)
    touch(user, 3, "Another body.")
    user.execute("INSERT INTO articles VALUES (8, NULL, 'The eighth body.')")
    user.execute("DELETE FROM articles WHERE id IN (1, 2)")
    user.execute("UPDATE articles SET id = 40 WHERE id = 4")
    user.execute("UPDATE articles SET body = '  ', updated_at = clock_timestamp() WHERE id = 5")
    assert counts(docs.sync_table(source)) == (2, 1, 4)
    found = texts(docs)
    assert set(found) == {"articles#3", "articles#6", "articles#7", "articles#8", "articles#40"}
    assert found["articles#3"] == "Another body."
    assert docs.document("articles#3").metadata == {"lang": "en", "owner": "t1"}
    assert docs.document("articles#3").title == "Article 3"


def test_what_is_not_of_the_table_stays(docs: Collection, user: psycopg.Connection) -> None:
    docs.ingest(pgrecall.Document(uri="articles#99", text="The given body."))
    docs.sync_table("articles")
    user.execute("DELETE FROM articles WHERE id < 7")
    assert counts(docs.sync_table("articles")) == (0, 0, 6)
    assert set(texts(docs)) == {"articles#7", "articles#99"}


def test_only_changed_rows_are_read(docs: Collection, user: psycopg.Connection) -> None:
    user.execute("UPDATE articles SET updated_at = now() - interval '1 hour'")
    docs.sync_table("articles")
    touch(user, 3, "Another body.")
    report = docs.sync_table("articles")
    assert (report.changed, report.unchanged) == (1, 0)
    assert docs.sync_table("articles", full=True).unchanged == 7


def test_a_row_that_is_committed_late_is_not_missed(
    docs: Collection, user: psycopg.Connection, database_url: str
) -> None:
    source = TableSource(table="articles", overlap=timedelta(0))
    with psycopg.connect(database_url) as slow:
        slow.execute(
            "INSERT INTO articles (id, body, updated_at) VALUES (8, 'The late body.', now())"
        )
        assert counts(docs.sync_table(source)) == (7, 0, 0)
        touch(user, 3, "A later body.")
        assert counts(docs.sync_table(source)) == (0, 1, 0)
        slow.commit()
    assert counts(docs.sync_table(source)) == (1, 0, 0)


def test_rows_without_a_time_are_read_each_time(docs: Collection, user: psycopg.Connection) -> None:
    user.execute("ALTER TABLE articles DROP COLUMN updated_at")
    assert counts(docs.sync_table("articles")) == (7, 0, 0)
    user.execute("UPDATE articles SET body = 'Another.' WHERE id = 2")
    assert counts(docs.sync_table("articles")) == (0, 1, 0)


@pytest.mark.parametrize("kind", ["timestamp", "date"])
def test_times_without_a_zone(kind: str, docs: Collection, user: psycopg.Connection) -> None:
    user.execute(f"ALTER TABLE articles ALTER COLUMN updated_at TYPE {kind}".encode())
    docs.sync_table("articles")
    # An application far in the west writes its local time.
    user.execute(
        "UPDATE articles SET body = 'Another.', updated_at = now() - interval '11 hours' WHERE id = 2"
    )
    assert counts(docs.sync_table("articles")) == (0, 1, 0)


def test_a_query(docs: Collection, user: psycopg.Connection) -> None:
    query = "select id, title, body, owner from articles where body not like '%6' -- {no six}\n;"
    source = TableSource(query=query, tenant="owner", metadata=["id"])
    assert counts(docs.sync_table(source)) == (6, 0, 0)
    assert set(texts(docs, tenant_id="t1")) == {f"articles#{n}" for n in (1, 3, 5, 7)}
    user.execute("UPDATE articles SET owner = 't0' WHERE id = 1")
    user.execute("UPDATE articles SET body = 'Now 6' WHERE id = 3")
    assert counts(docs.sync_table(source)) == (1, 0, 2)
    assert set(texts(docs, tenant_id="t1")) == {"articles#5", "articles#7"}
    other = TableSource(query="SELECT * FROM articles WHERE id < 3", tenant="owner")
    assert docs.sync_table(other).removed == 3, "another question under the same name"


def test_a_query_cannot_write(docs: Collection, user: psycopg.Connection) -> None:
    evil = "WITH gone AS (DELETE FROM articles RETURNING *) SELECT * FROM gone"
    for query in (evil, "SELECT * FROM articles; DELETE FROM articles"):
        with pytest.raises(errors.DatabaseError):
            docs.sync_table(TableSource(query=query))
    row = user.execute("SELECT count(*) FROM articles").fetchone()
    assert row == (7,)


def test_names_are_quoted(docs: Collection, user: psycopg.Connection) -> None:
    user.execute(
        """
        CREATE SCHEMA "odd ""one";
        CREATE TABLE "odd ""one"."Do%cs{}" ("The %s Id" uuid PRIMARY KEY, "{Text}" text);
        INSERT INTO "odd ""one"."Do%cs{}"
        SELECT gen_random_uuid(), 'Odd ' || n FROM generate_series(1, 4) AS n
        """
    )
    for triggers in (False, True):
        source = TableSource(
            table='"odd ""one"."Do%cs{}"',
            name="odd",
            id="The %s Id",
            text="{Text}",
            triggers=triggers,
        )
        docs.sync_table(source)
        user.execute('UPDATE "odd ""one"."Do%cs{}" SET "{Text}" = "{Text}" || \'!\'')
        assert counts(docs.sync_table(source)) == (0, 4, 0)


def test_an_empty_table_wipes_nothing_without_a_word(
    docs: Collection, user: psycopg.Connection
) -> None:
    docs.sync_table("articles")
    user.execute("TRUNCATE articles")
    report = docs.sync_table("articles")
    assert (report.removed, report.notes) == (0, [("articles", EMPTY)])
    assert docs.sync_table("articles", allow_empty=True).removed == 7


@pytest.mark.parametrize("left", [0, 1])
def test_triggers_note_truncate(left: int, docs: Collection, user: psycopg.Connection) -> None:
    source = TableSource(table="articles", triggers=True)
    docs.sync_table(source)
    user.execute("TRUNCATE articles")
    user.execute("INSERT INTO articles (id, body) SELECT 9, 'The ninth.' WHERE %s > 0", [left])
    assert counts(docs.sync_table(source)) == (left, 0, 7)


def test_rows_that_came_back_after_truncate_are_read_whatever_their_time(
    docs: Collection, user: psycopg.Connection
) -> None:
    source = TableSource(table="articles", triggers=True)
    docs.sync_table(source)
    user.execute("TRUNCATE articles")
    user.execute(
        "INSERT INTO articles VALUES (3, NULL, 'A restored body.', 'en', '', '2001-01-01')"
    )
    assert counts(docs.sync_table(source)) == (0, 1, 6)
    assert texts(docs) == {"articles#3": "A restored body."}


@pytest.mark.parametrize("wanted", [None, "number"])
def test_a_renamed_key_stops_no_writer(
    wanted: str | None, docs: Collection, user: psycopg.Connection
) -> None:
    docs.sync_table(TableSource(table="articles", id=wanted and "id", triggers=True))
    user.execute("ALTER TABLE articles RENAME id TO number")
    user.execute("UPDATE articles SET body = 'Another body.' WHERE number = 3")
    user.execute("DELETE FROM articles WHERE number = 4")
    with pytest.raises(errors.InvalidArgument, match="id"):
        docs.sync_table(TableSource(table="articles", triggers=True))
    renamed = TableSource(table="articles", id="number", triggers=True)
    assert counts(docs.sync_table(renamed)) == (0, 1, 1)
    user.execute("UPDATE articles SET body = 'The last body.' WHERE number = 5")
    assert counts(docs.sync_table(renamed)) == (0, 1, 0)


def test_a_table_that_is_made_anew_gets_triggers_again(
    docs: Collection, user: psycopg.Connection
) -> None:
    source = TableSource(table="articles", triggers=True)
    docs.sync_table(source)
    user.execute("DROP TABLE articles")
    user.execute(ARTICLES)
    user.execute("UPDATE articles SET body = 'Of another year.', updated_at = '2001-01-01'")
    assert counts(docs.sync_table(source)) == (0, 7, 0)
    user.execute("UPDATE articles SET body = 'The third body.' WHERE id = 3")
    assert counts(docs.sync_table(source)) == (0, 1, 0)


def test_triggers_follow_another_key_and_another_table(
    docs: Collection, user: psycopg.Connection
) -> None:
    docs.sync_table(TableSource(table="articles", triggers=True))
    user.execute("ALTER TABLE articles RENAME TO essays; CREATE TABLE articles (LIKE essays)")
    source = TableSource(table="essays", name="articles", id="title", triggers=True)
    docs.sync_table(source)
    touch_title = "UPDATE essays SET body = 'Another body.' WHERE title = 'Article 3'"
    user.execute(touch_title)
    assert counts(docs.sync_table(source)) == (0, 1, 0)
    row = user.execute("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'pgrecall%'").fetchone()
    assert row == (2,)


def test_keys_of_a_fixed_length(docs: Collection, user: psycopg.Connection) -> None:
    user.execute(
        """
        CREATE TABLE codes (id char(5) PRIMARY KEY, body text);
        INSERT INTO codes SELECT 'k' || n, 'The body of ' || n FROM generate_series(1, 7) AS n
        """
    )
    assert counts(docs.sync_table("codes")) == (7, 0, 0)
    user.execute("DELETE FROM codes WHERE id = 'k2'")
    assert counts(docs.sync_table("codes")) == (0, 0, 1)


def test_rows_that_all_lost_their_text_wipe_nothing(
    docs: Collection, user: psycopg.Connection
) -> None:
    docs.sync_table("articles")
    user.execute("UPDATE articles SET body = NULL, updated_at = clock_timestamp()")
    for full in (False, True):
        report = docs.sync_table("articles", full=full)
        assert (report.removed, report.notes) == (0, [("articles", EMPTY)])
    assert docs.sync_table("articles", allow_empty=True).removed == 7


def test_triggers_are_part_of_the_users_transaction(
    docs: Collection, user: psycopg.Connection
) -> None:
    source = TableSource(table="articles", triggers=True)
    docs.sync_table(source)
    with user.transaction(force_rollback=True):
        touch(user, 3, "Never committed.")
    assert noted(user) == 0
    touch(user, 3, "Committed.")
    assert noted(user) == 1
    assert counts(docs.sync_table(source)) == (0, 1, 0)
    assert noted(user) == 0


def noted(user: psycopg.Connection) -> int:
    row = user.execute("SELECT count(*) FROM pgrecall.changes").fetchone()
    assert row is not None
    return int(row[0])


def test_triggers_go_when_they_are_not_wanted(docs: Collection, user: psycopg.Connection) -> None:
    docs.sync_table(TableSource(table="articles", triggers=True))
    touch(user, 3, "Another body.")
    assert counts(docs.sync_table("articles")) == (0, 1, 0)
    row = user.execute(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'articles'::regclass AND NOT tgisinternal"
    ).fetchone()
    assert row == (0,)
    assert noted(user) == 0


def test_a_dropped_collection_leaves_writers_alone(
    docs: Collection, user: psycopg.Connection, database_url: str
) -> None:
    docs.sync_table(TableSource(table="articles", triggers=True))
    with pgrecall.connect(database_url) as db:
        db.drop_collection("docs")
    touch(user, 3, "Nobody reads this.")
    assert noted(user) == 0


def test_writers_need_no_rights(docs: Collection, user: psycopg.Connection) -> None:
    docs.sync_table(TableSource(table="articles", triggers=True))
    role = f"writer_{user.info.backend_pid}"
    user.execute(f"CREATE ROLE {role}; GRANT ALL ON articles TO {role}".encode())
    try:
        user.execute(f"SET ROLE {role}".encode())
        touch(user, 3, "Written by somebody else.")
        user.execute("RESET ROLE")
        assert noted(user) == 1
    finally:
        user.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}".encode())


def test_mistakes_are_explained(docs: Collection, user: psycopg.Connection) -> None:
    for source, said in (
        (TableSource(table="nothing"), "no table nothing"),
        (TableSource(table="articles", id="nr"), "nr"),
        (TableSource(table="articles", text="words"), "words"),
        (
            TableSource(query="select 1 as id, 'a' as words from articles"),
            "text or content or body",
        ),
        (TableSource(table="articles", updated_at="title"), "timestamp"),
    ):
        with pytest.raises(errors.InvalidArgument, match=said):
            docs.sync_table(source)
    with pytest.raises(errors.InvalidArgument, match="one of them"):
        TableSource()
    with pytest.raises(errors.DatabaseUnavailable, match="cannot be reached"):
        docs.sync_table("articles", url="postgresql://127.0.0.1:1/x")


def test_a_table_in_another_database(
    docs: Collection, user: psycopg.Connection, create_database: CreateDatabase
) -> None:
    with create_database() as other:
        with psycopg.connect(other, autocommit=True) as there:
            there.execute(ARTICLES)
            there.execute("DELETE FROM articles WHERE id > 4")
            assert counts(docs.sync_table("articles", url=other)) == (4, 0, 0)
            touch(there, 3, "Another body.")
            there.execute("DELETE FROM articles WHERE id = 1")
            assert counts(docs.sync_table("articles", url=other)) == (0, 1, 1)
        with pytest.raises(errors.InvalidArgument, match="own database"):
            docs.sync_table(TableSource(table="articles", triggers=True), url=other)


@pytest.mark.parametrize("triggers", [False, True])
def test_awaited(triggers: bool, user: psycopg.Connection, database_url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(database_url) as db:
            docs = await db.create_collection("docs", embedder=TinyEmbedder())
            source = TableSource(table="articles", triggers=triggers)
            options = LoadOptions(metadata={"shelf": 3})
            assert counts(await docs.sync_table(source, options=options)) == (7, 0, 0)
            touch(user, 3, "Another body.")
            user.execute("DELETE FROM articles WHERE id = 1")
            assert counts(await docs.sync_table(source, options=options)) == (0, 1, 1)

    asyncio.run(main())


def test_following_a_table(docs: Collection, user: psycopg.Connection) -> None:
    stop = threading.Event()
    reports = docs.watch_table("articles", every=0.05, stop=stop)
    assert next(reports).new == 7
    touch(user, 3, "Another body.")
    assert next(reports).changed == 1
    user.execute("DELETE FROM articles WHERE id = 1")
    assert next(reports).removed == 1
    stop.set()
    assert list(reports) == []


@pytest.mark.parametrize("triggers", [False, True])
def test_rows_that_could_not_be_embedded_are_tried_again(
    triggers: bool, user: psycopg.Connection, database_url: str
) -> None:
    user.execute("UPDATE articles SET updated_at = now() - interval '1 hour'")
    source = TableSource(table="articles", triggers=triggers)
    with pgrecall.connect(database_url) as db:
        docs = db.create_collection("docs", embedder=TinyEmbedder())
        dead = db.collection("docs", embedder=DeadEmbedder())
        assert len(dead.sync_table(source).failed) == 7
        assert counts(docs.sync_table(source)) == (7, 0, 0)
        touch(user, 3, "Another body.")
        assert len(dead.sync_table(source).failed) == 1
        assert counts(docs.sync_table(source)) == (0, 1, 0)
