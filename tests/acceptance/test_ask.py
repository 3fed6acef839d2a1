"""``pgrecall ask``, answered by a local server."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgrecall
from tests.acceptance.conftest import Cli, Done
from tests.openai_server import Fault, OpenAIServer

QUESTION = "when are olives ripe"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as running:
        running.answer = "“Olives ripen in November.” [1] :smile:\t[bold]so[/bold]"
        yield running


@pytest.fixture
def ask(
    cli: Cli,
    database_url: str,
    tmp_path: Path,
    server: OpenAIServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Cli:
    """Run the command to its end on a database that holds one document."""
    (tmp_path / "olives.md").write_text("# Olives\n\nOlives ripen in November.\n")
    with pgrecall.connect(database_url) as db:
        db.create_collection("default").ingest(tmp_path / "olives.md")
    monkeypatch.setenv("PGRECALL_LLM_MODEL", "gpt-4o")
    monkeypatch.setenv("PGRECALL_LLM_BASE_URL", server.url)

    def run(*arguments: object) -> Done:
        return cli("ask", QUESTION, "--mode", "text", *arguments)

    return run


def test_an_answer_is_printed_with_its_sources(
    ask: Cli, tmp_path: Path, server: OpenAIServer
) -> None:
    done = ask()
    assert (done.returncode, done.stderr) == (0, "")
    answer, source = done.stdout.split("\n\n")
    assert answer == server.answer
    name, _, place = source.strip().rpartition(":")
    assert name == f"[1] {tmp_path / 'olives.md'}"
    start, end = map(int, place.split("-"))
    text = (tmp_path / "olives.md").read_text()
    assert "Olives ripen in November." in text[start:end]


def test_what_does_not_match_is_told(ask: Cli, server: OpenAIServer) -> None:
    server.answer = "“Olives ripen in May” [3]."
    done = ask()
    assert done.returncode == 0
    assert done.stdout == server.answer + "\n"
    assert done.stderr.splitlines() == [
        "The answer cites no passage.",
        'error: "Olives ripen in May" stands in no passage.',
        "error: [3] names no passage.",
    ]
    assert ask("--strict").returncode == 1


def test_json_holds_the_answer_and_the_check(ask: Cli, server: OpenAIServer) -> None:
    server.answer = "“Olives ripen in November.” [1] “Olives ripen in May” [3]."
    told = json.loads(ask("--json").stdout)
    assert (told["question"], told["answer"], told["model"]) == (QUESTION, server.answer, "gpt-4o")
    assert told["ok"] is False
    assert len(told["problems"]) == 2
    assert [quote["found"] for quote in told["quotes"]] == [True, False]
    assert [marker["number"] for marker in told["markers"] if marker["found"]] == [1]
    (place,) = told["quotes"][0]["places"]
    cited = told["citations"][place["number"] - 1]
    assert cited["quote"][place["start"] - cited["start"] :].startswith("Olives ripen in November.")
    assert ask("--json", "--strict").returncode == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault(status=401), "refuses the API key"),
        (Fault(refusal="No."), "gpt-4o refuses to answer: No."),
        (Fault(status=404), "has no model gpt-4o"),
    ],
)
def test_a_failure_is_a_sentence(ask: Cli, server: OpenAIServer, fault: Fault, says: str) -> None:
    for arguments in [], ["--json"]:
        server.faults = [fault]
        done = ask(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert says in done.stderr
        assert "Traceback" not in done.stderr


def test_an_answer_that_is_cut_is_printed_as_far_as_it_came(ask: Cli, server: OpenAIServer) -> None:
    server.faults = [Fault(cut=True)]
    done = ask()
    assert done.returncode == 1
    assert done.stdout.endswith("\n")
    assert server.answer.startswith(done.stdout.strip())
    assert "The connection to 127.0.0.1" in done.stderr
    server.faults = [Fault(cut=True)]
    assert ask("--json").stdout == ""


def test_ctrl_c_leaves_what_came(
    ask: Cli, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(text: str) -> None:
        sys.stdout.write(text)
        if text.strip():
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("pgrecall.cli.ask.write", write)
    done = ask()
    assert (done.returncode, done.stderr) == (130, "error: Stopped.\n")
    assert done.stdout.endswith("\n")
    assert server.answer.startswith(done.stdout.strip())


def test_without_a_model_it_says_what_to_set(ask: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGRECALL_LLM_BASE_URL")
    done = ask()
    assert done.returncode == 1
    assert "gpt-4o needs an API key: set OPENAI_API_KEY" in done.stderr
    monkeypatch.delenv("PGRECALL_LLM_MODEL")
    done = ask()
    assert (done.returncode, done.stdout) == (1, "")
    for name in ("PGRECALL_LLM_MODEL", "OPENAI_API_KEY", "PGRECALL_LLM_BASE_URL"):
        assert name in done.stderr


def test_options_win_over_settings(
    ask: Cli, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGRECALL_LLM_BASE_URL", "http://127.0.0.1:9")
    named = ["--model", "other", "--base-url", server.url]
    done = ask(*named, "--json")
    assert json.loads(done.stdout)["model"] == "other"
    assert ask("--order", "worst").returncode == 2
