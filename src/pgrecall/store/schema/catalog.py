"""What there is to search: collections, their generations, and what searches know about these."""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    Identity,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from pgrecall.store.schema.base import metadata, moment, of_collection, of_generation

collections = Table(
    "collections",
    metadata,
    Column("collection_id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # Set after the first generation exists; no foreign key, since the two tables would point at each other.
    Column("active_generation_id", Integer),
    Column("defaults", JSONB, nullable=False, server_default=text("'{}'")),
    moment("created_at"),
)

generations = Table(
    "generations",
    metadata,
    Column("generation_id", Integer, Identity(always=True), primary_key=True),
    of_collection(index=True),
    Column("embedder", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("storage", Text, nullable=False, server_default=text("'halfvec'")),
    Column("metric", Text, nullable=False, server_default=text("'cosine'")),
    # How many of the first dimensions are in the index; null: all.
    Column("prefix", Integer),
    Column("chunking", JSONB, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'building'")),
    # As of the last settling: chunks, and the frequency of the rarest lexeme in ``lexemes``.
    Column("chunk_count", BigInteger, nullable=False, server_default=text("0")),
    Column("rare_frequency", Float, nullable=False, server_default=text("1")),
    # Text search configurations of its documents: a question is read in each of them.
    Column("languages", ARRAY(Text), nullable=False),
    # How many chunks there were when the graph of vectors was built.
    Column("graph_chunks", BigInteger),
    # recall@10 of the index at each of pgrecall.steps(), and the chunks there were when it was measured.
    Column("recall_curve", ARRAY(REAL)),
    Column("recall_chunks", BigInteger),
    moment("created_at"),
    # When it became the one that is searched, last; null while it never was.
    Column("activated_at", DateTime(timezone=True)),
    CheckConstraint("dimensions BETWEEN 1 AND 16000", name="dimensions"),
    CheckConstraint("storage IN ('halfvec', 'vector', 'bit')", name="storage"),
    CheckConstraint("prefix > 0 AND prefix < dimensions", name="prefix"),
    CheckConstraint("metric IN ('cosine', 'ip', 'l2')", name="metric"),
    CheckConstraint("state IN ('building', 'active', 'retired')", name="state"),
)

# How many of a generation's chunks hold a lexeme, as a share: what weighs the words of a question.
lexemes = Table(
    "lexemes",
    metadata,
    of_generation(),
    Column("lexeme", Text, nullable=False),
    Column("frequency", Float, nullable=False),
    PrimaryKeyConstraint("generation_id", "lexeme"),
)

# Questions that a collection was asked, if it logs them; a place for each hash of a question (queries_v1.sql).
queries = Table(
    "queries",
    metadata,
    of_collection(),
    Column("slot", Integer, nullable=False),
    Column("question", Text, nullable=False),
    moment("asked_at"),
    PrimaryKeyConstraint("collection_id", "slot"),
)
