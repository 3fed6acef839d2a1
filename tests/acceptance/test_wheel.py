"""What a release holds: the wheel has everything that runs, the source archive builds the same wheel."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import BytesParser
from pathlib import Path

import pytest

import pgrecall

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
#: What a checkout gathers beside the files of the package.
LITTER = {"__pycache__", ".DS_Store"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "--sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "--wheel", tmp_path_factory.mktemp("wheel"))


def test_the_wheel_has_the_package_and_the_migrations(wheel: Path) -> None:
    expected = files_below(ROOT / "src" / "pgrecall", "pgrecall")
    expected |= files_below(ROOT / "migrations", "pgrecall/migrations")
    assert {name for name in names(wheel) if name.startswith("pgrecall/")} == expected


@pytest.mark.parametrize(
    "name",
    [
        "pgrecall/py.typed",
        "pgrecall/data/cl100k_base.tiktoken",
        "pgrecall/data/o200k_base.tiktoken",
        "pgrecall/store/functions/search_v1.sql",
        "pgrecall/migrations/env.py",
        "pgrecall/migrations/versions/0001_foundation.py",
    ],
)
def test_the_wheel_has_what_is_not_imported(wheel: Path, name: str) -> None:
    assert name in names(wheel)


def test_the_wheel_has_nothing_else(wheel: Path) -> None:
    info = f"pgrecall-{pgrecall.__version__}.dist-info"
    others = {name for name in names(wheel) if not name.startswith("pgrecall/")}
    assert others == {
        f"{info}/{name}"
        for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }


def test_the_metadata_says_what_the_project_says(wheel: Path) -> None:
    found, project = metadata(wheel), PYPROJECT["project"]
    assert found["Version"] == pgrecall.__version__
    assert found["License-Expression"] == project["license"]
    assert found["Requires-Python"] == project["requires-python"]
    assert set(found.get_all("Provides-Extra", [])) == set(project["optional-dependencies"])


def test_the_source_archive_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    rebuilt = build(tmp_path / sdist.name.removesuffix(".tar.gz"), "--wheel", tmp_path / "dist")
    assert contents(rebuilt) == contents(wheel)


def test_the_source_archive_can_be_tested(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        below = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "constraints.txt", "docker-compose.yml", "tests/conftest.py"} <= below


def build(source: Path, kind: str, target: Path) -> Path:
    """The file that `python -m build` makes; with the installed hatchling, so without network."""
    command = [sys.executable, "-m", "build", "--no-isolation", kind, "--outdir", str(target)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = target.iterdir()
    return made


def files_below(folder: Path, prefix: str) -> set[str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    kept = (path.relative_to(folder) for path in paths if not LITTER & set(path.parts))
    return {f"{prefix}/{path.as_posix()}" for path in kept}


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def contents(wheel: Path) -> dict[str, int]:
    """Each file with its checksum."""
    with zipfile.ZipFile(wheel) as archive:
        return {entry.filename: entry.CRC for entry in archive.infolist()}


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        return BytesParser().parsebytes(archive.read(name))
