"""Collections and their generations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from pgrecall import errors
from pgrecall.flow import Flow
from pgrecall.store import jobs
from pgrecall.store.reuse import Model
from pgrecall.store.session import fetch, transaction
from pgrecall.store.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One way of chunking and embedding a collection."""

    generation_id: int
    collection_id: int
    collection: str
    embedder: str
    dimensions: int
    storage: Storage
    chunking: Mapping[str, Any]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The name of the partition that holds its chunks, in the schema pgrecall."""
        return f"chunks_g{self.generation_id}"

    @property
    def model(self) -> Model:
        """Whose vectors it holds."""
        return Model(self.embedder, self.dimensions, self.storage.element)

    @property
    def partition(self) -> sql.Identifier:
        """The same, for composing statements."""
        return sql.Identifier("pgrecall", self.table)

    @property
    def language(self) -> str:
        """The text search configuration of documents that name none."""
        return str(self.defaults.get("language", "english"))

    @property
    def text_search(self) -> str | None:
        """The extension that ranks its words; None: the text arm that needs none."""
        return self.defaults.get("text_search")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGeneration:
    """What a generation is made of, before it has a number."""

    embedder: str
    dimensions: int
    chunking: Mapping[str, Any]
    #: With its type decided (``Storage.of``).
    storage: Storage


COLUMNS = """
    g.generation_id, c.collection_id, c.name, g.embedder, g.dimensions, g.chunking, c.defaults,
    g.storage, g.metric, g.prefix
"""
_ACTIVE = f"""
    SELECT {COLUMNS} FROM pgrecall.collections AS c
      JOIN pgrecall.generations AS g ON g.generation_id = c.active_generation_id
