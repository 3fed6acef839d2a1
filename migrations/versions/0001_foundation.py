"""Collections, generations, documents, chunks, and the functions that search them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.types import UserDefinedType

from pgrecall.store.migrate import statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = "pgrecall"
FUNCTIONS = (
    "filter_v1",
    "metadata_v1",
    "storage_v1",
    "target_v1",
    "question_v1",
    "recall_v1",
    "arms_v1",
    "bm25_v1",
    "queries_v1",
    "reuse_v1",
    "fusion_v1",
    "search_v1",
    "explain_v1",
    # After those that name types of pgvector: it says where they are found.
    "searchpath_v1",
    "changes_v1",
)


class Halfvec(UserDefinedType[bytes]):
    """The column type as it was at this revision."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "HALFVEC"


class Vector(UserDefinedType[bytes]):
    """The column type as it was at this revision."""

    cache_ok = True

    def get_col_spec(self, **kw: object) -> str:
        return "VECTOR"


def run(name: str) -> None:
    """Run a file of functions as it stands: neither colons nor percent signs mean anything in it."""
    for statement in statements(name):
        if op.get_context().as_sql:
            op.get_context().impl.static_output(statement + ";")
        else:
            raw = op.get_bind().execution_options(no_parameters=True)
            raw.exec_driver_sql(statement)


def created(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now())


def after_create_tables() -> None:
    """Where Citus makes the tables distributed: before foreign keys and indexes. Nothing on Postgres."""


def upgrade() -> None:
    # For Citus: references between tables of different kinds in one transaction. Elsewhere a
    # setting that nobody reads.
    op.execute("SET LOCAL citus.multi_shard_modify_mode = 'sequential'")
    run("words_v1")
    create_tables()
    after_create_tables()
    create_constraints()
    for name in FUNCTIONS:
        run(name)


