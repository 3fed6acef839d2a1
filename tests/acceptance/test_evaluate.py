"""``pgrecall eval``, ``similar`` and ``search --explain``, as users call them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any


def test_commands_that_look_at_searches(cli: Any, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "\n".join(
            json.dumps({"id": str(n), "text": f"number {n} of {n % 97} and {n % 61} things"})
            for n in range(2500)
        )
    )
    assert cli("ingest", rows, "-q").returncode == 0

    shown = cli("eval", "recall", "--questions", "20")
    assert shown.returncode == 0
    assert "ef_search    40  recall@10" in shown.stdout
    assert "searches take " in shown.stdout
    printed = json.loads(cli("eval", "recall", "--questions", "20", "--json").stdout)
    assert {*printed} == {
        "curve",
        "previous",
        "target",
        "ef_search",
        "previous_ef_search",
        "questions",
        "logged",
        "stand_ins",
    }
    assert "Measured with 20 questions, 0 of them logged." in shown.stderr

    assert "log_queries: True" in cli("configure", "--log-queries", "--recall", "0.9").stdout
    assert cli("search", "which number is it", "-k", "1").returncode == 0
    printed = json.loads(cli("eval", "recall", "--questions", "20", "--json").stdout)
    assert (printed["logged"], printed["target"]) == (1, 0.9)
    forgotten = cli("configure", "--no-log-queries", "--clear-queries")
    assert "1 question forgotten." in forgotten.stderr
    assert "log_queries: False" in forgotten.stdout
    refused = cli("configure", "--text-search", "pg_textsearch")
    assert refused.returncode == 0 or "CREATE EXTENSION pg_textsearch" in refused.stderr
    assert cli("configure", "--text-search", "built-in").returncode == 0

    found = cli("search", "number 7 of 7", "--explain", "--recall", "0.9", "--prefix", "nowhere")
    assert found.stdout == ""
    assert "Nothing found." in found.stderr
    explained = cli("search", "number 7 of 7", "--explain", "-k", "1")
    assert "vector: hnsw, ef_search" in explained.stderr
    assert "text: text" in explained.stderr
    assert re.search(
        r"^embed [\d.]+ ms, search [\d.]+ ms, refine [\d.]+ ms$", explained.stderr, re.M
    )

    uri = json.loads(cli("search", "number 7 of 7", "-k", "1", "--json").stdout)["uri"]
    alike = [json.loads(line) for line in cli("similar", uri, "--json").stdout.splitlines()]
    assert len(alike) == 5
    assert uri not in {hit["uri"] for hit in alike}
    assert "has no document" in cli("similar", "no such document").stderr


def test_a_collection_that_is_too_small_to_measure(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("A few words.")
    assert cli("ingest", tmp_path / "a.txt", "-q").returncode == 0
    refused = cli("eval", "recall")
    assert refused.returncode == 1
    assert "its recall is 1" in refused.stderr


def test_models_side_by_side(cli: Any, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name in ("amber", "basalt", "cedar"):
        (folder / f"{name}.txt").write_text(f"All that is known of {name} stands here.")
    questions = tmp_path / "q.jsonl"
    relevant = [str(folder / "amber.txt")]
    questions.write_text(json.dumps({"query": "what is known of amber", "relevant": relevant}))
    plot = tmp_path / "models.svg"
    options = ["--queries", questions, "--plot", plot]
    shown = cli("eval", "models", "--embedders", "static", folder, *options)
    assert shown.returncode == 0, shown.stderr
    assert "nDCG@10" in shown.stdout
    assert "static" in shown.stdout
    assert "3 documents; quality is measured with 1 judged questions." in shown.stderr
    assert "without judgements" not in shown.stderr
    assert plot.read_text().startswith("<svg")
    questions.write_text("what is known of amber\nwhat is cedar\n")
    unjudged = cli("eval", "models", "--embedders", "static", folder, "--queries", questions)
    assert "3 documents; quality is measured with 3 pieces of the texts" in unjudged.stderr
    assert "2 questions without judgements count for overlap and p50 only." in unjudged.stderr

    assert cli("ingest", folder, "-q").returncode == 0
    mixed = cli("eval", "models", "--embedders", "static, none", "--json")
    assert mixed.returncode == 1
    static, failed = json.loads(mixed.stdout)["models"]
    assert static["metrics"]["R@10"] == 1.0
    assert "There is no embedder 'none'" in failed["error"]
    assert "pgrecall-eval" not in cli("collections").stdout
    refused = cli("eval", "models", "--embedders", "static", "--plot", tmp_path / "a.png")
    assert refused.returncode == 2
