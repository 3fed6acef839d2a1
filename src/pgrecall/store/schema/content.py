"""What is searched: documents and their chunks, and what waits for its place among them."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from pgrecall.store.schema.base import Halfvec, Vector, metadata, moment, of_collection

documents = Table(
    "documents",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("document_id", Uuid, nullable=False),
    of_collection(),
    # Compared by code point, so that an index finds what starts with a prefix.
    Column("uri", Text(collation="C"), nullable=False),
    # Where it was found, such as the uri of its file of rows; null for documents that were given.
    Column("source", Text(collation="C")),
    Column("title", Text),
    Column("mime_type", Text, nullable=False),
    Column("markup", Text, nullable=False),
    Column("language", Text, nullable=False),
    # SHA-256 over all that decides the chunks; null while no version has been stored.
    Column("content_hash", LargeBinary),
    Column("text", Text, nullable=False),
    Column("pages", ARRAY(Integer), nullable=False),
    Column("metadata", JSONB, nullable=False),
    Column("notes", ARRAY(Text), nullable=False),
    # A picture, which is embedded instead of the text.
    Column("media", LargeBinary),
    # Whether its chunks were made elsewhere: these need not cover the text.
    Column("given", Boolean, nullable=False, server_default=text("false")),
    Column("version", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("error", Text),
    # Those that hold the chunks of this version; no other generation holds any of it.
    Column("generations", ARRAY(Integer), nullable=False, server_default=text("'{}'")),
    moment("created_at"),
    moment("updated_at"),
    PrimaryKeyConstraint("tenant_id", "document_id"),
    CheckConstraint("status IN ('ready', 'failed')", name="status"),
    Index(None, "collection_id", "uri"),
    Index(None, "collection_id", "source", "document_id"),
)

chunks = Table(
    "chunks",
    metadata,
    # No foreign key: only a generation that exists has a partition.
    Column("generation_id", Integer, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("document_id", Uuid, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("start_offset", Integer, nullable=False),
    Column("end_offset", Integer, nullable=False),
    Column("page", Integer),
    Column("token_count", Integer, nullable=False),
    # uri and title are the document's, repeated here so that a search reads one table.
    Column("uri", Text, nullable=False),
    Column("title", Text),
    Column("headings", ARRAY(Text), nullable=False),
    Column("header", Text, nullable=False),
    Column("content", Text, nullable=False),
    # First 16 bytes of SHA-256 over the embedded text: equal text, equal vector.
    Column("content_hash", LargeBinary, nullable=False),
    Column("language", Text, nullable=False),
    Column("metadata", JSONB, nullable=False),
    # One of the two, as the generation's storage says.
    Column("embedding", Halfvec),
    Column("embedding_full", Vector),
    Column(
        "tsv",
        TSVECTOR,
        Computed("pgrecall.to_tsvector(language, header, content)", persisted=True),
        nullable=False,
    ),
    # The document first: the key serves the cascade too, and in a partition the generation is one.
    PrimaryKeyConstraint("tenant_id", "document_id", "ordinal", "generation_id"),
    CheckConstraint("num_nonnulls(embedding, embedding_full) = 1", name="embedding"),
    ForeignKeyConstraint(
        ["tenant_id", "document_id"],
        [documents.c.tenant_id, documents.c.document_id],
        ondelete="CASCADE",
    ),
    Index(None, "content_hash"),
    postgresql_partition_by="LIST (generation_id)",
)

# Vectors that were paid for and wait for their document (``store.reuse``). No key: COPY could not go on
# after a conflict, and a text that is kept twice does no harm.
paid_vectors = Table(
    "paid_vectors",
    metadata,
    Column("content_hash", LargeBinary, nullable=False, index=True),
    Column("embedder", Text, nullable=False),
    Column("dimensions", Integer, nullable=False),
    # One of the two, as in chunks.
    Column("embedding", Halfvec),
    Column("embedding_full", Vector),
    moment("created_at"),
    CheckConstraint("num_nonnulls(embedding, embedding_full) = 1", name="embedding"),
)

# The text of a long document on its way into its row: written and removed in one transaction.
text_parts = Table(
    "text_parts",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("document_id", Uuid, nullable=False),
    Column("part", Integer, nullable=False),
    Column("text", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "document_id", "part"),
)
