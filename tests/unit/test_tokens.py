"""Tokenizers: the same tokens as the originals, and offsets that fit them."""

from __future__ import annotations

import hashlib
import inspect
import json
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken import Encoding, get_encoding
from tokenizers import Tokenizer as Backend

from pgrecall.errors import InvalidArgument
from pgrecall.tokens import Separable, Tokenizer, bpe, last_seam, open_tokenizer, words
from pgrecall.tokens.cache import WordCache
from pgrecall.tokens.huggingface import HuggingFaceTokenizer, wordllama_file
from pgrecall.tokens.words import WordTokenizer

MARK = "\u2581"
#: The digests that tiktoken itself checks the files against.
SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
}
NAMES = [*SHA256, "wordllama"]

FRAGMENTS = st.sampled_from(
    [
        "word",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        ".",
        "Don't",
        "123456",
        "naïve",
        "漢字かな",
        "。",
        "👩‍👩‍👧‍👦",
        "🇩🇪",
        "e\u0301\u0323",
        "<s>",
        "</s>",
        "<unk>",
        "<0x41>",
        "<|endoftext|>",
        "\x00",
        "كتاب",
        "हिन्दी",
        "\u00a0",
        "\u3000",
        "\ufb01",
        "\u2028",
        "don’t",
        "\u017f",
        "()",
        "``",
        "=====",
        ", ",
        MARK,
        f"{MARK}a",
        " " + MARK,
        "x" * 70,
        "\ud800",
    ]
)
TEXTS = st.lists(FRAGMENTS | st.text(max_size=6), max_size=25).map("".join)


@cache
def original() -> Backend:
    """The tokenizer of wordllama, as the package that it was made with runs it."""
    backend = Backend.from_file(str(wordllama_file()))
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def original_ids(text: str) -> list[int]:
    ids: list[int] = original().encode(text, add_special_tokens=False).ids
    return ids


@pytest.fixture(params=NAMES)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return open_tokenizer(request.param)


@pytest.mark.parametrize("name", SHA256)
def test_a_bundled_encoding_is_the_original_file(name: str) -> None:
    data = resources.files("pgrecall").joinpath(f"data/{name}.tiktoken").read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256[name]


