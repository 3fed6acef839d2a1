from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import psycopg
import pytest

import pgrecall
from tests.acceptance.conftest import Cli, assert_whole, command, lines

#: A model that takes short texts, at a price that nobody knows.
SHORT = "openai:of-our-own@64?max_tokens=128"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "olives.md").write_text(
        "---\nkind: fruit\nyear: 2021\n---\n# Olives\n\nOlives ripen in November.\n"
    )
    (folder / "quinces.md").write_text(
        "---\nkind: fruit\nyear: 1999\n---\n# Quinces\n\nA quince is hard and sour when raw.\n"
    )
    (folder / "tools.txt").write_text("A hammer drives nails. A saw cuts planks.\n")
    (folder / "empty.txt").touch()
    return folder


@pytest.mark.parametrize("way", ["cli", "process"])
def test_ingest_reports_and_search_finds(
    way: str, notes: Path, database_url: str, request: pytest.FixtureRequest
) -> None:
    cli: Cli = request.getfixturevalue(way)
    (report,) = lines(cli("ingest", notes, "--json"))
    assert (report["new"], report["changed"], report["unchanged"]) == (3, 0, 0)
    assert [Path(failure["uri"]).name for failure in report["failed"]] == ["empty.txt"]
    assert assert_whole(database_url) == 3
    hits = lines(cli("search", "when are olives ripe", "--json", "-k", 2))
    assert Path(hits[0]["uri"]).name == "olives.md"
    assert hits[0]["metadata"] == {"kind": "fruit", "year": 2021}
    (again,) = lines(cli("ingest", notes, "--json"))
    assert (again["new"], again["unchanged"], again["embedded"]) == (0, 3, 0)


def test_people_get_sentences_and_results_go_to_standard_output(cli: Cli, notes: Path) -> None:
    done = cli("ingest", notes)
    assert done.returncode == 0
    assert "3 new" in done.stdout
    assert "1 failed" in done.stdout
    assert "empty.txt: The file is empty." in done.stderr
    found = cli("search", "hammer", "--mode", "text")
    assert "A hammer drives nails." in found.stdout
    assert found.stderr == ""
    assert cli("search", "zeppelin", "--mode", "text").stderr.strip() == "Nothing found."


def test_strict_makes_a_failure_fail(cli: Cli, notes: Path) -> None:
    assert cli("ingest", notes, "--strict").returncode == 1
    assert cli("ingest", notes / "empty.txt").returncode == 1, "nothing could be taken in"


def test_archives_of_a_folder_are_one_line_and_no_failure(cli: Cli, notes: Path) -> None:
    (notes / "old.zip").write_bytes(b"PK\x03\x04")
    (notes / "older.tar.gz").write_bytes(b"\x1f\x8b")
    said = f"{notes}: 2 archives were passed over (old.zip and older.tar.gz); unpack them"
    for way in ("--plan", "--sync", "--queue"):
        done = cli("ingest", notes, "--strict", way)
        assert done.stderr.count(said) == 1, way
    (report,) = lines(cli("ingest", notes, "--json"))
    assert report["notes"][0][1].startswith("2 archives")
    (notes / "empty.txt").unlink()
    assert cli("ingest", notes, "--strict").returncode == 0


def test_many_notes_are_cut_short(cli: Cli, notes: Path) -> None:
    for number in range(25):
        (notes / f"{number}.txt").write_bytes(f"Caf\xe9 number {number}.".encode("cp1252"))
    (notes / "old.zip").touch()
    told = [line for line in cli("ingest", notes).stderr.splitlines() if "error:" not in line]
    assert "old.zip was passed over" in told[0]
    assert "read as cp1252" in told[1]
    assert told[-1] == "... and 6 more; --json lists them all"


def test_filters(cli: Cli, notes: Path) -> None:
    cli("ingest", notes)
    where = json.dumps({"year": {"$lt": 2000}})
    hits = lines(cli("search", "fruit", "--where", where, "--json"))
    assert [Path(hit["uri"]).name for hit in hits] == ["quinces.md"]


def test_tenants_and_metadata(cli: Cli, notes: Path) -> None:
    cli("ingest", notes / "olives.md", "--tenant", "a", "--metadata", "shelf=3")
    cli("ingest", notes / "olives.md", "--tenant", "b")
    hits = lines(cli("search", "olives", "--json"))
    assert sorted(hit["tenant_id"] for hit in hits) == ["a", "b"]
    (only,) = lines(cli("search", "olives", "--tenant", "a", "--json"))
    assert only["metadata"]["shelf"] == "3"


def test_standard_input(cli: Cli) -> None:
    (report,) = lines(cli("ingest", "-", "--json", stdin="The ferry leaves at noon.\n"))
    assert report["new"] == 1
    (hit,) = lines(cli("search", "ferry", "--json"))
    assert hit["text"] == "The ferry leaves at noon."


