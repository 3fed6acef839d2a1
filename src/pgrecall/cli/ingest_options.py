"""The options of ``pgrecall ingest``: how to read, a new collection, a table, staying in step, limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgrecall.cli.options import HIDDEN, Tenant
from pgrecall.cli.storage import StoredAs

if TYPE_CHECKING:
    from pgrecall.arguments import Running
    from pgrecall.chunking import ChunkConfig
    from pgrecall.creating import Described
    from pgrecall.ingest import TableSource
    from pgrecall.load import LoadOptions


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a new collection is to be like."""

    embedder: Annotated[
        str | None,
        typer.Option(
            envvar="PGRECALL_EMBEDDER",
            help="For a new collection, e.g. openai:text-embedding-3-small. Without it: static.",
            **HIDDEN,
        ),
    ] = None
    chunk_tokens: Annotated[
        int | None, typer.Option(help="Longest chunk; for a new collection.", **HIDDEN)
    ] = None
    chunk_overlap: Annotated[
        int | None, typer.Option(help="Overlap; for a new collection.", **HIDDEN)
    ] = None
    text_search: Annotated[
        str | None,
        typer.Option(help="For a new collection: pg_textsearch ranks words.", **HIDDEN),
    ] = None

    def wanted(self, stored: StoredAs) -> Described:
        """The same as keywords of ``create_collection``."""
        return {
            "embedder": self.embedder,
            "chunking": self._chunking(),
            "text_search": self.text_search,
            "storage": stored.wanted(),
        }

    def _chunking(self) -> ChunkConfig | None:
        from pgrecall.chunking import ChunkConfig

        given = {"max_tokens": self.chunk_tokens, "overlap_tokens": self.chunk_overlap}
        named: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return ChunkConfig(**named) if named else None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How to read."""

    text_field: Annotated[
        str | None, typer.Option(help="Rows (CSV, JSONL): the text.", **HIDDEN)
    ] = None
    title_field: Annotated[str | None, typer.Option(help="Rows: the title.", **HIDDEN)] = None
    id_field: Annotated[str | None, typer.Option(help="Rows: what names a row.", **HIDDEN)] = None
    metadata_field: Annotated[
        list[str] | None,
        typer.Option(help="Rows: a field to filter on; repeatable.", **HIDDEN),
    ] = None
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Added to every document.", **HIDDEN),
    ] = None
    tenant: Tenant = None
    encoding: Annotated[
        str | None, typer.Option(help="Of text files; found out without it.", **HIDDEN)
    ] = None
    language: Annotated[
        str | None,
        typer.Option(
            help="Of the documents, e.g. german, or detect; else what they say.", **HIDDEN
        ),
    ] = None
    ocr: Annotated[
        str | None,
        typer.Option(
            metavar="LANGUAGES",
            help="Recognise text in scans and images, e.g. eng or eng+deu.",
            **HIDDEN,
        ),
    ] = None
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="URLs may lead into private networks.")
    ] = False

    def options(self) -> LoadOptions:
        """The same for loading."""
        from pgrecall.load import LoadOptions

        return LoadOptions(
            text_field=self.text_field,
            title_field=self.title_field,
            id_field=self.id_field,
            metadata_fields=tuple(self.metadata_field) if self.metadata_field else None,
            metadata=_pairs(self.metadata or []),
            tenant_id=self.tenant or "",
            encoding=self.encoding,
            language=self.language,
            ocr=self.ocr,
            allow_private=self.allow_private,
        )


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A table of the user's own."""

    table: Annotated[
        str | None, typer.Option(help="Stay in step with a table of your own.", **HIDDEN)
    ] = None
    sql: Annotated[
        str | None, typer.Option(metavar="QUERY", help="The same with a query.", **HIDDEN)
    ] = None
    name: Annotated[
        str | None, typer.Option(help="Of its rows: NAME#ID. Without it: the table's.", **HIDDEN)
    ] = None
    updated_field: Annotated[
        str | None,
        typer.Option(help="When a row was changed. Without it: updated_at.", **HIDDEN),
    ] = None
    tenant_field: Annotated[str | None, typer.Option(help="Whose a row is.", **HIDDEN)] = None
    triggers: Annotated[
        bool, typer.Option("--triggers", help="Let triggers on the table note its changes.")
    ] = False
    source_url: Annotated[
        str | None,
        typer.Option(help="The database of the table, if it is another.", **HIDDEN),
    ] = None
    full: Annotated[bool, typer.Option("--full", help="Read every row again.")] = False
    every: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="With --watch: seconds between two looks at a table (10).", **HIDDEN
        ),
    ] = None

    @property
    def asked(self) -> bool:
        """Whether there is a table or a query."""
        return self.table is not None or self.sql is not None

    def source(self, options: LoadOptions) -> TableSource:
        """Which rows, and what their columns mean."""
        from pgrecall.ingest import TableSource

        return TableSource(
            table=self.table,
            query=self.sql,
            name=self.name,
            triggers=self.triggers,
            id=options.id_field,
            text=options.text_field,
            title=options.title_field,
            metadata=options.metadata_fields,
            updated_at=self.updated_field,
            tenant=self.tenant_field,
        )

    def check(self, sources: list[str]) -> None:
        """End the command with code 2 for what makes no sense."""
        if self.asked == bool(sources):
            raise typer.BadParameter(
                "name files, folders, globs or URLs, or a --table, or a query (--sql)."
            )
        if self.table is not None and self.sql is not None:
            raise typer.BadParameter("name a --table or give a query (--sql), one of them.")
        if self.asked:
            return
        for name in self.__dataclass_fields__:
            if getattr(self, name):
                option = name.replace("_", "-")
                raise typer.BadParameter(f"--{option} is about a --table or a query (--sql).")


