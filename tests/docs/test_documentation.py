"""Every command and snippet of the README and of docs/ runs as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

import pgrecall

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```$", re.M | re.S)
#: Who runs a block that cannot run inside a test: the script that must contain it.
ELSEWHERE = {"run=ci": ROOT / ".ci" / "run", "run=docker": ROOT / "docker-compose.yml"}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    mark: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str) -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in FENCE.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            block = Block(page.name, line, found[1], found[2].strip(), found[3])
            if block.language == language:
                yield block


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks as the reader's does, shared by the blocks in their order."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


@pytest.fixture
def environment(documented_url: str, answering_url: str) -> dict[str, str]:
    scripts = str(Path(sys.executable).parent)
    path = os.pathsep.join([scripts, os.environ.get("PATH", "")])
    return {
        **os.environ,
        "PATH": path,
        "PGRECALL_DATABASE_URL": documented_url,
        "PGRECALL_LLM_BASE_URL": answering_url,
    }


@pytest.mark.parametrize("block", [b for b in blocks("bash") if not b.mark], ids=str)
def test_commands_run(block: Block, workplace: Path, environment: dict[str, str]) -> None:
    command = ["bash", "-euo", "pipefail", "-c", block.code]
    done = subprocess.run(
        command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip(), "a command of the documentation prints something"


@pytest.mark.parametrize("block", [b for b in blocks("bash") if b.mark], ids=str)
def test_other_commands_are_run_elsewhere(block: Block) -> None:
    script = ELSEWHERE[block.mark].read_text("utf-8")
    if block.mark == "run=ci":
        for command in block.code.strip().splitlines():
            assert command in script, f"{ELSEWHERE[block.mark].name} does not run {command!r}"
    else:
        assert "PGRECALL_DB_PASSWORD" in script


@pytest.mark.parametrize("block", list(blocks("python")), ids=str)
def test_snippets_run(block: Block, workplace: Path, environment: dict[str, str]) -> None:
    # ```python needs=PACKAGE is a snippet for those who have that extra.
    package = block.mark.removeprefix("needs=")
    if package and find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    command = [sys.executable, "-W", "error", "-c", block.code]
    done = subprocess.run(
        command, cwd=workplace, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "a snippet of the documentation prints something"


@pytest.fixture(scope="module")
def demo_rows(documented_url: str) -> str:
    with pgrecall.connect(documented_url) as db:
        docs = db.create_collection("demo", exist_ok=True)
        docs.ingest([ROOT / "examples" / "solar-system"])
    return documented_url


@pytest.mark.parametrize("block", list(blocks("sql")), ids=str)
def test_queries_run(block: Block, demo_rows: str) -> None:
    with psycopg.connect(demo_rows) as connection:
        cursor = connection.execute(block.code.encode())
        rows = cursor.fetchall()
        assert rows or "error IS NOT NULL" in block.code
        if "AS exact" in block.code:
            assert rows[0][0] == rows[0][1] > 0


def test_every_block_is_known() -> None:
    found = {
        block.language
        for page in PAGES
        for block in (
            Block(page.name, 0, m[1], m[2], m[3]) for m in FENCE.finditer(page.read_text("utf-8"))
        )
    }
    assert found <= {"bash", "python", "sql", "text"}, "a block of an unknown kind is not run"
