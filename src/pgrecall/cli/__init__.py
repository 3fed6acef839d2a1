"""The command line: each command parses, calls the library function of the same name, and prints.

Results go to standard output (``--json``: JSON lines), everything else to standard error.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from pgrecall.cli import (
    ask,
    collections,
    db,
    doctor,
    evaluate,
    ingest,
    mcp,
    reindex,
    search,
    status,
    transfer,
    worker,
)
from pgrecall.cli.logs import LEVELS, configure
from pgrecall.cli.output import complain
from pgrecall.cli.wording import in_options, options
from pgrecall.errors import InvalidArgument, PgrecallError


class _Commands(TyperGroup):
    """The root of all commands."""

    def invoke(self, ctx: Any) -> Any:
        """Say that a command was stopped: typer itself ends without a word, or with another code."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            complain(" ".join(["Stopped.", *map(str, stop.args)]))
            raise typer.Exit(130) from stop
        except InvalidArgument as exc:
            command = self.get_command(ctx, ctx.invoked_subcommand or "")
            exc.args = (in_options(str(exc), options(command)),)
            raise


app = typer.Typer(
    name="pgrecall",
    cls=_Commands,
    help="Documents in, evidence out, and Postgres is the only moving part.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
ingest.register(app)
search.register(app)
ask.register(app)
collections.register(app)
reindex.register(app)
transfer.register(app)
status.register(app)
mcp.register(app)
doctor.register(app)
app.add_typer(evaluate.app, name="eval")
app.add_typer(worker.app, name="worker")
app.add_typer(db.app, name="db")


def _version(wanted: bool) -> None:
    if wanted:
        from pgrecall import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    log_level: str = typer.Option(
        "warning", envvar="PGRECALL_LOG_LEVEL", help=f"One of: {', '.join(LEVELS)}."
    ),
    log_json: bool = typer.Option(False, help="Log JSON lines; so does PGRECALL_LOG_FORMAT=json."),
) -> None:
    """Documents in, evidence out, and Postgres is the only moving part."""
    if log_level.lower() not in LEVELS:
        raise typer.BadParameter(f"--log-level is one of {', '.join(LEVELS)}, not {log_level!r}.")
    as_json = log_json or os.environ.get("PGRECALL_LOG_FORMAT", "").lower() == "json"
    configure(log_level, as_json=as_json)


def main() -> None:
    """What the ``pgrecall`` command runs."""
    try:
        app()
    except PgrecallError as exc:
        complain(str(exc))
        sys.exit(1)
    except BrokenPipeError:
        # The reader (head, less) has seen enough; Python must not flush into the closed pipe at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