"""  # noqa: S608 (constants only)


def active(name: str) -> Flow[Generation]:
    """The generation that a collection is searched in; raises CollectionNotFound."""
    rows = yield from fetch(sql.SQL(_ACTIVE) + sql.SQL(" WHERE c.name = %s"), [name])
    if not rows:
        raise errors.CollectionNotFound(
            f'There is no collection named "{name}"; `pgrecall collections` lists them.'
        )
    return from_row(rows[0])


def generations() -> Flow[list[Generation]]:
    """Every generation of every collection."""
    rows = yield from fetch(
        sql.SQL(
            "SELECT {} FROM pgrecall.generations AS g JOIN pgrecall.collections AS c"
            " ON c.collection_id = g.collection_id ORDER BY c.name, g.generation_id"
        ).format(sql.SQL(COLUMNS))
    )
    return [from_row(row) for row in rows]


def names() -> Flow[list[str]]:
    """All collections, by name."""
    rows = yield from fetch("SELECT name FROM pgrecall.collections ORDER BY name")
    return [row[0] for row in rows]


def create(name: str, new: NewGeneration, *, defaults: Mapping[str, Any]) -> Flow[Generation]:
    """A collection with its first generation.

    Raises CollectionExists, InvalidArgument for a name or a language that cannot be.
    """
    if not name or len(name) > 200 or "\x00" in name:
        raise errors.InvalidArgument("A collection's name has 1 to 200 characters.")
    yield from check_language(str(defaults.get("language", "english")))
    return (yield from transaction(_create(name, new, defaults)))


def check_language(language: str) -> Flow[None]:
    """Raises InvalidArgument if Postgres has no such text search configuration."""
    try:
        yield from fetch("SELECT %s::text::regconfig", [language])
    except errors.DatabaseUnavailable:
        raise
    except errors.DatabaseError as exc:
        raise errors.InvalidArgument(
            f'Postgres has no text search configuration "{language}": name a language as it does, such as '
            '"german", or "simple" for one that it does not know.'
        ) from exc


def _create(name: str, new: NewGeneration, defaults: Mapping[str, Any]) -> Flow[Generation]:
    rows = yield from fetch(
        """
        INSERT INTO pgrecall.collections (name, defaults) VALUES (%s, %s)
        ON CONFLICT (name) DO NOTHING RETURNING collection_id
        """,
        [name, Jsonb(defaults)],
    )
    if not rows:
        raise errors.CollectionExists(
            f'A collection named "{name}" exists; pass exist_ok=True to use it as it is.'
        )
    rows = yield from fetch(
        """
        INSERT INTO pgrecall.generations
               (collection_id, embedder, dimensions, storage, metric, prefix, chunking, state,
                languages, activated_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, 'active', %s, now()) RETURNING generation_id
        """,
        [
            rows[0][0],
            new.embedder,
            new.dimensions,
            new.storage.type,
            new.storage.metric,
            new.storage.prefix,
            Jsonb(new.chunking),
            [defaults.get("language", "english")],
        ],
    )
    yield from fetch(
        "UPDATE pgrecall.collections SET active_generation_id = %s WHERE name = %s",
        [rows[0][0], name],
    )
    generation = yield from active(name)
    yield from create_partition(generation)
    return generation


def create_partition(generation: Generation) -> Flow[None]:
    """Where its chunks go. Made beside the parent and then attached: searches are not held up."""
    number = sql.Literal(generation.generation_id)
    storage = generation.storage
    for statement in (
        "CREATE TABLE {partition} (LIKE pgrecall.chunks INCLUDING ALL,"
        " CONSTRAINT generation CHECK (generation_id = {number}))",
        # The text arm weighs words by how many chunks hold them, as ANALYZE counts it.
        "ALTER TABLE {partition} ALTER COLUMN tsv SET STATISTICS 1000",
        # Nobody asks the planner about these, and they are long.
        "ALTER TABLE {partition} ALTER COLUMN embedding SET STATISTICS 0,"
        " ALTER COLUMN embedding_full SET STATISTICS 0,"
        " ALTER COLUMN content SET STATISTICS 0, ALTER COLUMN header SET STATISTICS 0,"
        " ALTER COLUMN headings SET STATISTICS 0, ALTER COLUMN title SET STATISTICS 0",
        "ALTER TABLE {partition} ALTER COLUMN {column} SET STORAGE {place}",
        "ALTER TABLE pgrecall.chunks ATTACH PARTITION {partition} FOR VALUES IN ({number})",
        "ALTER TABLE {partition} DROP CONSTRAINT generation",
    ):
        yield from fetch(
            sql.SQL(statement).format(
                partition=generation.partition,
                number=number,
                column=sql.Identifier(storage.column),
                place=sql.SQL("PLAIN" if storage.inline(generation.dimensions) else "EXTERNAL"),
            )
        )
    yield from fetch("SELECT pgrecall.create_nearest(%s)", [generation.generation_id])


def drop_partition(number: int) -> Flow[None]:
    """The chunks of a generation, with the functions that search them."""
    yield from fetch(
        sql.SQL("DROP TABLE {}").format(sql.Identifier("pgrecall", f"chunks_g{number}"))
    )
    for function in ("nearest", "search_vector"):
        yield from fetch(
            sql.SQL("DROP FUNCTION IF EXISTS {}").format(
                sql.Identifier("pgrecall", f"{function}_g{number}")
            )
        )


def imagined(name: str, new: NewGeneration, defaults: Mapping[str, Any]) -> Generation:
    """The first generation of a collection that does not exist: it has no number, and no table."""
    return Generation(
        generation_id=0,
        collection_id=0,
        collection=name,
        embedder=new.embedder,
        dimensions=new.dimensions,
        storage=new.storage,
        chunking=new.chunking,
        defaults=defaults,
    )


def configure(generation: Generation, changes: Mapping[str, Any]) -> Flow[Generation]:
    """The collection with other defaults for its searches; None takes one away."""
    yield from fetch(
        """
        UPDATE pgrecall.collections SET defaults = jsonb_strip_nulls(defaults || %s)
         WHERE collection_id = %s
        """,
        [Jsonb(dict(changes)), generation.collection_id],
    )
    return (yield from active(generation.collection))


def drop(name: str) -> Flow[None]:
    """A collection with all its documents; raises CollectionNotFound."""
    yield from transaction(_drop(name))


def _drop(name: str) -> Flow[None]:
    rows = yield from fetch(
        "SELECT collection_id FROM pgrecall.collections WHERE name = %s FOR UPDATE", [name]
    )
    if not rows:
        raise errors.CollectionNotFound(
            f'There is no collection named "{name}"; `pgrecall collections` lists them.'
        )
    generations = yield from fetch(
        "SELECT generation_id FROM pgrecall.generations WHERE collection_id = %s", [rows[0][0]]
    )
    yield from jobs.withdraw([number for (number,) in generations], rows[0][0])
    for (number,) in generations:
        yield from drop_partition(number)
    yield from fetch("DELETE FROM pgrecall.collections WHERE name = %s", [name])


def from_row(row: tuple[Any, ...]) -> Generation:
    """The generation whose ``COLUMNS`` these are."""
    return Generation(
        generation_id=row[0],
        collection_id=row[1],
        collection=row[2],
        embedder=row[3],
        dimensions=row[4],
        chunking=row[5],
        defaults=row[6],
        storage=Storage(type=row[7], metric=row[8], prefix=row[9]),
    )