@pytest.fixture(scope="module")
def cache_of_tiktoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which tiktoken finds the bundled files under the names that it gives to downloads."""
    folder = tmp_path_factory.mktemp("tiktoken")
    for name in SHA256:
        url = f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"
        data = resources.files("pgrecall").joinpath(f"data/{name}.tiktoken").read_bytes()
        (folder / hashlib.sha1(url.encode()).hexdigest()).write_bytes(data)
    return folder


@pytest.fixture(scope="module", params=SHA256)
def originals(request: pytest.FixtureRequest, cache_of_tiktoken: Path) -> tuple[str, Encoding]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(cache_of_tiktoken))
        return request.param, get_encoding(request.param)


@settings(max_examples=300)
@given(text=TEXTS)
def test_a_bundled_encoding_equals_tiktokens_own(
    originals: tuple[str, Encoding], text: str
) -> None:
    name, original = originals
    text = text.encode("utf-8", "replace").decode()
    assert open_tokenizer(name).encode(text) == original.encode_ordinary(text)


#: What decides over words: white space, about which Python and tiktoken do not quite agree, and what is near.
BLANKS = st.lists(
    st.sampled_from(
        [
            *filter(str.isspace, map(chr, range(0x3001))),
            *" \t\n\r",
            *"aZ7_-/('\"\x00\x15\x16\x17\x7f\u180e\u200b",
            *("Word", "'s", "'LL", "...", "\r\n", "   ", "é", "漢", "\u0301"),
        ]
    ),
    max_size=30,
).map("".join)


@pytest.mark.parametrize("name", SHA256)
@settings(max_examples=500, deadline=None)
@given(text=BLANKS)
def test_words_between_blanks_have_tiktokens_tokens(name: str, text: str) -> None:
    expected = bundled(name).encode_ordinary(text)
    tokenizer = open_tokenizer(name)
    assert tokenizer.encode(text) == expected
    assert tokenizer.count(text) == len(tokenizer.starts(text)) == len(expected)


@cache
def bundled(name: str) -> Encoding:
    return bpe.bundled_encoding(name)


def test_the_room_for_words_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgrecall.tokens.cache.ROOM", 20_000)
    asked: list[str] = []

    def encode(word: str) -> list[int]:
        asked.append(word)
        return [len(word)]

    words = WordCache(encode)
    for start in range(0, 2_000, 50):
        # Two that come again, among many that do not.
        words.tokens(["the", "of", *(f"word{number}" for number in range(start, start + 50))])
    assert len(words._latest) + len(words._former) < 400
    assert len(asked) == 2_000 + 2


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("gpt-4.1-nano", "o200k_base"),
        ("gpt-5-mini", "o200k_base"),
        ("o3-mini", "o200k_base"),
        ("openai/gpt-4o-mini", "o200k_base"),
        ("gpt-oss-20b", "o200k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("text-embedding-3-small", "cl100k_base"),
    ],
)
def test_a_model_is_read_with_its_encoding(model: str, encoding: str) -> None:
    assert open_tokenizer(model) is open_tokenizer(encoding)
    assert open_tokenizer(encoding).name == encoding


def test_an_encoding_that_cannot_be_had_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(InvalidArgument, match="TIKTOKEN_CACHE_DIR"):
        open_tokenizer("text-davinci-003")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", []),
        ("hello world", [15339, 1917]),
        ("<|endoftext|>", [27, 91, 8862, 728, 428, 91, 29]),
        ("tiktoken is great!", [83, 1609, 5963, 374, 2294, 0]),
        ("お誕生日おめでとう", [33334, 45918, 243, 21990, 9080, 33334, 62004, 16556, 78699]),
    ],
)
def test_cl100k_gives_the_known_ids(text: str, ids: list[int]) -> None:
    assert open_tokenizer("cl100k_base").encode(text) == ids


def test_wordllama_equals_the_original_on_real_text() -> None:
    tokenizer = open_tokenizer("wordllama")
    for module in (inspect, json, pytest, Path):
        source = Path(inspect.getfile(module)).read_text(encoding="utf-8")
        assert tokenizer.encode(source) == original_ids(source)


@settings(max_examples=300)
@given(TEXTS)
def test_wordllama_equals_the_original(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert open_tokenizer("wordllama").encode(text) == original_ids(text)


@pytest.mark.parametrize(
    "text", [MARK, MARK * 3, f"{MARK}hello", f"a {MARK} b", f" {MARK}", " ", "  a"]
)
def test_wordllama_and_its_own_mark_of_a_space(text: str) -> None:
    assert open_tokenizer("wordllama").encode(text) == original_ids(text)


@settings(max_examples=50)
@given(st.lists(TEXTS, max_size=6))
def test_encode_ragged_is_encode_of_each(texts: list[str]) -> None:
    tokenizer = open_tokenizer("wordllama")
    assert isinstance(tokenizer, WordTokenizer)
    ids, lengths = tokenizer.encode_ragged(texts)
    each = [tokenizer.encode(text) for text in texts]
    assert lengths.tolist() == [len(line) for line in each]
    assert ids.tolist() == [token for line in each for token in line]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150)
@given(text=TEXTS)
def test_starts_ascend_and_match_the_tokens(name: str, text: str) -> None:
    tokenizer = open_tokenizer(name)
    starts = tokenizer.starts(text)
    assert len(starts) == tokenizer.count(text) == len(tokenizer.encode(text))
    assert (np.diff(starts) >= 0).all()
    assert not len(starts) or (starts[0] == 0 and starts[-1] < len(text))


@pytest.mark.parametrize(
    ("name", "text", "starts"),
    [
        ("cl100k_base", "hello world, ok", [0, 5, 11, 12]),
        ("wordllama", "hello world, ok", [0, 5, 11, 12]),
        # Each of the three bytes of the character is a token.
        ("wordllama", "a\u0f00b", [0, 1, 1, 1, 2]),
        ("cl100k_base", "a\u0f00b", [0, 1, 1, 2]),
    ],
)
def test_starts_are_offsets_of_characters(name: str, text: str, starts: list[int]) -> None:
    assert open_tokenizer(name).starts(text).tolist() == starts


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=200)
@given(texts=st.tuples(TEXTS, TEXTS))
def test_a_seam_parts_the_tokens_whatever_lies_around(name: str, texts: tuple[str, str]) -> None:
    tokenizer = open_tokenizer(name)
    assert isinstance(tokenizer, Separable)
    other, text = texts
    starts = tokenizer.starts(text)
    for match in tokenizer.seams.finditer(text):
        left, right, joint = text[: match.start()], text[match.start() :], text[match.start() - 1]
        before = int(np.searchsorted(starts, match.start()))
        assert tokenizer.count(left) == before
        assert tokenizer.count(joint + right) - tokenizer.count(joint) == len(starts) - before
        # Only the two characters decide, so what else stands before the seam can be anything.
        assert tokenizer.seams.match(joint + right, 1)
        assert tokenizer.starts(other + joint + right).tolist() == [
            *tokenizer.starts(other + joint).tolist(),
            *(starts[before:] - len(left) + len(other) + 1).tolist(),
        ]
        # Asked for, the last one of a part of the text is found.
        found = last_seam(tokenizer.seams).match(text, 0, match.start() + 1)
        assert found
        assert found.end() == match.start()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=150)
@given(text=TEXTS, limit=st.integers(-1, 20))
def test_truncate_gives_a_prefix_within_the_limit(name: str, text: str, limit: int) -> None:
    tokenizer = open_tokenizer(name)
    prefix = tokenizer.truncate(text, limit)
    assert text.startswith(prefix)
    assert tokenizer.count(prefix) <= max(limit, 0)
    assert prefix == text or tokenizer.count(text) > limit


def test_truncate_keeps_as_many_tokens_as_allowed(tokenizer: Tokenizer) -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 2000
    for limit in (1, 10, 1000):
        prefix = tokenizer.truncate(text, limit)
        assert tokenizer.count(prefix) == limit
        assert tokenizer.encode(text)[:limit] == tokenizer.encode(prefix)


def test_lone_surrogates_count_like_the_replacement_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")
    assert tokenizer.starts("a\ud800b").tolist() == tokenizer.starts("a\ufffdb").tolist()


def test_long_texts_are_encoded_in_slices_without_a_trace() -> None:
    line = "Every good boy, 4 of them, deserves «fun»; naïve 漢字.\n"
    tokenizer = open_tokenizer("cl100k_base")
    copies = (1 << 20) // len(line) + 1000
    assert tokenizer.count(line * copies) == tokenizer.count(line) * copies


def test_the_same_name_gives_the_same_tokenizer(tokenizer: Tokenizer) -> None:
    assert open_tokenizer(tokenizer.name) is tokenizer


@pytest.mark.parametrize("name", ["nonsense", "", "gpt-none", "/no/such/tokenizer.json"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="There is no tokenizer"):
        open_tokenizer(name)


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"tokenizer\.json"):
        open_tokenizer(str(path))


def test_any_tokenizer_json_can_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    vocabulary = {"[UNK]": 0, "good": 1, "boy": 2, ",": 3}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [],
                "model": model,
                "pre_tokenizer": {"type": "Whitespace"},
            }
        ),
        encoding="utf-8",
    )
    tokenizer = open_tokenizer(str(path))
    assert isinstance(tokenizer, HuggingFaceTokenizer)
    assert tokenizer.encode("good boy, eh") == [1, 2, 3, 0]
    assert tokenizer.starts("good boy, eh").tolist() == [0, 5, 8, 10]
    assert tokenizer.truncate("good boy, eh", 2) == "good boy"


def test_a_long_text_has_the_tokens_of_its_parts_whatever_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = open_tokenizer("wordllama")
    text = Path(__file__).read_text(encoding="utf-8") + "   \n  \u2581 a" * 50
    whole = tokenizer.encode(text)
    for size in (1, 2, 7, 100, 5_000):
        monkeypatch.setattr(words, "_BLOCK", size)
        assert tokenizer.encode(text) == whole
