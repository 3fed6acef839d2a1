from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pgrecall.embed import Embedder, can_await, open_embedder
from pgrecall.errors import CredentialsMissing, InvalidArgument
from pgrecall.tokens import Tokenizer, open_tokenizer
from pgrecall.types import FloatArray


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


class Ready:
    """An embedder of the user's own."""

    name = "mine"
    dimensions = 2
    max_tokens = 100

    @property
    def tokenizer(self) -> Tokenizer:
        return open_tokenizer("cl100k_base")

    def embed_documents(self, texts: Sequence[str]) -> FloatArray:
        return np.full((len(texts), 2), 0.5**0.5, dtype=np.float32)

    def embed_query(self, text: str) -> FloatArray:
        return np.array([0.6, 0.8], dtype=np.float32)


def test_an_embedder_of_the_users_own_is_taken_as_it_is() -> None:
    ready = Ready()
    assert open_embedder(ready) is ready


def test_an_object_that_is_no_embedder_is_told_what_it_lacks() -> None:
    class Half:
        name = "half"
        dimensions = 2

        def embed_query(self, text: str) -> FloatArray:
            raise NotImplementedError

    half: Any = Half()
    with pytest.raises(InvalidArgument, match="has no max_tokens, tokenizer, embed_documents"):
        open_embedder(half)


def test_checking_an_object_reads_none_of_its_properties() -> None:
    class Remote(Ready):
        @property
        def tokenizer(self) -> Tokenizer:
            raise AssertionError("a server would have been asked")

    open_embedder(Remote())


def test_options_do_not_go_with_a_ready_embedder() -> None:
    with pytest.raises(InvalidArgument, match="not to a ready one"):
        open_embedder(Ready(), api_key="x")


@pytest.mark.parametrize("name", ["", "statik", "voyage:voyage-3", "Static"])
def test_an_unknown_name_is_answered_with_those_there_are(name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"there are: static, openai:MODEL\[@DIMENSIONS\]"):
        open_embedder(name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("openai", {}, r"write openai:MODEL"),
        ("openai:", {}, r"write openai:MODEL"),
        ("static:large", {}, r"write static"),
        ("static", {"dimensions": 64}, r"takes no options; got dimensions"),
        ("openai:m", {"colour": 1}, r"no option colour; there are: dimensions, query_prompt"),
        ("openai:m", {"concurrency": 0}, r"concurrency has to be positive"),
        ("openai:m", {"encoding_format": "int8"}, r"base64 or float"),
        ("openai:m@", {}, r"After @ comes a number"),
        ("openai:m@many", {}, r"got 'many'"),
        ("openai:m@0", {}, r"not 0"),
        ("openai:m@8", {"dimensions": 9}, r"8 dimensions and the option for 9"),
        ("openai:text-embedding-3-small@1537", {}, r"1 to 1536 dimensions, not 1537"),
        ("openai:text-embedding-ada-002@256", {}, r"always has 1536 dimensions, not 256"),
        ("openai:m", {"base_url": "localhost:8000"}, r"http://localhost"),
        ("openai:m", {"api_key": "geh\N{LATIN SMALL LETTER E WITH ACUTE}im"}, r"OPENAI_API_KEY"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        open_embedder(name, **options)


@pytest.mark.parametrize("key", [None, "", "  "])
def test_a_missing_key_is_noticed_before_any_work(
    key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key is not None:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(CredentialsMissing, match="OPENAI_API_KEY"):
        open_embedder("openai:text-embedding-3-small")


def test_importing_the_package_loads_no_vendor() -> None:
    code = (
        "import sys; from pgrecall.embed import open_embedder; open_embedder('static');"
        "print([m for m in ('openai', 'cohere', 'torch', 'wordllama', 'requests', 'logging.config') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("openai:m", "openai", "openai"),
        ("azure:m", "openai", "openai"),
        ("cohere:embed-v4.0", "cohere", "cohere"),
        ("sentence-transformers:m", "sentence_transformers", "sentence-transformers"),
    ],
)
def test_a_missing_package_names_the_extra(name: str, package: str, extra: str) -> None:
    code = (
        "import sys\n"
        "from pgrecall.embed import open_embedder\n"
        "from pgrecall.errors import MissingExtra\n"
        f"sys.modules[{package!r}] = None\n"
        f"try: open_embedder({name!r})\n"
        "except MissingExtra as exc: print(exc.__cause__.name, exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{package} ")
    assert done.stdout.count(f"pip install 'pgrecall[{extra}]'") == 1


def test_what_is_opened_satisfies_the_protocol() -> None:
    static: Embedder = open_embedder("static")
    assert isinstance(static, Embedder)
    with_key = open_embedder("openai:text-embedding-3-large@1024", api_key="k")
    assert isinstance(with_key, Embedder)


def test_whether_an_embedder_can_be_awaited_is_known_without_asking_its_server() -> None:
    nobody = "http://127.0.0.1:9/v1"
    assert can_await(open_embedder("openai:unheard-of", base_url=nobody))
    assert can_await(open_embedder("static"))
    assert not can_await(Ready())
