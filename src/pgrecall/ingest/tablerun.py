"""What it takes to bring a collection in step with a table: which rows, how to read them, what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from pgrecall.errors import InvalidArgument
from pgrecall.flow import Flow, On
from pgrecall.ingest.job import Ingestion
from pgrecall.load import LoadOptions
from pgrecall.store import tables
from pgrecall.store.origins import Held, Span
from pgrecall.types import IngestReport

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """Which rows, and what their columns mean; None: the usual names."""

    #: A table, named as in SQL, or a query whose columns are meant.
    table: str | None = None
    query: str | None = None
    #: Rows are named NAME#ID. None: the table's name, or the first one in the query.
    name: str | None = None
    #: The column that identifies a row. None: id.
    id: str | None = None
    #: None: text, content or body.
    text: str | None = None
    #: None: title, if there is one.
    title: str | None = None
    #: None: all other columns with values up to 1,000 characters.
    metadata: Sequence[str] | None = None
    tenant: str | None = None
    #: When a row was changed. None: updated_at, if there is one; without one, all rows are read each time.
    updated_at: str | None = None
    #: By how much the clock or the transactions that set ``updated_at`` may be late.
    overlap: timedelta = timedelta(minutes=5)
    #: Let triggers on the table note what changes, instead of looking for it.
    triggers: bool = False

    def __post_init__(self) -> None:
        if (self.table is None) == (self.query is None):
            raise InvalidArgument("Name a table or give a query, one of them.")
        if self.triggers and self.table is None:
            raise InvalidArgument("Triggers are made on a table; name it instead of a query.")

    @property
    def called(self) -> str:
        """The name in front of its rows' identifiers."""
        return self.name or self.table or tables.name_of(self.query or "")


@dataclass(slots=True, kw_only=True)
class TableRun:
    """One run that brings a collection in step with a table."""

    source: TableSource
    options: LoadOptions
    #: What goes on record; rows are taken in by others like it (``again``).
    job: Ingestion
    #: The session of another database that the table is in; None: it is in the collection's own.
    elsewhere: Any = None
    #: Read every row, whatever is known.
    full: bool = False
    #: Look whether stored rows are still there.
    deletes: bool = True
    allow_empty: bool = False

    def there(self, flow: Flow[T]) -> Flow[T]:
        """The result of a flow that runs where the table is."""
        if self.elsewhere is None:
            return (yield from flow)
        result: T = yield On(self.elsewhere, flow)
        return result

    @property
    def report(self) -> IngestReport:
        """What it did so far."""
        return self.job.report

    @property
    def origin(self) -> str:
        """The source of its documents."""
        return f"sql:{self.source.called}"

    @property
    def definition(self) -> dict[str, Any]:
        """What makes it another source under the same name, whose rows are all read again."""
        source = self.source
        columns = [source.id, source.text, source.title, source.tenant, source.updated_at]
        metadata = list(source.metadata) if source.metadata is not None else None
        extra = [self.options.tenant_id, self.options.language, dict(self.options.metadata)]
        return {
            "rows": source.query or source.table,
            "columns": [*columns, metadata],
            "options": extra,
        }

    def span(self) -> Span:
        """Its documents."""
        tenant = None if self.source.tenant else self.options.tenant_id
        low = self.origin
        return Span(generation=self.job.generation, low=low, high=low + " ", tenant_id=tenant)

    def uri(self, key: str) -> str:
        """The uri of a row; an identifier that is a URL is one by itself."""
        return key if "://" in key else f"{self.source.called}#{key}"

    def key(self, held: Held) -> str:
        """The identifier of a stored row."""
        return held.uri.removeprefix(f"{self.source.called}#")
