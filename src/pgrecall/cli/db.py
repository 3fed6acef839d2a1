"""``pgrecall db``: the server behind it all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from pgrecall.cli.options import AsJson, Url
from pgrecall.cli.output import as_json, out, print_json, remark, size
from pgrecall.errors import EmbeddedServerError
from pgrecall.store import embedded, migrate

app = typer.Typer(help="The server: start, stop, url, psql, status, upgrade.", no_args_is_help=True)


@app.command()
def start() -> None:
    """Start the embedded Postgres and keep it running until `pgrecall db stop`."""
    state = embedded.keep(_home())
    migrate.upgrade(_running(state.url))
    out().print(state.url)


@app.command()
def stop() -> None:
    """Stop the embedded Postgres, whoever is using it."""
    before = embedded.stop(_home())
    remark(f"stopped; {before.users} were using it" if before.running else "it was not running")


@app.command("url")
def print_url(url: Url = None) -> None:
    """Print the address of the database. The embedded one answers while something uses it."""
    if url is None:
        state = embedded.status(_home())
        if not state.running:
            remark("The embedded Postgres is not running; `pgrecall db start` keeps it running.")
        url = _running(state.url)
    out().print(url, markup=False)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def psql(context: typer.Context, url: Url = None) -> None:
    """Open psql on the database; further arguments are psql's own, e.g. -c 'select 1'."""
    if url is not None:
        raise typer.Exit(subprocess.call(_psql(url, context.args)))
    with embedded.EmbeddedServer.start(_home()) as server:
        migrate.upgrade(server.url)
        raise typer.Exit(subprocess.call(_psql(server.url, context.args)))


@app.command("status")
def print_status(as_json_: AsJson = False, url: Url = None) -> None:
    """Say what runs where."""
    if url is not None:
        migrate.check(url)
        out().print("The server answers, and its tables are up to date.")
        return
    state = embedded.status(_home())
    if as_json_:
        print_json(as_json(state))
        return
    running = f"running (pid {state.pid}, {state.users} users)" if state.running else "stopped"
    kept = ", kept until `pgrecall db stop`" if state.kept else ""
    out().print(f"PostgreSQL {state.version}, embedded: {running}{kept}")
    out().print(f"data: {state.data} ({size(state.size)})", markup=False)
    out().print(f"log:  {state.log}", markup=False)


@app.command()
def upgrade(
    url: Url = None,
    sql: Annotated[
        bool, typer.Option("--sql", help="Only print the SQL, for whoever may run DDL.")
    ] = False,
) -> None:
    """Create the tables, or bring them up to date."""
    if sql:
        sys.stdout.write(migrate.offline_sql())
        return
    if url is not None:
        migrate.upgrade(url)
    else:
        with embedded.EmbeddedServer.start(_home()) as server:
            migrate.upgrade(server.url)
    remark("The tables are up to date.")


def _home() -> Path | None:
    from pgrecall.settings import Settings

    return Settings().home


def _running(url: str | None) -> str:
    if url is None:
        raise EmbeddedServerError("The embedded Postgres is not running: pgrecall db start.")
    return url


def _psql(url: str, arguments: list[str]) -> list[str]:
    # A user's own psql has their settings and a pager; ours is the fallback.
    command = embedded.psql_command(migrate.libpq_url(url), arguments)
    os.environ.setdefault("PSQLRC", os.devnull)
    return command
