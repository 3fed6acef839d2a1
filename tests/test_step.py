"""Sources that stay in step, with what else a run has: plans, budgets, records, generations, the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest

import pgrecall
from pgrecall import Collection, Database, LoadOptions, TableSource, WorkerOptions
from pgrecall.load.web import client
from pgrecall.types import IngestReport
from tests.driving import rows
from tests.embedders import TinyEmbedder
from tests.web_server import Site

COUNTS = ("new", "changed", "renamed", "unchanged", "removed", "embedded", "tokens", "left")
OPTIONS = LoadOptions(allow_private=True)


@pytest.fixture
def docs(db: Database) -> Collection:
    return db.create_collection("docs", embedder=TinyEmbedder())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "notes"
    root.mkdir()
    for name in ("olives", "quinces", "figs"):
        (root / f"{name}.txt").write_text(f"What there is to know of {name}.")
    return root


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(client, "DELAY", 0.0)
    with Site() as site:
        yield site


def counts(of: Any) -> list[int]:
    return [getattr(of, name) for name in COUNTS]


def change(folder: Path) -> None:
    """One file each: new, changed, renamed, removed."""
    (folder / "plums.txt").write_text("Plums are blue.")
    (folder / "olives.txt").write_text("Olives are green.")
    (folder / "quinces.txt").rename(folder / "renamed.txt")
    (folder / "figs.txt").unlink()


def test_a_plan_says_what_would_go_and_writes_nothing(
    docs: Collection, folder: Path, database_url: str
) -> None:
    ledger = "SELECT uri, source, version, error, updated_at FROM pgrecall.documents ORDER BY uri"
    docs.ingest(folder)
    change(folder)
    before = rows(database_url, ledger)
    planned = docs.plan(folder, sync=True)
    assert counts(planned) == counts(docs.plan(folder, sync=True))
    assert rows(database_url, ledger) == before
    assert docs.plan(folder).removed == 0
    report = docs.ingest(folder, sync=True)
    assert counts(planned) == counts(report)
    assert counts(report)[:5] == [1, 1, 1, 0, 1]


def test_an_empty_source_is_planned_as_it_would_be(docs: Collection, folder: Path) -> None:
    docs.ingest(folder)
    for file in folder.iterdir():
        file.unlink()
    planned = docs.plan(folder, sync=True)
    assert planned.removed == 0
    assert "out of reach" in planned.notes[0][1]
    assert docs.plan(folder, sync=True, allow_empty=True).removed == 3


def test_a_run_that_its_budget_cut_short_removes_nothing(docs: Collection, folder: Path) -> None:
    docs.ingest(folder)
    change(folder)
    assert docs.plan(folder, sync=True, max_tokens=0).removed == 0
    report = docs.ingest(folder, sync=True, max_tokens=0)
    assert (report.left, report.renamed, report.removed) == (2, 1, 0)
    assert [one.state for one in docs.runs()] == ["stopped", "done"]
    report = docs.ingest(folder, sync=True)
    assert (report.left, report.new, report.changed, report.removed) == (0, 1, 1, 2)


def test_runs_remember_what_was_removed(docs: Collection, folder: Path) -> None:
    docs.ingest(folder)
    change(folder)
    docs.ingest(folder, sync=True)
    last = docs.runs(limit=1)[0]
    assert (last.new, last.changed, last.renamed, last.removed) == (1, 1, 1, 1)


@pytest.mark.parametrize("triggers", [False, True])
def test_a_table_whose_rows_the_budget_left_is_read_again(
    triggers: bool, docs: Collection, database_url: str
) -> None:
    source = TableSource(table="fruit", triggers=triggers)
    with psycopg.connect(database_url, autocommit=True) as user:
        user.execute(
            "CREATE TABLE fruit (id int PRIMARY KEY, text text, updated_at timestamptz DEFAULT now())"
        )
        user.execute(
            "INSERT INTO fruit SELECT n, 'The fruit ' || n FROM generate_series(1, 4) AS n"
        )
        assert docs.sync_table(source).new == 4
        user.execute("UPDATE fruit SET updated_at = now() - interval '1 day'")
        docs.sync_table(source)
        user.execute("UPDATE fruit SET text = 'Another one', updated_at = now() WHERE id = 1")
        user.execute("DELETE FROM fruit WHERE id = 2")
    for _ in range(2):
        report = docs.sync_table(source, max_tokens=0)
        assert (report.left, report.changed, report.removed) == (1, 0, 0)
    report = docs.sync_table(source)
    assert (report.left, report.changed, report.removed) == (0, 1, 1)
    states = [(one.state, one.new, one.changed, one.removed) for one in docs.runs()]
    assert states[0] == ("done", 0, 1, 1)
    assert states[1:3] == [("stopped", 0, 0, 0)] * 2
    assert states[-1] == ("done", 4, 0, 0)


def test_looks_of_a_watch_go_on_record_if_they_did_something(
    docs: Collection, database_url: str
) -> None:
    create = (
        "CREATE TABLE fruit AS SELECT n AS id, 'Fruit ' || n AS text FROM generate_series(1, 3) n"
    )
    with psycopg.connect(database_url, autocommit=True) as user:
        user.execute(create)
        stop = Event()
        reports: list[IngestReport] = []
        watched = docs.watch_table("fruit", every=0.1, stop=stop)
        watching = Thread(target=lambda: reports.extend(watched))
        watching.start()
        try:
            wait_for(lambda: len(docs.runs()) == 1 and docs.runs()[0].state == "done")
            wait_for(lambda: looks(database_url) > 4)
            user.execute("DELETE FROM fruit WHERE id = 3")
            wait_for(lambda: any(one.removed for one in docs.runs()))
        finally:
            stop.set()
            watching.join()
    assert [(one.new, one.removed) for one in docs.runs()] == [(0, 1), (3, 0)]
    assert len(reports) == 2


def looks(url: str) -> int:
    return int(rows(url, "SELECT runs FROM pgrecall.sources")[0][0])


def wait_for(condition: Any) -> None:
    for _ in range(600):
        if condition():
            return
        Event().wait(0.05)
    raise AssertionError("It did not happen.")


def test_pages_are_sent_whole_while_a_generation_lacks_them(
    docs: Collection, site: Site, database_url: str
) -> None:
    url = site.page("/olives", "Olives", ETag='"1"')
    docs.ingest(url, options=OPTIONS)
    docs.ingest(url, options=OPTIONS)
    assert site.asked[-1][2] == 304
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE pgrecall.documents SET generations = '{}'")
    assert docs.ingest(url, options=OPTIONS).changed == 1
    assert site.asked[-1][2] == 200
    docs.reindex(embedder=TinyEmbedder(dimensions=4, name="other"))
    assert docs.ingest(url, options=OPTIONS).unchanged == 1
    assert site.asked[-1][2] == 200
    docs.activate()
    assert docs.ingest(url, options=OPTIONS).unchanged == 1
    assert site.asked[-1][2] == 304


def test_a_renamed_file_keeps_its_vectors_in_every_generation(db: Database, folder: Path) -> None:
    first, second = TinyEmbedder(), TinyEmbedder(dimensions=4, name="other")
    docs = db.create_collection("docs", embedder=first)
    docs.ingest(folder)
    docs.reindex(embedder=second)
    seen = len(first.seen), len(second.seen)
    (folder / "quinces.txt").rename(folder / "renamed.txt")
    report = docs.ingest(folder, sync=True)
    assert (report.renamed, report.embedded) == (1, 0)
    assert (len(first.seen), len(second.seen)) == seen
    docs.activate()
    found = {hit.uri.rpartition("/")[2] for hit in docs.search("know", mode="vector", k=10)}
    assert found == {"olives.txt", "renamed.txt", "figs.txt"}


def test_what_waits_for_a_worker_stays_in_step_too(
    docs: Collection, folder: Path, site: Site, database_url: str
) -> None:
    page = site.page("/olives", "Olives", ETag='"1"')
    assert docs.enqueue([folder, page], options=OPTIONS).queued == 4
    drain(database_url)
    assert docs.ingest([folder, page], options=OPTIONS, sync=True).unchanged == 4
    (folder / "figs.txt").write_text("Figs are flowers.")
    assert docs.enqueue(folder).queued == 1
    (folder / "figs.txt").unlink()
    assert docs.ingest(folder, sync=True).removed == 1
    drain(database_url)
    found = {hit.uri.rpartition("/")[2] for hit in docs.search("know", mode="vector", k=10)}
    assert found == {"olives.txt", "quinces.txt", "olives"}


def drain(url: str) -> None:
    async def main() -> None:
        async with pgrecall.connect_async(url) as db:
            await db.work(WorkerOptions(drain=True), embedders=[TinyEmbedder()])

    asyncio.run(main())


def test_attachments_come_and_go_with_their_message(docs: Collection, folder: Path) -> None:
    message = EmailMessage()
    message["Subject"] = "Plums"
    message.set_content("Plums are attached.")
    message.add_attachment("The plums themselves.", filename="plums.txt")
    (folder / "plums.eml").write_bytes(bytes(message))
    assert docs.ingest(folder, sync=True).new == 5
    (folder / "copy.txt").write_text("The plums themselves.")
    report = docs.ingest(folder, sync=True)
    assert (report.new, report.renamed, report.removed) == (1, 0, 0)
    (folder / "plums.eml").unlink()
    assert docs.ingest(folder, sync=True).removed == 2


def test_pages_are_parsed_within_limits(docs: Collection, site: Site) -> None:
    url = site.page("/long", "Long")
    site.pages["/long"].body = b"<html><body>" + b"<p>Much text.</p>" * 100_000 + b"</body></html>"
    options = LoadOptions(allow_private=True, parse_seconds=1e-6)
    (failure,) = docs.ingest(url, options=options).failed
    assert "parse_seconds" in failure.reason
