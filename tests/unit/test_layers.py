"""The floors of the package: a module imports from its own room and from the floors below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

import pgrecall

#: From the top down. A room is a module or a subpackage of pgrecall; rooms on one floor are strangers.
FLOORS: list[set[str]] = [
    {"__main__"},
    {"cli"},
    {"adapters"},
    {"__init__"},
    {"database"},
    {"connecting", "queueing"},
    {"creating"},
    {"collection"},
    {"searching", "generations", "ingesting", "exchanging"},
    {"arguments"},
    {"transfer", "worker"},
    {"reindex"},
    {"evaluate", "answer", "doctor"},
    {"ingest", "retrieve"},
    {"target"},
    {"candidates", "settle", "cutting"},
    {"chunking", "context", "load", "embed", "refine", "rerank", "store"},
    {"pipeline", "flow", "settings", "telemetry", "tokens", "exchange", "pictures", "longtext"},
    {"errors", "types", "keywords"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

PACKAGE = Path(pgrecall.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_down(module: Path) -> None:
    room = room_of(module)
    assert room in FLOOR_OF, f"{room} has no floor: give it one in FLOORS"
    source = (PACKAGE / module).read_text("utf-8")
    assert forbidden(room, source, package_of(module)) == []


@pytest.mark.parametrize(
    ("room", "line", "target"),
    [
        ("load", "from pgrecall.chunking import ChunkConfig", "chunking"),
        ("load", "from pgrecall import chunking", "chunking"),
        ("load", "import pgrecall.chunking.config", "chunking"),
        ("load", "from ..chunking import ChunkConfig", "chunking"),
        ("load", "def f():\n    from pgrecall import retrieve", "retrieve"),
        ("load", "if TYPE_CHECKING:\n    from pgrecall.database import Database", "database"),
        ("load", "from pgrecall import ChunkConfig", "__init__"),
        ("load", "import pgrecall", "__init__"),
        ("types", "from pgrecall.errors import PgrecallError", "errors"),
    ],
)
def test_an_import_that_points_elsewhere_is_found(room: str, line: str, target: str) -> None:
    assert [found for found, _ in forbidden(room, line, "pgrecall.load")] == [target]


@pytest.mark.parametrize(
    "line",
    ["import json", "from pgrecall import errors", "from pgrecall.load.text import decode"],
)
def test_an_import_that_points_down_or_stays_is_allowed(line: str) -> None:
    assert forbidden("load", line, "pgrecall.load") == []


def forbidden(room: str, source: str, package: str) -> list[tuple[str, int]]:
    """The rooms that ``source`` may not import, each with its line."""
    return [
        (target, line)
        for name, line in imported_names(ast.parse(source), package)
        if (target := room_of_name(name)) and not allowed(room, target)
    ]


def allowed(room: str, target: str) -> bool:
    return room == target or FLOOR_OF[room] < FLOOR_OF.get(target, -1)


def imported_names(tree: ast.Module, package: str) -> Iterator[tuple[str, int]]:
    """Full dotted names of everything imported, at the top of a module or anywhere inside it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            yield from ((f"{origin}.{alias.name}", node.lineno) for alias in node.names)


def room_of_name(name: str) -> str | None:
    """The room of a dotted name; None for other packages. A name of no room belongs to __init__."""
    package, _, rest = name.partition(".")
    if package != "pgrecall":
        return None
    room = rest.partition(".")[0]
    return room if is_room(room) else "__init__"


def is_room(name: str) -> bool:
    return name in FLOOR_OF or any(room_of(module) == name for module in MODULES)


def room_of(module: Path) -> str:
    return module.parts[0].removesuffix(".py")


def package_of(module: Path) -> str:
    return ".".join(["pgrecall", *module.parent.parts])
