"""The tables, as SQLAlchemy Core metadata: what the migrations must add up to.

Keys carry ``tenant_id`` and ``document_id``, so that one schema runs on plain Postgres and on Citus,
distributed by either. Search indexes are not here: each generation's partition gets its own, after its
first bulk load (``store.indexes``).
"""

from pgrecall.store.schema.base import SCHEMA, Halfvec, Vector, metadata
from pgrecall.store.schema.catalog import collections, generations, lexemes, queries
from pgrecall.store.schema.content import chunks, documents, paid_vectors, text_parts
from pgrecall.store.schema.origins import changes, pages, sources
from pgrecall.store.schema.work import TO_JOBS, batches, queue, reindexings, runs

__all__ = [
    "SCHEMA",
    "TO_JOBS",
    "Halfvec",
    "Vector",
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
