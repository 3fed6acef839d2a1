"""What must stand in the database around documents: partitions, functions, indexes, and nothing left over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from psycopg import sql

from pgrecall.flow import Flow
from pgrecall.store import collections, graph, indexes, reuse, throwaway
from pgrecall.store.collections import Generation
from pgrecall.store.session import fetch, transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """Something that is missing, broken or left over."""

    kind: str
    #: Which collection or object.
    subject: str
    detail: str
    #: Mends it; None where nobody can know how.
    repair: Callable[[], Flow[None]] | None = None


def defects() -> Flow[list[Defect]]:
    """All but those of indexes, those first that others hang on."""
    found = yield from _partitions()
    found += yield from _collections()
    found += yield from _functions()
    found += yield from _leftovers()
    for generation in (yield from collections.generations()):
        if (yield from exists(generation)):
            found += yield from _orphans(generation)
    return found


def index_defects() -> Flow[list[Defect]]:
    """Indexes that are missing or that Postgres does not use."""
    found = yield from _invalid_indexes()
    for generation in (yield from collections.generations()):
        if (yield from exists(generation)):
            found += yield from _missing_indexes(generation)
    return found


def exists(generation: Generation) -> Flow[bool]:
    """Whether the table of its chunks is there."""
    rows = yield from fetch("SELECT to_regclass(%s) IS NOT NULL", [f"pgrecall.{generation.table}"])
    return bool(rows[0][0])


def _partitions() -> Flow[list[Defect]]:
    found = []
    for generation in (yield from collections.generations()):
        if not (yield from exists(generation)):
            found.append(
                Defect(
                    kind="partition",
                    subject=generation.collection,
                    detail=f"the table {generation.table} of its chunks is missing",
                    repair=partial(_make_partition, generation),
                )
            )
    return found


def _make_partition(generation: Generation) -> Flow[None]:
    yield from transaction(collections.create_partition(generation))


_STRANGERS = """
    SELECT r.relname FROM pg_class AS r
     WHERE r.relnamespace = 'pgrecall'::regnamespace AND r.relkind = 'r'
       AND r.relname ~ '^chunks_g[0-9]+$'
       AND NOT EXISTS (SELECT FROM pgrecall.generations AS g
                        WHERE 'chunks_g' || g.generation_id = r.relname)
"""


def _leftovers() -> Flow[list[Defect]]:
    """Tables and functions of generations that are gone, and vectors that nobody came back for."""
    found = []
    for (name,) in (yield from fetch(_STRANGERS)):
        table = sql.Identifier("pgrecall", name)
        drop = sql.SQL("DROP TABLE {}").format(table)
        detail = "its generation is gone, nobody can search it"
        found.append(_statement("leftover table", name, detail, drop))
    rows = yield from fetch(
        r"""
        SELECT p.proname FROM pg_proc AS p
         WHERE p.pronamespace = 'pgrecall'::regnamespace AND p.proname ~ '^(nearest|search_vector)_g[0-9]+$'
           AND NOT EXISTS (SELECT FROM pgrecall.generations AS g
                            WHERE p.proname ~ ('_g' || g.generation_id || '$'))
        """
    )
    for (name,) in rows:
        drop = sql.SQL("DROP FUNCTION {}").format(sql.Identifier("pgrecall", name))
        found.append(_statement("leftover function", name, "its generation is gone", drop))
    for name in (yield from throwaway.leftovers()):
        found.append(
            Defect(
                kind="leftover collection",
                subject=name,
                detail="whoever measured models with it was killed",
                repair=partial(throwaway.drop, name),
            )
        )
    rows = yield from fetch(
        "SELECT count(*) FROM pgrecall.paid_vectors WHERE created_at < now() - make_interval(days => %s)",
        [reuse.KEPT_DAYS],
    )
    if rows[0][0]:
        detail = f"{rows[0][0]} vectors have waited {reuse.KEPT_DAYS} days for a document"
        found.append(
            Defect(kind="leftover vectors", subject="paid_vectors", detail=detail, repair=_sweep)
        )
    return found


def _sweep() -> Flow[None]:
    yield from reuse.sweep()


def _statement(kind: str, subject: str, detail: str, statement: sql.Composed) -> Defect:
    def repair() -> Flow[None]:
        yield from fetch(statement)

    return Defect(kind=kind, subject=subject, detail=detail, repair=repair)


def _collections() -> Flow[list[Defect]]:
    rows = yield from fetch(
        """
        SELECT c.collection_id, c.name,
               (SELECT array_agg(g.generation_id) FROM pgrecall.generations AS g
                 WHERE g.collection_id = c.collection_id AND g.state = 'active')
          FROM pgrecall.collections AS c
         WHERE NOT EXISTS (SELECT FROM pgrecall.generations AS g
                            WHERE g.generation_id = c.active_generation_id
                              AND g.collection_id = c.collection_id)
        """
    )
    found = []
    for number, name, candidates in rows:
        repair = None
        if candidates is not None and len(candidates) == 1:
            update = sql.SQL(
                "UPDATE pgrecall.collections SET active_generation_id = {} WHERE collection_id = {}"
            ).format(sql.Literal(candidates[0]), sql.Literal(number))
            repair = _statement("", "", "", update).repair
        detail = "no generation of its own is active: it cannot be searched"
        found.append(Defect(kind="collection", subject=name, detail=detail, repair=repair))
    return found


def _functions() -> Flow[list[Defect]]:
    rows = yield from fetch(
        """
        SELECT c.name, g.generation_id, f.name || '_g' || g.generation_id
          FROM pgrecall.generations AS g
          JOIN pgrecall.collections AS c ON c.collection_id = g.collection_id,
               unnest('{nearest,search_vector}'::text[]) AS f (name)
         WHERE NOT EXISTS (SELECT FROM pg_proc AS p
                            WHERE p.pronamespace = 'pgrecall'::regnamespace
                              AND p.proname = f.name || '_g' || g.generation_id)
        """
    )
    return [
        _statement(
            "function",
            name,
            f"the function {function} that searches it is missing",
            sql.SQL("SELECT pgrecall.create_nearest({})").format(sql.Literal(number)),
        )
        for name, number, function in rows
    ]


#: Chunks that belong to no stored version of a document of the generation's collection.
_ORPHANS = """
    {partition} AS c WHERE NOT EXISTS (
        SELECT FROM pgrecall.documents AS d
         WHERE d.tenant_id = c.tenant_id AND d.document_id = c.document_id
           AND d.collection_id = {collection} AND (d.content_hash IS NOT NULL OR d.status = 'ready'))
