"""What is to be done and what was: the documents that wait for workers, and the runs."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from pgrecall.store.schema.base import metadata, moment, of_collection, of_generation

#: The foreign keys to procrastinate's jobs, which only the migration knows.
TO_JOBS = ("fk_queue_procrastinate_jobs", "fk_batches_procrastinate_jobs")

# Documents that wait for a worker: one row a job of procrastinate's, whose tables stand beside these. The
# row goes in the transaction that writes the document, so a job without one has nothing left to do.
queue = Table(
    "queue",
    metadata,
    Column("job_id", BigInteger, primary_key=True, autoincrement=False),
    of_collection(),
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
    moment("created_at"),
    Index(None, "collection_id", "uri"),
)

# Stored documents that workers are to add to a generation: one row a job. The row goes when its documents
# are there; without a job, somebody gave them up.
batches = Table(
    "batches",
    metadata,
    Column("batch_id", BigInteger, Identity(always=True), primary_key=True),
    of_generation(index=True),
    Column("job_id", BigInteger, unique=True),
    # Of the first document.
    Column("uri", Text(collation="C"), nullable=False),
    # The keys of the documents, the first with the first.
    Column("tenant_ids", ARRAY(Text), nullable=False),
    Column("document_ids", ARRAY(Uuid), nullable=False),
    # Why the last attempt failed.
    Column("error", Text),
    moment("created_at"),
)

# Generations that were handed over to workers.
reindexings = Table(
    "reindexings",
    metadata,
    of_generation(primary_key=True),
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
    moment("started_at"),
    # Moved on while the run lives, and left at its end.
    moment("seen_at"),
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
