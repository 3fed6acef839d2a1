"""Where documents come from, as far as it has to be remembered: tables of users, pages of the web."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from pgrecall.store.schema.base import metadata, moment, of_collection

# What is kept in step with a collection besides files: tables of the user's own.
sources = Table(
    "sources",
    metadata,
    Column("source_id", Integer, Identity(always=True), primary_key=True),
    of_collection(),
    Column("name", Text, nullable=False),
    # What was asked for; another question is read from the beginning.
    Column("definition", JSONB, nullable=False),
    # Everything that was committed with an earlier time, by the source's clock, has been seen.
    Column("watermark", DateTime(timezone=True)),
    # The table that has our triggers; null: it is polled.
    Column("triggers", Text),
    # Counts the beginnings of runs, so that runs at the same time notice each other.
    Column("runs", BigInteger, nullable=False, server_default=text("0")),
    moment("created_at"),
    UniqueConstraint("collection_id", "name"),
)

# Keys of changed rows, written by triggers in the user's own transactions. No foreign key: a writer should
# not wait for anybody. A null key stands for all.
changes = Table(
    "changes",
    metadata,
    Column("change_id", BigInteger, Identity(always=True), primary_key=True),
    Column("source_id", Integer, nullable=False),
    Column("key", Text),
    Index(None, "source_id", "change_id"),
)

# What servers said about pages, so that they are asked whether those changed. It counts only while the stored
# document is the one that was made of the page, with the same options.
pages = Table(
    "pages",
    metadata,
    of_collection(),
    Column("tenant_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("etag", Text),
    Column("last_modified", Text),
    Column("content_hash", LargeBinary, nullable=False),
    Column("options", Text, nullable=False),
    PrimaryKeyConstraint("collection_id", "tenant_id", "url"),
)
