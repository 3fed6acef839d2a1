"""The tables, as SQLAlchemy Core metadata: what the migrations must add up to.

Keys carry ``tenant_id`` and ``document_id``, so that one schema runs on plain Postgres and on Citus,
distributed by either. Search indexes are not here: each generation's partition gets its own, after its
first bulk load (``store.indexes``).
"""

from __future__ import annotations

from sqlalchemy import (
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.types import UserDefinedType

SCHEMA = "pgrecall"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    },
)


class Halfvec(UserDefinedType[bytes]):
    """pgvector's half-precision vector, without a dimension: each generation has its own."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        """The type's name in DDL."""
        return "HALFVEC"


class Vector(UserDefinedType[bytes]):
    """pgvector's vector of full precision, without a dimension."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        """The type's name in DDL."""
        return "VECTOR"


def _created(name: str = "created_at") -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


collections = Table(
    "collections",
    metadata,
    Column("collection_id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # Set after the first generation exists; no foreign key, since the two tables would point at each other.
    Column("active_generation_id", Integer),
    Column("defaults", JSONB, nullable=False, server_default=text("'{}'")),
    _created(),
)

generations = Table(
    "generations",
    metadata,
    Column("generation_id", Integer, Identity(always=True), primary_key=True),
    Column(
        "collection_id",
        Integer,
        ForeignKey(collections.c.collection_id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
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
    _created(),
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
    Column(
        "generation_id",
        Integer,
        ForeignKey(generations.c.generation_id, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("lexeme", Text, nullable=False),
    Column("frequency", Float, nullable=False),
    PrimaryKeyConstraint("generation_id", "lexeme"),
)

# Questions that a collection was asked, if it logs them; a place for each hash of a question (queries_v1.sql).
queries = Table(
    "queries",
    metadata,
    Column(
        "collection_id",
        Integer,
        ForeignKey(collections.c.collection_id, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("slot", Integer, nullable=False),
    Column("question", Text, nullable=False),
    _created("asked_at"),
    PrimaryKeyConstraint("collection_id", "slot"),
)

documents = Table(
    "documents",
    metadata,
    Column("tenant_id", Text, nullable=False),
    Column("document_id", Uuid, nullable=False),
    Column(
        "collection_id",
        Integer,
        ForeignKey(collections.c.collection_id, ondelete="CASCADE"),
        nullable=False,
    ),
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
    _created(),
    _created("updated_at"),
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

# What is kept in step with a collection besides files: tables of the user's own.
sources = Table(
    "sources",
    metadata,
    Column("source_id", Integer, Identity(always=True), primary_key=True),
    Column(
        "collection_id",
        Integer,
        ForeignKey(collections.c.collection_id, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("name", Text, nullable=False),
    # What was asked for; another question is read from the beginning.
    Column("definition", JSONB, nullable=False),
    # Everything that was committed with an earlier time, by the source's clock, has been seen.
    Column("watermark", DateTime(timezone=True)),
    # The table that has our triggers; null: it is polled.
    Column("triggers", Text),
    # Counts the beginnings of runs, so that runs at the same time notice each other.
    Column("runs", BigInteger, nullable=False, server_default=text("0")),
    _created(),
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
    Column(
        "collection_id",
        Integer,
        ForeignKey(collections.c.collection_id, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("tenant_id", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("etag", Text),
    Column("last_modified", Text),
    Column("content_hash", LargeBinary, nullable=False),
    Column("options", Text, nullable=False),
    PrimaryKeyConstraint("collection_id", "tenant_id", "url"),
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
    _created(),
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

#: The foreign keys to procrastinate's jobs, which only the migration knows.
TO_JOBS = ("fk_queue_procrastinate_jobs", "fk_batches_procrastinate_jobs")

# Documents that wait for a worker: one row a job of procrastinate's, whose tables stand beside these. The
# row goes in the transaction that writes the document, so a job without one has nothing left to do.
queue = Table(
    "queue",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "collection_id",
        Integer,
        ForeignKey(collections.c.collection_id, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("tenant_id", Text, nullable=False),
    Column("uri", Text(collation="C"), nullable=False),
    Column("source", Text(collation="C")),
    Column("title", Text),
    Column("mime_type", Text, nullable=False),
    # Null where it follows from the uri or the collection, as in types.Document.
    Column("markup", Text),
    Column("language", Text),
    Column("text", Text, nullable=False),
    Column("pages", ARRAY(Integer), nullable=False),
    Column("metadata", JSONB, nullable=False),
    Column("notes", ARRAY(Text), nullable=False),
    Column("media", LargeBinary),
    # Why the last attempt failed.
    Column("error", Text),
    _created(),
    Index(None, "collection_id", "uri"),
)

# Stored documents that workers are to add to a generation: one row a job. The row goes when its documents
# are there; without a job, somebody gave them up.
batches = Table(
    "batches",
    metadata,
    Column("batch_id", BigInteger, Identity(always=True), primary_key=True),
    Column(
        "generation_id",
        Integer,
        ForeignKey(generations.c.generation_id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("job_id", BigInteger, unique=True),
    # Of the first document.
    Column("uri", Text(collation="C"), nullable=False),
    # The keys of the documents, the first with the first.
    Column("tenant_ids", ARRAY(Text), nullable=False),
    Column("document_ids", ARRAY(Uuid), nullable=False),
    # Why the last attempt failed.
    Column("error", Text),
    _created(),
)

# Generations that were handed over to workers.
reindexings = Table(
    "reindexings",
    metadata,
    Column(
        "generation_id",
        Integer,
        ForeignKey(generations.c.generation_id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    # Tokens that may still be embedded; null: as many as it takes.
    Column("remaining", BigInteger),
    # Whether documents were left out for want of them.
    Column("exceeded", Boolean, nullable=False, server_default=text("false")),
    # Why the last attempt to finish it failed.
    Column("error", Text),
)

# What each ingestion and each reindexing did and cost. Names instead of keys: what was spent outlives the
# collection.
runs = Table(
    "runs",
    metadata,
    Column("run_id", BigInteger, Identity(always=True), primary_key=True),
    Column("collection", Text, nullable=False),
    Column("embedder", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default=text("'ingest'")),
    # Whether it is the work of one worker, over a span of time.
    Column("by_worker", Boolean, nullable=False, server_default=text("false")),
    Column("state", Text, nullable=False, server_default=text("'running'")),
    _created("started_at"),
    # Moved on while the run lives, and left at its end.
    _created("seen_at"),
    *(
        Column(name, BigInteger, nullable=False, server_default=text("0"))
        for name in (
            *("new", "changed", "renamed", "unchanged", "removed", "failed", "left_out"),
            *("chunks", "embedded", "tokens"),
        )
    ),
    # US dollars; null where no price is known.
    Column("cost", Float),
    Column("error", Text),
    CheckConstraint("kind IN ('ingest', 'reindex')", name="kind"),
    CheckConstraint(
        "state IN ('running', 'done', 'stopped', 'failed', 'interrupted')", name="state"
    ),
    Index(None, "collection", "run_id"),
)

__all__ = [
    "SCHEMA",
    "TO_JOBS",
    "batches",
    "changes",
    "chunks",
    "collections",
    "documents",
    "generations",
    "lexemes",
    "metadata",
    "pages",
    "paid_vectors",
    "queries",
    "queue",
    "reindexings",
    "runs",
    "sources",
    "text_parts",
]