def create_tables() -> None:
    op.create_table(
        "collections",
        sa.Column("collection_id", sa.Integer, sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("active_generation_id", sa.Integer),
        sa.Column("defaults", JSONB, nullable=False, server_default=sa.text("'{}'")),
        created("created_at"),
        sa.PrimaryKeyConstraint("collection_id", name="pk_collections"),
        sa.UniqueConstraint("name", name="uq_collections_name"),
        schema=SCHEMA,
    )
    op.create_table(
        "generations",
        sa.Column("generation_id", sa.Integer, sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("embedder", sa.Text, nullable=False),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.Column("storage", sa.Text, nullable=False, server_default=sa.text("'halfvec'")),
        sa.Column("metric", sa.Text, nullable=False, server_default=sa.text("'cosine'")),
        sa.Column("prefix", sa.Integer),
        sa.Column("chunking", JSONB, nullable=False),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'building'")),
        sa.Column("chunk_count", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("rare_frequency", sa.Float, nullable=False, server_default=sa.text("1")),
        sa.Column("languages", ARRAY(sa.Text), nullable=False),
        sa.Column("recall_curve", ARRAY(sa.REAL)),
        sa.Column("recall_chunks", sa.BigInteger),
        sa.Column("graph_chunks", sa.BigInteger),
        created("created_at"),
        sa.Column("activated_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("generation_id", name="pk_generations"),
        sa.CheckConstraint("dimensions BETWEEN 1 AND 16000", name="ck_generations_dimensions"),
        sa.CheckConstraint(
            "storage IN ('halfvec', 'vector', 'bit')", name="ck_generations_storage"
        ),
        sa.CheckConstraint("prefix > 0 AND prefix < dimensions", name="ck_generations_prefix"),
        sa.CheckConstraint("metric IN ('cosine', 'ip', 'l2')", name="ck_generations_metric"),
        sa.CheckConstraint(
            "state IN ('building', 'active', 'retired')", name="ck_generations_state"
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "lexemes",
        sa.Column("generation_id", sa.Integer, nullable=False),
        sa.Column("lexeme", sa.Text, nullable=False),
        sa.Column("frequency", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("generation_id", "lexeme", name="pk_lexemes"),
        schema=SCHEMA,
    )
    op.create_table(
        "queries",
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("slot", sa.Integer, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        created("asked_at"),
        sa.PrimaryKeyConstraint("collection_id", "slot", name="pk_queries"),
        schema=SCHEMA,
    )
    op.create_table(
        "documents",
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("document_id", sa.Uuid, nullable=False),
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("uri", sa.Text(collation="C"), nullable=False),
        sa.Column("source", sa.Text(collation="C")),
        sa.Column("title", sa.Text),
        sa.Column("mime_type", sa.Text, nullable=False),
        sa.Column("markup", sa.Text, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("content_hash", sa.LargeBinary),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("pages", ARRAY(sa.Integer), nullable=False),
        sa.Column("metadata", JSONB, nullable=False),
        sa.Column("notes", ARRAY(sa.Text), nullable=False),
        sa.Column("media", sa.LargeBinary),
        sa.Column("given", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("generations", ARRAY(sa.Integer), nullable=False, server_default=sa.text("'{}'")),
        created("created_at"),
        created("updated_at"),
        sa.PrimaryKeyConstraint("tenant_id", "document_id", name="pk_documents"),
        sa.CheckConstraint("status IN ('ready', 'failed')", name="ck_documents_status"),
        schema=SCHEMA,
    )
    op.create_table(
        "chunks",
        sa.Column("generation_id", sa.Integer, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("document_id", sa.Uuid, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("start_offset", sa.Integer, nullable=False),
        sa.Column("end_offset", sa.Integer, nullable=False),
        sa.Column("page", sa.Integer),
        sa.Column("token_count", sa.Integer, nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("title", sa.Text),
        sa.Column("headings", ARRAY(sa.Text), nullable=False),
        sa.Column("header", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("language", sa.Text, nullable=False),
        sa.Column("metadata", JSONB, nullable=False),
        sa.Column("embedding", Halfvec),
        sa.Column("embedding_full", Vector),
        sa.Column(
            "tsv",
            TSVECTOR,
            sa.Computed("pgrecall.to_tsvector(language, header, content)", persisted=True),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint(
            "tenant_id", "document_id", "ordinal", "generation_id", name="pk_chunks"
        ),
        sa.CheckConstraint(
            "num_nonnulls(embedding, embedding_full) = 1", name="ck_chunks_embedding"
        ),
        postgresql_partition_by="LIST (generation_id)",
        schema=SCHEMA,
    )
    op.create_table(
        "sources",
        sa.Column("source_id", sa.Integer, sa.Identity(always=True), nullable=False),
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("definition", JSONB, nullable=False),
        sa.Column("watermark", sa.DateTime(timezone=True)),
        sa.Column("triggers", sa.Text),
        sa.Column("runs", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        created("created_at"),
        sa.PrimaryKeyConstraint("source_id", name="pk_sources"),
        sa.UniqueConstraint("collection_id", "name", name="uq_sources_collection_id_name"),
        schema=SCHEMA,
    )
    op.create_table(
        "pages",
        sa.Column("collection_id", sa.Integer, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("etag", sa.Text),
        sa.Column("last_modified", sa.Text),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("options", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "tenant_id", "url", name="pk_pages"),
        schema=SCHEMA,
    )
    op.create_table(
        "changes",
        sa.Column("change_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("source_id", sa.Integer, nullable=False),
        sa.Column("key", sa.Text),
        sa.PrimaryKeyConstraint("change_id", name="pk_changes"),
        schema=SCHEMA,
    )
    op.create_table(
        "paid_vectors",
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("embedder", sa.Text, nullable=False),
        sa.Column("dimensions", sa.Integer, nullable=False),
        sa.Column("embedding", Halfvec),
        sa.Column("embedding_full", Vector),
        created("created_at"),
        sa.CheckConstraint(
            "num_nonnulls(embedding, embedding_full) = 1", name="ck_paid_vectors_embedding"
        ),
        schema=SCHEMA,
    )
    op.create_table(
        "text_parts",
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("document_id", sa.Uuid, nullable=False),
        sa.Column("part", sa.Integer, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "document_id", "part", name="pk_text_parts"),
        schema=SCHEMA,
    )
    counts = "new changed renamed unchanged removed failed left_out chunks embedded tokens"
    op.create_table(
        "runs",
        sa.Column("run_id", sa.BigInteger, sa.Identity(always=True), nullable=False),
        sa.Column("collection", sa.Text, nullable=False),
        sa.Column("embedder", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False, server_default=sa.text("'ingest'")),
        sa.Column("by_worker", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("state", sa.Text, nullable=False, server_default=sa.text("'running'")),
        created("started_at"),
        created("seen_at"),
        *(
            sa.Column(name, sa.BigInteger, nullable=False, server_default=sa.text("0"))
            for name in counts.split()
        ),
        sa.Column("cost", sa.Float),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("run_id", name="pk_runs"),
        sa.CheckConstraint("kind IN ('ingest', 'reindex')", name="ck_runs_kind"),
        sa.CheckConstraint(
            "state IN ('running', 'done', 'stopped', 'failed', 'interrupted')",
            name="ck_runs_state",
        ),
        schema=SCHEMA,
    )


def create_constraints() -> None:
    op.create_foreign_key(
        "fk_generations_collections",
        "generations",
        "collections",
        ["collection_id"],
        ["collection_id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
        ondelete="CASCADE",
    )
    op.create_foreign_key(
        "fk_lexemes_generations",
        "lexemes",
        "generations",
        ["generation_id"],
        ["generation_id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
        ondelete="CASCADE",
    )
    op.create_foreign_key(
        "fk_queries_collections",
        "queries",
        "collections",
        ["collection_id"],
        ["collection_id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
        ondelete="CASCADE",
    )
    op.create_foreign_key(
        "fk_documents_collections",
        "documents",
        "collections",
        ["collection_id"],
        ["collection_id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
        ondelete="CASCADE",
    )
    for table in ("sources", "pages"):
        op.create_foreign_key(
            f"fk_{table}_collections",
            table,
            "collections",
            ["collection_id"],
            ["collection_id"],
            source_schema=SCHEMA,
            referent_schema=SCHEMA,
            ondelete="CASCADE",
        )
    op.create_foreign_key(
        "fk_chunks_documents",
        "chunks",
        "documents",
        ["tenant_id", "document_id"],
        ["tenant_id", "document_id"],
        source_schema=SCHEMA,
        referent_schema=SCHEMA,
        ondelete="CASCADE",
    )
    for table, columns in (
        ("generations", ["collection_id"]),
        ("documents", ["collection_id", "uri"]),
        ("documents", ["collection_id", "source", "document_id"]),
        ("chunks", ["content_hash"]),
        ("changes", ["source_id", "change_id"]),
        ("paid_vectors", ["content_hash"]),
        ("runs", ["collection", "run_id"]),
    ):
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, columns, schema=SCHEMA)


def downgrade() -> None:
    for table in (
        "changes",
        "pages",
        "sources",
        "paid_vectors",
        "text_parts",
        "runs",
        "chunks",
        "documents",
        "lexemes",
        "generations",
        "queries",
        "collections",
    ):
        op.execute(f"DROP TABLE IF EXISTS {SCHEMA}.{table} CASCADE")
    op.execute(
        # Every function of ours and the types that they take and return; the version table stays.
        r"""
        DO $$
        DECLARE f regprocedure;
        BEGIN
            DROP TYPE IF EXISTS
                pgrecall.hit, pgrecall.target, pgrecall.request, pgrecall.storage CASCADE;
            DROP DOMAIN IF EXISTS pgrecall.embedding CASCADE;
            FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'pgrecall'\:\:regnamespace LOOP
                EXECUTE 'DROP FUNCTION ' || f || ' CASCADE';
            END LOOP;
        END
        $$
        """
    )
