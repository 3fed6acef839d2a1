"""The queue: procrastinate's tables, what waits in it, and the function that hands documents over."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from pgrecall.store import jobtables
from pgrecall.store.migrate import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = "pgrecall"
#: How far procrastinate's own migrations had come at this revision.
PROCRASTINATE = "03.04.00_50_post_add_retry_failed_job_procedure.sql"


def run(statement: str) -> None:
    """Run SQL as it stands: neither colons nor percent signs mean anything in it."""
    if op.get_context().as_sql:
        op.get_context().impl.static_output(statement.rstrip().removesuffix(";") + ";")
    else:
        op.get_bind().execution_options(no_parameters=True).exec_driver_sql(statement)


def upgrade() -> None:
    for statement in jobtables.script(PROCRASTINATE):
        run(statement)
    op.create_table(
        "queue",
        sa.Column("job_id", sa.BigInteger, nullable=False),
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("uri", sa.Text(collation="C"), nullable=False),
        sa.Column("source", sa.Text(collation="C")),
        sa.Column("title", sa.Text),
        sa.Column("mime_type", sa.Text, nullable=False),
        sa.Column("markup", sa.Text),
        sa.Column("language", sa.Text),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("pages", ARRAY(sa.Integer), nullable=False),
        sa.Column("metadata", JSONB, nullable=False),
        sa.Column("notes", ARRAY(sa.Text), nullable=False),
        sa.Column("media", sa.LargeBinary),
        sa.Column("error", sa.Text),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.PrimaryKeyConstraint("job_id", name="pk_queue"),
        schema=SCHEMA,
    )
    op.create_foreign_key(
        "fk_queue_procrastinate_jobs",
        "queue",
        "procrastinate_jobs",
        ["job_id"],
        ["id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
        ondelete="CASCADE",
    )
    op.create_foreign_key(
        "fk_queue_collections",
        "queue",
        "collections",
        ["collection_id"],
        ["collection_id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
        ondelete="CASCADE",
    )
    op.create_index("ix_queue_collection_id_uri", "queue", ["collection_id", "uri"], schema=SCHEMA)
    create_batches()
    # Which jobs of a document come before this one: procrastinate asks for each job that it gives out.
    op.create_index(
        "ix_procrastinate_jobs_lock",
        "procrastinate_jobs",
        ["lock"],
        schema=SCHEMA,
        postgresql_where=sa.text("status IN ('todo', 'doing')"),
    )
    for statement in statements("queue_v1"):
        run(statement)


def create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("generation_id", sa.Integer, nullable=False),
        sa.Column("job_id", sa.BigInteger),
        sa.Column("uri", sa.Text(collation="C"), nullable=False),
        sa.Column("tenant_ids", ARRAY(sa.Text), nullable=False),
        sa.Column("document_ids", ARRAY(sa.Uuid), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
        ),
        sa.PrimaryKeyConstraint("batch_id", name="pk_batches"),
        sa.UniqueConstraint("job_id", name="uq_batches_job_id"),
        schema=SCHEMA,
    )
    op.create_table(
        "reindexings",
        sa.Column("generation_id", sa.Integer, nullable=False),
        sa.Column("remaining", sa.BigInteger),
        sa.Column("exceeded", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("generation_id", name="pk_reindexings"),
        schema=SCHEMA,
    )
    for table in ("batches", "reindexings"):
        op.create_foreign_key(
            f"fk_{table}_generations",
            table,
            "generations",
            ["generation_id"],
            ["generation_id"],
            source_schema=SCHEMA,
            referent_schema=SCHEMA,
            ondelete="CASCADE",
        )
    # A job that is done has removed its row; one that is discarded leaves it.
    op.create_foreign_key(
        "fk_batches_procrastinate_jobs",
        "batches",
        "procrastinate_jobs",
        ["job_id"],
        ["id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
        ondelete="SET NULL",
    )
    op.create_index("ix_batches_generation_id", "batches", ["generation_id"], schema=SCHEMA)


def downgrade() -> None:
    run(
        r"""
        DO $$
        DECLARE name text;
        BEGIN
            DROP FUNCTION pgrecall.enqueue;
            DROP TABLE pgrecall.queue, pgrecall.batches, pgrecall.reindexings;
            FOR name IN SELECT oid::regclass FROM pg_class
                         WHERE relnamespace = 'pgrecall'::regnamespace AND relkind = 'r'
                           AND relname LIKE 'procrastinate\_%' LOOP
                EXECUTE 'DROP TABLE ' || name || ' CASCADE';
            END LOOP;
            FOR name IN SELECT oid::regprocedure FROM pg_proc
                         WHERE pronamespace = 'pgrecall'::regnamespace
                           AND proname LIKE 'procrastinate\_%' LOOP
                EXECUTE 'DROP FUNCTION ' || name || ' CASCADE';
            END LOOP;
            FOR name IN SELECT oid::regtype FROM pg_type
                         WHERE typnamespace = 'pgrecall'::regnamespace AND typtype IN ('e', 'c')
                           AND typname LIKE 'procrastinate\_%' LOOP
                EXECUTE 'DROP TYPE ' || name || ' CASCADE';
            END LOOP;
        END
        $$
        """
    )
