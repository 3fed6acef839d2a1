"""The public names, and what importing them costs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

import pgrecall

#: What takes long to import; nothing that can do without may pay for it.
HEAVY = {
    "alembic",
    "cohere",
    "haystack",
    "httpx",
    "langchain_core",
    "llama_index",
    "mcp",
    "numpy",
    "openai",
    "psycopg",
    "pydantic",
    "pypdf",
    "rich",
    "sentence_transformers",
    "sqlalchemy",
    "torch",
    "typer",
}


def test_all_is_sorted_and_has_no_name_twice() -> None:
    assert pgrecall.__all__ == sorted(set(pgrecall.__all__))


@pytest.mark.parametrize("name", pgrecall.__all__)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert inspect.getdoc(getattr(pgrecall, name))


def test_nothing_else_is_public() -> None:
    visible = {
        name
        for name, value in vars(pgrecall).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert visible - set(pgrecall.__all__) == {"annotations"}
    assert set(pgrecall.__all__) <= set(dir(pgrecall))
    assert not hasattr(pgrecall, "nothing_of_that_name")


def test_the_version_is_a_release_number() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", pgrecall.__version__)


@pytest.mark.parametrize(
    ("code", "needed"),
    [
        ("import pgrecall", set()),
        ("import pgrecall; pgrecall.Document", set()),
        ("import pgrecall; pgrecall.connect", {"numpy", "psycopg"}),
        ("import pgrecall.cli", {"typer"}),
    ],
)
def test_importing_is_light_and_silent(code: str, needed: set[str]) -> None:
    code += f"; import sys; sys.exit(' '.join({HEAVY} & sys.modules.keys() ^ {needed}) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