def test_rows_with_named_fields(cli: Cli, tmp_path: Path) -> None:
    rows = tmp_path / "faq.csv"
    rows.write_text("nr,question,answer,team\n7,Refunds?,Within 14 days.,sales\n")
    cli("ingest", rows, "--text-field", "answer", "--title-field", "question", "--id-field", "nr",
        "--metadata-field", "team")  # fmt: skip
    (hit,) = lines(cli("search", "refunds", "--json"))
    assert (hit["text"], hit["title"]) == ("Within 14 days.", "Refunds?")
    assert hit["uri"].endswith("faq.csv#7")
    assert hit["metadata"] == {"team": "sales"}


def test_context_cites_what_is_there(cli: Cli, notes: Path, database_url: str) -> None:
    cli("ingest", notes)
    (context,) = lines(cli("context", "when are olives ripe", "--max-tokens", 200, "--json"))
    assert context["citations"]
    with psycopg.connect(database_url) as connection:
        for cited in context["citations"]:
            row = connection.execute(
                "SELECT text FROM pgrecall.documents WHERE document_id = %s", [cited["document_id"]]
            ).fetchone()
            assert row is not None
            assert row[0][cited["start"] : cited["end"]] == cited["quote"]
    printed = cli("context", "when are olives ripe", "--max-tokens", 200)
    assert printed.stdout.startswith("[1] ")


def test_what_comes_after_the_candidates(cli: Cli, notes: Path) -> None:
    cli("ingest", notes)
    hits = lines(cli("search", "fruit", "--json", "--also", "hammer", "--per-document", 1, "-k", 9))
    assert sorted(Path(hit["uri"]).name for hit in hits) == ["olives.md", "quinces.md", "tools.txt"]
    by_words = lines(cli("search", "quinces", "--json", "--vector-weight", 0, "-k", 9))
    by_rank = lines(cli("search", "quinces", "--json", "--fusion", "rrf", "-k", 9))
    assert by_words[0]["text_rank"] == 1
    assert max(hit["score"] for hit in by_rank) <= 2 / 61
    options = ("--recent", "year", "--half-life", 3650, "--deduplicate", "--diversity", 0.2)
    newest, *_ = lines(cli("search", "fruit", "--json", *options, "--expand", "section"))
    assert Path(newest["uri"]).name == "olives.md"
    assert cli("search", "x", "--min-similarity", 2).stderr.strip() == "Nothing found."
    assert "expand is" in cli("search", "x", "--expand", "page").stderr
    assert "--expand-by must go with expand" in cli("search", "x", "--expand-by", 2).stderr
    alone = cli("search", "x", "--half-life", 30)
    assert (alone.returncode, "--half-life is for --recent" in alone.stderr) == (2, True)


def test_a_reranker_that_fails_is_remarked_on(cli: Cli, notes: Path) -> None:
    cli("ingest", notes)
    nobody = {"CO_API_URL": "http://127.0.0.1:9"}
    for verb in ("search", "context"):
        done = cli(verb, "when are olives ripe", "--rerank", "cohere:m", **nobody)
        assert done.returncode == 0
        assert "Olives ripen in November." in done.stdout
        assert "The reranker cohere:m failed" in done.stderr
    refused = cli("search", "olives", "--rerank", "cohere:m")
    assert refused.returncode == 1
    assert "CO_API_KEY" in refused.stderr


def test_collections_status_delete_and_drop(cli: Cli, notes: Path) -> None:
    cli("ingest", notes, "-c", "a", "--chunk-tokens", 64, "--chunk-overlap", 0)
    (status,) = lines(cli("status", "-c", "a", "--json"))
    assert (status["documents"], status["failed"]) == (3, 1)
    assert status["indexed"]
    assert cli("delete", notes / "tools.txt", "-c", "a").stdout == "1 removed\n"
    assert cli("delete", notes / "tools.txt", "-c", "a").returncode == 1
    assert lines(cli("search", "hammer", "-c", "a", "--mode", "text", "--json")) == []
    assert cli("collections", "--drop", "a", "--yes").returncode == 0
    assert lines(cli("collections", "--json")) == []


