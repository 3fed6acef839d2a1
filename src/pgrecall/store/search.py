"""Searching: one call of one SQL function, and its rows as hits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from json import JSONDecoder
from numbers import Integral, Real
from typing import Any, cast
from uuid import UUID

from psycopg import sql

from pgrecall.errors import InvalidArgument
from pgrecall.flow import Flow
from pgrecall.store.collections import Generation
from pgrecall.store.filters import encode as encode_filter
from pgrecall.store.session import Row, fetch_binary
from pgrecall.store.vectors import encode
from pgrecall.types import FloatArray, Hit, Hits, Mode, Stage, Where

#: What found nothing, which no row says: an index scan that comes back short is followed by an exact search.
NOTHING: Mapping[Mode, str] = {"vector": "exact", "hybrid": "hybrid:exact", "text": "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question, ready to be asked: embedded if the mode wants that."""

    text: str = ""
    embedding: FloatArray | None = None
    k: int = 10
    mode: Mode = "hybrid"
    where: Where | None = None
    tenant_id: str | None = None
    uri_prefix: str | None = None
    documents: Sequence[UUID] | None = None
    exact: bool = False
    ef_search: int | None = None
    recall: float | None = None
    vector_weight: float | None = None
    fusion: str = "convex"

    def __post_init__(self) -> None:
        if self.mode not in ("hybrid", "vector", "text"):
            raise InvalidArgument(f'mode is "hybrid", "vector" or "text", not {self.mode!r}.')
        _check_whole("k", self.k, 10_000)
        if self.ef_search is not None:
            _check_whole("ef_search", self.ef_search, 1_000)
        _check_text("tenant_id", self.tenant_id)
        _check_text("uri_prefix", self.uri_prefix)
        _check_share("recall", self.recall)
        _check_share("vector_weight", self.vector_weight)
        if self.fusion not in ("convex", "dbsf", "rrf"):
            raise InvalidArgument(
                f'The fusion must be "convex", "dbsf" or "rrf", not {self.fusion!r}.'
            )

    @property
    def unfiltered(self) -> bool:
        """Whether any chunk may answer, and the index may be asked."""
        given = (self.where, self.tenant_id, self.uri_prefix, self.documents)
        return not self.exact and all(value is None for value in given)

    @property
    def words(self) -> str:
        """The text as Postgres can take it."""
        return self.text.replace("\x00", " ").encode("utf-8", "replace").decode()


def _check_whole(name: str, value: object, most: int) -> None:
    if not isinstance(value, Integral) or not 1 <= int(value) <= most:
        raise InvalidArgument(f"{name} must be a whole number from 1 to {most:,}, not {value!r}.")


def _check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidArgument(f"The {name} must be a text, not {value!r}.")


def _check_share(name: str, value: object) -> None:
    if value is None:
        return
    # Postgres takes no boolean for a number.
    if isinstance(value, bool) or not (isinstance(value, Real) and 0 <= cast(float, value) <= 1):
        raise InvalidArgument(f"The {name} must be a number from 0 to 1, not {value!r}.")


#: Without what json.loads does before, for texts of any encoding: three quarters of its time for short ones.
_decode = JSONDecoder().raw_decode

_COLUMNS = """
    SELECT content, score, uri, title, metadata::text, tenant_id, document_id, ordinal, start_offset,
           end_offset, page, headings, vector_score, text_score, vector_rank, text_rank, strategy,
           complete
      FROM pgrecall."""
#: What a hit calls these columns; the last two are about all hits.
_FIELDS = tuple(field.name for field in fields(Hit))[:16]
#: Every hit has all fields as its own: some libraries write what they find in its __dict__.
_BLANK: Mapping[str, Any] = dict.fromkeys(field.name for field in fields(Hit))
_SCOPE = """
           k => %s::integer, filter => %s, tenant => %s, uri_prefix => %s, documents => %s::uuid[],
           generation => %s::integer"""
_SCAN = "exact => %s, ef_search => %s::integer, recall => %s::double precision"
_VECTOR = f"{_COLUMNS}search_vector(%s, %s::pgrecall.embedding, {_SCAN}, {_SCOPE})"
_TEXT = f"{_COLUMNS}search_text(%s, %s, {_SCOPE})"
_HYBRID = (
    f"{_COLUMNS}search(%s, %s, %s::pgrecall.embedding, {_SCAN},"
    f" vector_weight => %s::double precision, fusion => %s, {_SCOPE})"
)


