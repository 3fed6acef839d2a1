"""Without its package an adapter says which extra brings it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from pgrecall.adapters.asking import checked
from pgrecall.adapters.extras import needs
from pgrecall.errors import InvalidArgument, MissingExtra

ADAPTERS = [
    ("langchain", "langchain_core", "langchain"),
    ("llama_index", "llama_index", "llama-index"),
    ("haystack", "haystack", "haystack"),
    ("mcp", "mcp", "mcp"),
]


@pytest.mark.parametrize(("module", "package", "extra"), ADAPTERS)
def test_a_missing_package_is_named_by_its_extra(
    module: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent:
        def find_spec(self, name: str, *_: object) -> None:
            if name.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [*sys.modules]:
        if name.partition(".")[0] == package or name == f"pgrecall.adapters.{module}":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(MissingExtra, match=rf"pip install 'pgrecall\[{extra}\]'"):
        importlib.import_module(f"pgrecall.adapters.{module}")


def test_another_missing_package_is_not_blamed_on_the_extra() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needs("mcp", "mcp"):
        importlib.import_module("no_such_module")


def test_the_command_says_so_too() -> None:
    code = "import sys; sys.modules['mcp'] = None; sys.argv[1:] = ['mcp']; import pgrecall.cli as c; c.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "pgrecall[mcp]" in done.stderr


def test_an_option_that_no_search_has_is_refused() -> None:
    assert checked({"k": 3, "where": None}) == {"k": 3, "where": None}
    with pytest.raises(InvalidArgument, match="no option top_k"):
        checked({"top_k": 3})