@dataclass(frozen=True, kw_only=True)
class Way:
    """What is to be done with the sources."""

    sync: Annotated[
        bool, typer.Option("--sync", help="Also remove documents whose source has gone.")
    ] = False
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="With --sync: a source may have become empty.")
    ] = False
    watch: Annotated[bool, typer.Option("--watch", help="Stay in step (--sync) until Ctrl-C.")] = (
        False
    )
    queue: Annotated[
        bool, typer.Option("--queue", help="Only read here, and let `pgrecall worker` do the rest.")
    ] = False
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what would be done, and what it would cost.")
    ] = False
    max_tokens: Annotated[
        int | None, typer.Option(min=0, help="Embed no more tokens than that.", **HIDDEN)
    ] = None
    max_cost: Annotated[
        float | None,
        typer.Option(min=0, help="Spend no more US dollars, by list price.", **HIDDEN),
    ] = None

    def limits(self) -> Running:
        """The budget, as keywords."""
        return {"max_tokens": self.max_tokens, "max_cost": self.max_cost}

    def check(self, rows: Rows) -> None:
        """End the command with code 2 for what makes no sense."""
        limited = self.max_tokens is not None or self.max_cost is not None
        table = rows.asked
        for wrong, reason in (
            (self.queue and self.plan, "--plan says what would be done here, --queue does it elsewhere."),
            (self.queue and self.sync, "--queue only hands documents over; --sync also removes some."),
            (self.queue and self.watch, "--queue hands over once; --watch never ends."),
            (self.queue and table, "--queue hands over files and pages; rows of a table are taken in here."),
            (self.queue and limited, "--queue embeds nothing; --max-tokens and --max-cost limit that."),
            (self.plan and self.watch, "--plan looks once; --watch never ends."),
            (self.plan and table, "--plan is for files and pages; a table has no plan."),
            (self.watch and limited, "--max-tokens and --max-cost limit one run; --watch is many."),
            (self.watch and rows.full, "--full reads every row once; --watch goes on with what changes."),
            (rows.every is not None and not self.watch, "--every goes with --watch."),
            (
                self.allow_empty and not (self.sync or self.watch or table),
                "--allow-empty goes with --sync, --watch, --table or --sql.",
            ),
        ):  # fmt: skip
            if wrong:
                raise typer.BadParameter(reason)


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for item in given:
        key, separator, value = item.partition("=")
        if not (key and separator):
            raise typer.BadParameter(f"--metadata takes KEY=VALUE, not {item!r}.")
        pairs[key] = value
    return pairs