def test_a_changed_file_replaces_its_old_version(cli: Cli, notes: Path) -> None:
    cli("ingest", notes)
    (notes / "tools.txt").write_text("A chisel cuts wood.\n")
    (report,) = lines(cli("ingest", notes, "--json"))
    assert (report["new"], report["changed"], report["unchanged"]) == (0, 1, 2)
    assert lines(cli("search", "hammer", "--mode", "text", "--json")) == []


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["search", "x"], 1, "no collection"),
        (["search", "x", "-c", "there", "--where", '{"a": {"$like": 1}}'], 1, "Unknown operator"),
        (["search", "x", "-c", "there", "-k", "0"], 1, "-k must be"),
        (["search", "x", "-c", "there", "--fusion", "sum"], 1, 'fusion must be "convex"'),
        (["search", "x", "-c", "there", "--per-document", "0"], 1, "--per-document must be"),
        (["worker", "--concurrency", "0"], 1, "--concurrency and --attempts are at least 1"),
        (["search", "", "-c", "there"], 1, "empty"),
        (["search", "x", "-c", "there", "--where", "{"], 2, "JSON"),
        (["search", "x", "-c", "there", "--mode", "magic"], 2, "hybrid"),
        (["ingest", "/nowhere/at/all"], 1, "no such file"),
        (["ingest", "x", "--embedder", "magic:model"], 1, "magic"),
        (["ingest", "x", "--embedder", "openai:text-embedding-3-small"], 1, "OPENAI_API_KEY"),
        (["ingest", "x", "--chunk-tokens", "-3"], 1, "--chunk-tokens must be a whole number"),
        (
            ["reindex", "there", "--chunk-tokens", "64", "--chunk-overlap", "60"],
            1,
            "--chunk-overlap (60) must be at most half of --chunk-tokens (64)",
        ),
        (
            ["reindex", "there", "--plan", "--embedder", SHORT, "--chunk-tokens", "512"],
            1,
            "takes at most 128 tokens, and chunks were to have up to 512: make --chunk-tokens smaller",
        ),
        (
            ["ingest", "x", "--plan", "-c", "new", "--embedder", SHORT, "--max-cost", "1"],
            1,
            "(--max-tokens).",
        ),
        (
            ["ingest", "x", "-c", "new", "--embedder", SHORT, "--max-cost", "1"],
            1,
            "(--max-tokens).",
        ),
        (["ingest", "x", "--metadata", "novalue"], 2, "KEY=VALUE"),
        (["collections", "--drop", "nothing", "--yes"], 1, "no collection"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_errors_are_a_sentence(
    cli: Cli, database_url: str, arguments: list[str], code: int, says: str
) -> None:
    with pgrecall.connect(database_url) as db:
        db.create_collection("there").ingest([pgrecall.Document(uri="x", text="something")])
    done = cli(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == "" or arguments[0] == "ingest"
    with pgrecall.connect(database_url) as db:
        assert "new" not in {there.name for there in db.collections()}


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://127.0.0.1:1/x", "refused"),
        ("postgresql://nobody-is-called-so.invalid/x", "No Postgres answers"),
        ("not a url", "no database URL"),
    ],
)
def test_a_wrong_address_is_a_sentence(cli: Cli, url: str, says: str) -> None:
    done = cli("search", "x", PGRECALL_DATABASE_URL=url)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_without_tables_says_what_to_run(cli: Cli, empty_database_url: str) -> None:
    done = cli("search", "x", PGRECALL_DATABASE_URL=empty_database_url)
    assert done.returncode == 1
    assert "pgrecall db upgrade" in done.stderr
    assert cli("db", "upgrade", PGRECALL_DATABASE_URL=empty_database_url).returncode == 0
    done = cli("search", "x", PGRECALL_DATABASE_URL=empty_database_url)
    assert "no collection" in done.stderr
    status = cli("db", "status", PGRECALL_DATABASE_URL=empty_database_url)
    assert "up to date" in status.stdout


def test_version_and_help(process: Cli, cli: Cli) -> None:
    assert process("--version").stdout.strip() == pgrecall.__version__
    usage = cli("--help").stdout
    for name in ("ingest", "search", "context", "ask", "collections", "status", "delete", "db"):
        assert f" {name} " in usage
        assert f"pgrecall {name} " in cli(name, "--help").stdout


def test_a_reader_that_has_seen_enough_is_no_error(
    cli: Cli, notes: Path, database_url: str
) -> None:
    cli("ingest", notes)
    done = subprocess.run(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            f"{' '.join(command('search', 'a', '--json'))} | head -n 1",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PGRECALL_DATABASE_URL": database_url},
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_the_embedded_server_serves_without_configuration(fast_tmp_path: Path, notes: Path) -> None:
    """What a new user does: no URL, no server, an empty home."""
    environment = {**os.environ, "PGRECALL_HOME": str(fast_tmp_path / "home")}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), capture_output=True, text=True, env=environment, timeout=120
        )

    assert "3 new" in run("ingest", notes).stdout
    assert "olives.md" in run("search", "when are olives ripe").stdout
    assert "stopped" in run("db", "status").stdout, "the last user stops the server"
    url = run("db", "start").stdout.strip()
    try:
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM pgrecall.documents").fetchone() == (4,)
        assert run("db", "url").stdout.strip() == url
        assert "running" in run("db", "status").stdout
        psql = run("db", "psql", "--", "-Atc", "SELECT count(*) FROM pgrecall.chunks")
        assert psql.stdout.strip() == "3"
    finally:
        assert run("db", "stop").returncode == 0
    assert run("db", "url").returncode == 1
    assert "stopped" in run("db", "status").stdout
