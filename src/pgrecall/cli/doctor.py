"""``pgrecall doctor``: is the database whole, and is there anything that hurts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pgrecall.cli.options import AsJson, Url, open_database
from pgrecall.cli.output import as_json, complain, escape, out, print_json, remark

if TYPE_CHECKING:
    from pgrecall.doctor import Diagnosis

#: Problems that are printed; --json has more.
LISTED = 50
COLOURS = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    verify: Annotated[
        bool, typer.Option("--verify", help="Hold every chunk against its document's text.")
    ] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Verify, and mend what the stored texts can mend.")
    ] = False,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Look for what is wrong with the server, its settings and the stored documents.

    Ends with 1 if a problem remains.
    """
    with open_database(url) as db:
        found = [db.verify(repair=repair)] if verify or repair else []
        # Afterwards, so that it tells what is left.
        found.insert(0, db.doctor())
    if as_json_:
        for item in found:
            print_json({"healthy": item.healthy, **as_json(item)})
    else:
        for item in found:
            _print_checks(item)
        _print_problems(found[-1], verified=len(found) > 1)
    raise typer.Exit(0 if all(item.healthy for item in found) else 1)


def _print_checks(diagnosis: Diagnosis) -> None:
    for check in diagnosis.checks:
        colour = COLOURS[check.state]
        out().print(f"[{colour}]{check.state:8}[/] {escape(check.name)}  {escape(check.detail)}")


def _print_problems(diagnosis: Diagnosis, *, verified: bool) -> None:
    for problem in diagnosis.problems[:LISTED]:
        line = f"{problem.kind}: {problem.subject}: {problem.detail}"
        if problem.repaired:
            remark(f"repaired: {line}")
        else:
            complain(line)
    if diagnosis.found > LISTED:
        remark(f"... and {diagnosis.found - LISTED} more; --json lists up to a thousand")
    if verified:
        out().print(
            f"{diagnosis.documents} documents with {diagnosis.chunks} chunks verified: "
            f"{diagnosis.found} problems, {diagnosis.repaired} repaired"
            + (f", {diagnosis.embedded} chunks embedded" if diagnosis.embedded else "")
        )
    elif not diagnosis.found:
        out().print("Everything stands where it should; --verify reads the documents too.")
