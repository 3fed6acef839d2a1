"""What the tools of the MCP server answer; the clients see these as schemas."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pgrecall import Context, Document, Hits
from pgrecall.store.rows import page_of


class Answer(BaseModel):
    """Read from the fields of our own values."""

    model_config = ConfigDict(from_attributes=True)


class Place(Answer):
    """A stretch of a document: ``text[start:end]``."""

    uri: str
    title: str | None
    headings: list[str]
    page: int | None
    start: int
    end: int


class Passage(Place):
    """A passage that was found."""

    text: str
    score: float
    vector_score: float | None
    text_score: float | None
    rerank_score: float | None
    metadata: dict[str, Any]


class Passages(Answer):
    """The passages, best first."""

    passages: list[Passage]
    complete: bool = Field(description="Whether no matching passage can have been overlooked.")
    notes: list[str] = Field(description="What did not go as asked.")

    @classmethod
    def of(cls, hits: Hits) -> Passages:
        """The hits as an answer."""
        passages = [Passage.model_validate(hit) for hit in hits]
        return cls(passages=passages, complete=hits.complete, notes=hits.notes)


class Cited(Place):
    """Where a numbered passage of a context comes from."""

    number: int
    last_page: int | None
    quote: str


class Packed(Answer):
    """Numbered passages within the budget, and where they come from."""

    text: str
    tokens: int
    citations: list[Cited]
    notes: list[str] = Field(description="What did not go as asked.")

    @classmethod
    def of(cls, context: Context) -> Packed:
        """The context as an answer."""
        return cls.model_validate(context)

    @property
    def sources(self) -> str:
        """The uri and offsets behind each number, a line each."""
        return "\n".join(f"[{c.number}] {c.uri} {c.start}-{c.end}" for c in self.citations)


class Excerpt(Answer):
    """A stretch of a document, or all of it."""

    uri: str
    title: str | None
    metadata: dict[str, Any]
    text: str
    start: int
    end: int
    length: int = Field(
        description="Characters of the whole document; more follow while end < length."
    )
    page: int | None = Field(description="Page on which the text starts.")
    last_page: int | None = Field(description="Page on which it ends.")

    @classmethod
    def of(cls, document: Document, start: int, length: int) -> Excerpt:
        """At most ``length`` characters from ``start``."""
        text = document.text[start : start + length]
        end = start + len(text)
        return cls(
            uri=document.uri,
            title=document.title,
            metadata=dict(document.metadata),
            text=text,
            start=start,
            end=end,
            length=len(document.text),
            page=page_of(document.pages, start),
            last_page=page_of(document.pages, max(start, end - 1)),
        )
