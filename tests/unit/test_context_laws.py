"""The laws of packing, for random documents, hits, budgets and tokenizers."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import get_args
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgrecall.context import Passage, pack, spans
from pgrecall.tokens import Tokenizer, open_tokenizer
from pgrecall.types import Document, Hit, Order


class CharacterTokenizer:
    """A token for each character."""

    name = "characters"

    def count(self, text: str) -> int:
        return len(text)

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def truncate(self, text: str, max_tokens: int) -> str:
        return text[:max_tokens]

    def starts(self, text: str) -> npt.NDArray[np.int64]:
        return np.arange(self.count(text), dtype=np.int64)


class SeamTokenizer(CharacterTokenizer):
    """Worse than any real one: whatever is joined costs more than its parts."""

    name = "seams"

    def count(self, text: str) -> int:
        return len(text) + 20 * len(re.findall(r"\n\n\[", text))


TOKENIZERS: list[Tokenizer] = [
    CharacterTokenizer(),
    SeamTokenizer(),
    open_tokenizer("cl100k_base"),
    open_tokenizer("gpt-4o"),
]

texts = st.lists(
    st.sampled_from(
        [
            "Ice. ",
            "Rock and dust! ",
            "[2] ",
            '"""',
            "\n",
            "\n\n",
            "é",
            "水。",
            "🪐",
            "x" * 70,
            "a b c ",
        ]
    ),
    min_size=10,
    max_size=120,
).map("".join)


@st.composite
def found(draw: st.DrawFn) -> tuple[list[Document], list[Hit]]:
    folder = draw(st.sampled_from(["", "/srv/handbook/"]))
    documents = [
        Document(uri=f"{folder}{n}.md", text=text, pages=draw(st.sampled_from([(), (0, 5, 40)])))
        for n, text in enumerate(draw(st.lists(texts, min_size=1, max_size=5)))
    ]
    hits = [draw(chunk(document)) for document in documents for _ in range(draw(st.integers(0, 3)))]
    return documents, draw(st.permutations(hits))


@st.composite
def chunk(draw: st.DrawFn, document: Document) -> Hit:
    """A hit on one of the chunks of 50 characters, each of which overlaps the next by 10."""
    ordinal = draw(st.integers(0, (len(document.text) - 1) // 50))
    start, end = 50 * ordinal, min(50 * ordinal + 60, len(document.text))
    return Hit(
        text=document.text[start:end],
        score=draw(st.sampled_from([0.1, 0.5, 0.9])),
        uri=document.uri,
        title=None,
        metadata={},
        tenant_id="",
        document_id=uuid5(NAMESPACE_URL, document.uri),
        ordinal=ordinal,
        start=start,
        end=end,
        page=None,
        headings=(),
    )


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: tokenizer.name)
@given(
    found=found(),
    max_tokens=st.integers(1, 500),
    max_gap=st.sampled_from([0, 30]),
    order=st.sampled_from(get_args(Order)),
)
def test_laws(
    tokenizer: Tokenizer,
    found: tuple[list[Document], list[Hit]],
    max_tokens: int,
    max_gap: int,
    order: Order,
) -> None:
    documents, hits = found
    source = {document.uri: document for document in documents}
    passages = [
        Passage(
            span=span,
            text=source[span.uri].text[span.start : span.end],
            pages=source[span.uri].pages,
        )
        for span in spans(hits, max_gap=max_gap)
    ]
    context = pack(passages, max_tokens=max_tokens, tokenizer=tokenizer, min_tokens=10, order=order)

    assert context.tokens == tokenizer.count(context.text) <= max_tokens
    assert [c.number for c in context.citations] == list(range(1, len(context.citations) + 1))
    assert bool(context.text) == bool(context.citations)
    place = 0
    for cited in context.citations:
        text, pages = source[cited.uri].text, source[cited.uri].pages
        assert text[cited.start : cited.end] == cited.quote != ""
        place = context.text.index(f"\n{cited.quote}\n", place)
        assert any(hit.start < cited.end and cited.start < hit.end for hit in hits)
        if pages:
            assert cited.page is not None
            assert pages[cited.page - 1] <= cited.start
            assert cited.page == len(pages) or cited.start < pages[cited.page]
    for before, after in pairwise(context.citations):
        assert before.uri != after.uri or before.end <= after.start
    blocks = [c.uri for c in context.citations]
    uris = list(dict.fromkeys(blocks))
    assert blocks == sorted(blocks, key=uris.index)
    best = [max(c.score for c in context.citations if c.uri == uri) for uri in uris]
    assert best == sorted(best, reverse=order == "best_first")
    answer = " ".join(f"“{c.quote}” [{c.number}]" for c in context.citations if "“" not in c.quote)
    assert context.verify(answer).ok, context.verify(answer).problems


@given(found=found())
def test_a_large_budget_shows_every_hit_whole(found: tuple[list[Document], list[Hit]]) -> None:
    documents, hits = found
    source = {document.uri: document.text for document in documents}
    merged = spans(hits)
    passages = [Passage(span=s, text=source[s.uri][s.start : s.end]) for s in merged]
    context = pack(passages, max_tokens=10**6, tokenizer=CharacterTokenizer())
    for hit in hits:
        assert not hit.text.strip() or any(
            c.uri == hit.uri and hit.text.strip() in c.quote for c in context.citations
        )
