from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pgrecall.chunking import split
from pgrecall.embed import AsyncEmbedder, open_embedder
from pgrecall.embed.static import StaticEmbedder
from pgrecall.errors import InvalidArgument
from pgrecall.types import Markup

TEXTS = [
    "Refunds are paid within fourteen days of the request, to the card that was charged.",
    "a",
    " leading and trailing blanks \n",
    "The return value of f(x) is None if x < 0;\n\n\tsee `numpy.take` and <html>.",
    "Größe, naïve café, 東京都渋谷区, Привет, 🤷🏽\u200d♀️ and a\x00zero",
    "word " * 700,
    "x" * 3_000,
    "\u3000wide\u00a0spaces\u2028and lines\r\n",
    *(f"Clause {n}: " + "the tenant pays the rent on the first day. " * n for n in range(1, 25)),
]

#: wordllama configures logging when it is imported, so it is kept in a process of its own.
REFERENCE = """
import json, sys
from pathlib import Path
import wordllama
folder = Path(wordllama.__file__).parent
model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
json.dump(model.embed(json.load(sys.stdin), norm=True).tolist(), sys.stdout)
"""


@pytest.fixture(scope="module")
def static() -> StaticEmbedder:
    embedder = open_embedder("static")
    assert isinstance(embedder, StaticEmbedder)
    return embedder


def test_vectors_are_those_of_wordllama(static: StaticEmbedder) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFERENCE],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    expected = np.array(json.loads(done.stdout), dtype=np.float32)

    found = static.embed_documents(TEXTS)

    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), static.dimensions)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("markup", ["plain", "markdown", "code"])
def test_ids_that_chunking_made_give_the_vectors_of_the_texts(
    static: StaticEmbedder, markup: Markup
) -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    chunks = split(
        text, tokenizer=static.tokenizer, markup=markup, title="a_file.py", token_ids=True
    )
    ids = [chunk.token_ids for chunk in chunks if chunk.token_ids is not None]
    assert len(ids) == len(chunks) > 5
    texts = [chunk.embedded_text for chunk in chunks]
    assert (static.embed_token_ids(ids) == static.embed_documents(texts)).all()


def test_half_of_a_surrogate_pair_is_left_to_the_check_of_texts(static: StaticEmbedder) -> None:
    for text, title in (("half \ud800 a pair", None), ("whole", "half \ud800")):
        chunks = split(text, tokenizer=static.tokenizer, title=title, token_ids=True)
        assert [chunk.token_ids for chunk in chunks] == [None]


def test_special_tokens_in_a_text_are_ordinary_text(static: StaticEmbedder) -> None:
    """Unlike in wordllama, for which "</s>" in a document is the end of a sentence."""
    special = static.embed_documents(["the </s> tag", "the <unk> tag", "the <s> tag"])
    assert static.tokenizer.count("</s>") > 1
    assert not np.allclose(special[0], special[1], atol=0.01)
    assert not np.allclose(special[1], special[2], atol=0.01)


def test_a_text_has_one_vector_whatever_stands_around_it(static: StaticEmbedder) -> None:
    together = static.embed_documents(TEXTS)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_array_equal(static.embed_query(text), vector)
        np.testing.assert_array_equal(static.embed_documents([text])[0], vector)


def test_meaning_is_near(static: StaticEmbedder) -> None:
    passages = ["How to get your money back", "The cat sleeps on the sofa", "Engine oil pressure"]
    scores = static.embed_documents(passages) @ static.embed_query("refund of a payment")
    assert scores.argmax() == 0


def test_threads_share_one_embedder(static: StaticEmbedder) -> None:
    expected = static.embed_documents(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: static.embed_documents(TEXTS), range(24)):
            np.testing.assert_array_equal(found, expected)


def test_it_can_be_awaited(static: StaticEmbedder) -> None:
    awaited: AsyncEmbedder = static
    found = asyncio.run(awaited.embed_documents_async(TEXTS))
    np.testing.assert_array_equal(found, static.embed_documents(TEXTS))
    query = asyncio.run(awaited.embed_query_async(TEXTS[0]))
    np.testing.assert_array_equal(query, found[0])


def test_no_texts_give_no_rows(static: StaticEmbedder) -> None:
    assert static.embed_documents([]).shape == (0, static.dimensions)


@pytest.mark.parametrize("empty", ["", " ", "\n\t\r\n", "\u3000\u00a0"])
def test_an_empty_text_is_refused(static: StaticEmbedder, empty: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^The query is empty\.$"):
        static.embed_query(empty)
    with pytest.raises(InvalidArgument, match=r"^Text 1 is empty\.$"):
        static.embed_documents(["full", empty])


def test_other_unusable_texts_are_named(static: StaticEmbedder) -> None:
    with pytest.raises(InvalidArgument, match="Text 1 holds half of a surrogate pair"):
        static.embed_documents(["fine", "broken \ud83d"])
    with pytest.raises(InvalidArgument, match="not one string"):
        static.embed_documents("a string")
    with pytest.raises(InvalidArgument, match="The query is not a string but of type bytes"):
        static.embed_query(b"bytes")  # type: ignore[arg-type]  # what the test is about


def test_a_text_over_the_limit_is_refused_and_named(static: StaticEmbedder) -> None:
    long = "go " * (static.max_tokens + 1)
    with pytest.raises(InvalidArgument, match=r"Text 1 has 65,\d+ tokens, .* at most 65,536"):
        static.embed_documents(["short", long])
    with pytest.raises(InvalidArgument, match="The query has"):
        static.embed_query(long)


def test_the_root_logger_is_left_alone(static: StaticEmbedder) -> None:
    static.embed_query("anything")
    assert "wordllama" not in sys.modules
    assert not any(type(h) is logging.StreamHandler for h in logging.getLogger().handlers)
