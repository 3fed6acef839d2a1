"""Options of ``pgrecall ingest`` that make no sense together are refused before anything is opened."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pgrecall.cli import app


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "name files"),
        ("notes --table t", "name files"),
        ("--table t --sql q", "one of them"),
        ("notes --triggers", "--triggers is about"),
        ("notes --updated-field day", "--updated-field is about"),
        ("notes --every 3", "--every is about"),
        ("--table t --every 3", "--every goes with"),
        ("notes --queue --plan", "--queue"),
        ("notes --queue --sync", "--queue"),
        ("notes --queue --watch", "--queue"),
        ("notes --queue --max-tokens 3", "--queue"),
        ("--table t --queue", "--queue"),
        ("--table t --plan", "--plan"),
        ("notes --plan --watch", "--plan"),
        ("notes --watch --max-cost 1", "--max-tokens"),
        ("--table t --watch --full", "--full"),
        ("notes --allow-empty", "--allow-empty goes with"),
    ],
)
def test_what_makes_no_sense_together_is_refused(line: str, said: str) -> None:
    result = CliRunner().invoke(app, ["ingest", *line.split()], env={"COLUMNS": "300"})
    assert result.exit_code == 2
    assert said in result.output