"""


def _orphans(generation: Generation) -> Flow[list[Defect]]:
    orphans = sql.SQL(_ORPHANS).format(
        partition=generation.partition, collection=sql.Literal(generation.collection_id)
    )
    rows = yield from fetch(sql.SQL("SELECT count(*) FROM ") + orphans)
    if not rows[0][0]:
        return []
    detail = f"{rows[0][0]} chunks belong to no document"
    delete = sql.SQL("DELETE FROM ") + orphans
    return [_statement("orphans", generation.collection, detail, delete)]


def _missing_indexes(generation: Generation) -> Flow[list[Defect]]:
    """Those that a generation has after its first bulk load, and those on declared keys."""
    rows = yield from fetch(
        "SELECT chunk_count > 0 FROM pgrecall.generations WHERE generation_id = %s",
        [generation.generation_id],
    )
    missing = (yield from indexes.missing(generation)) if rows and rows[0][0] else []
    found = []
    if missing:

        def repair() -> Flow[None]:
            for name in missing:
                index = sql.Identifier("pgrecall", f"{generation.table}_{name}")
                yield from fetch(sql.SQL("DROP INDEX IF EXISTS {}").format(index))
            yield from graph.build(generation)

        detail = f"missing or not valid: {', '.join(missing)}"
        found.append(
            Defect(kind="index", subject=generation.collection, detail=detail, repair=repair)
        )
    for key, kind in dict(generation.defaults.get("metadata_indexes", {})).items():
        if not (yield from indexes.is_valid(indexes.metadata_index(generation, key, kind))):
            type_ = next(t for t, k in indexes.METADATA_KINDS.items() if k == kind)
            found.append(
                Defect(
                    kind="index",
                    subject=generation.collection,
                    detail=f"missing or not valid: the one on metadata {key!r}",
                    repair=partial(indexes.index_metadata, generation, key, type_),
                )
            )
    return found


def _invalid_indexes() -> Flow[list[Defect]]:
    """Others that Postgres does not use: left by a build that was cut off."""
    rows = yield from fetch(
        """
        SELECT r.relname, i.indisready FROM pg_index AS i
          JOIN pg_class AS r ON r.oid = i.indexrelid
         WHERE r.relnamespace = 'pgrecall'::regnamespace AND r.relkind = 'i' AND NOT i.indisvalid
           AND r.relname !~ '^chunks_g[0-9]+_(tsv|embedding|bm25|metadata|metadata_[0-9a-f]{12})$'
        """
    )
    return [
        _statement(
            "index",
            name,
            "it is not valid, Postgres does not use it",
            sql.SQL("REINDEX INDEX {}").format(sql.Identifier("pgrecall", name)),
        )
        for name, _ in rows
    ]