def search(generation: Generation, query: Query) -> Flow[Hits]:
    """The hits of a query, in one round trip.

    Raises GenerationChanged if the collection is searched in another generation by now, FilterError,
    InvalidArgument, CollectionNotFound.
    """
    scope = [*_scope(query), generation.generation_id]
    name = generation.collection
    if query.mode == "text":
        rows = yield from fetch_binary(_TEXT, [name, query.words, *scope])
    elif query.embedding is None:
        raise InvalidArgument(f"A {query.mode} search needs an embedding.")
    else:
        scan = [bool(query.exact), query.ef_search, query.recall]
        embedding = encode(query.embedding, generation.storage.element)
        if query.mode == "vector" and query.unfiltered:
            asked = [name, embedding, query.k, query.ef_search, query.recall]
            rows = yield from fetch_binary(_nearest(generation.generation_id), asked)
            if len(rows) >= query.k or (rows and rows[0][12] == "exact"):
                return _nearest_hits(rows)
            # The index scan came back short.
            scan = [True, None, None]
        if query.mode == "vector":
            rows = yield from fetch_binary(_VECTOR, [name, embedding, *scan, *scope])
        else:
            fusion = [query.vector_weight, query.fusion]
            asked = [name, query.words, embedding, *scan, *fusion, *scope]
            rows = yield from fetch_binary(_HYBRID, asked)
    return _hits(rows, query.mode)


#: Without the columns that say nothing here: five of eighteen, which take as long to send and read. The rows
#: come nearest first.
_NEAREST = """
    SELECT content, score, uri, title, metadata::text, tenant_id, document_id, ordinal, start_offset,
           end_offset, page, headings, strategy
      FROM {}(%s, %s, %s::integer, %s::integer, %s::double precision)
"""


@cache
def _nearest(generation_id: int) -> sql.SQL:
    """What search_vector itself calls where nothing is asked but the nearest."""
    function = sql.Identifier("pgrecall", f"search_vector_g{generation_id}")
    # Composed once: psycopg would put it together for every search.
    return sql.SQL(sql.SQL(_NEAREST).format(function).as_string())


def _nearest_hits(rows: list[Row]) -> Hits:
    """Scored by their vectors alone, nearest first."""
    hits = []
    for rank, row in enumerate(rows, 1):
        hit = _hit(row, _FIELDS[:12])
        values = vars(hit)
        values["vector_score"], values["vector_rank"] = row[1], rank
        hits.append(hit)
    return Hits(hits, strategy=rows[0][12])


_EXPLAIN = """
    SELECT arm, strategy, matching, breadth, indexes, rows, planning, execution, plan
      FROM pgrecall.explain(%s, %s, %s::pgrecall.embedding, k => %s::integer, filter => %s, tenant => %s,
           uri_prefix => %s, documents => %s::uuid[], exact => %s, ef_search => %s::integer,
           recall => %s::double precision, vector_weight => %s::double precision,
           generation => %s::integer)
"""


def explain(generation: Generation, query: Query) -> Flow[tuple[Stage, ...]]:
    """How each arm of a query runs: it is run once more, with its plan and times. Raises as ``search``."""
    rows = yield from fetch_binary(
        _EXPLAIN,
        [
            generation.collection,
            None if query.mode == "vector" else query.words,
            None
            if query.embedding is None
            else encode(query.embedding, generation.storage.element),
            *_scope(query),
            bool(query.exact),
            query.ef_search,
            query.recall,
            query.vector_weight,
            generation.generation_id,
        ],
    )
    return tuple(
        Stage(
            arm=row[0],
            strategy=row[1],
            matching=row[2],
            ef_search=row[3],
            indexes=tuple(row[4]),
            rows=row[5],
            planning_ms=row[6],
            execution_ms=row[7],
            plan=row[8],
        )
        for row in rows
    )


_SIMILAR = f"{_COLUMNS}similar(%s, %s, %s::integer, %s::integer, %s, %s, %s::integer)"


def similar(generation: Generation, document: UUID, chunk: int | None, query: Query) -> Flow[Hits]:
    """The chunks of other documents most like a document, or like one of its chunks."""
    scope = [query.k, encode_filter(query.where), query.tenant_id, generation.generation_id]
    rows = yield from fetch_binary(_SIMILAR, [generation.collection, document, chunk, *scope])
    return _hits(rows, "vector")


def check_scope(query: Query) -> None:
    """Raise FilterError or InvalidArgument for what no search can be narrowed down to."""
    if not query.unfiltered:
        _scope(query)


def _scope(query: Query) -> list[Any]:
    return [
        query.k,
        encode_filter(query.where),
        query.tenant_id,
        query.uri_prefix,
        None if query.documents is None else _ids(query.documents),
    ]


def _ids(documents: Iterable[UUID | str]) -> list[UUID]:
    try:
        return [UUID(str(document)) for document in documents]
    except (TypeError, ValueError) as exc:
        raise InvalidArgument("documents must be a list of the ids of documents, UUIDs.") from exc


def _hits(rows: list[Row], mode: Mode) -> Hits:
    if not rows:
        return Hits(strategy=NOTHING[mode])
    return Hits(map(_hit, rows), strategy=rows[0][16], complete=rows[0][17])


def _hit(row: Row, names: Sequence[str] = _FIELDS) -> Hit:
    """With these fields; the others are None."""
    # Made as usual, each field of a frozen dataclass is set by a call: half of the client's time of a search.
    hit = object.__new__(Hit)
    values = vars(hit)
    values.update(_BLANK)
    values.update(zip(names, row, strict=False))
    values["metadata"], _ = _decode(row[4])
    values["headings"] = tuple(row[11])
    return hit
