"""Options that several commands share, and how the database is opened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from pgrecall.types import Mode, Order

if TYPE_CHECKING:
    from pgrecall.database import Database

#: Of an option: what it is without being given needs no words.
HIDDEN: dict[str, Any] = {"show_default": False}

Question = Annotated[str, typer.Argument(help="What you want to know.", show_default=False)]
ModeOption = Annotated[
    str, typer.Option("--mode", "-m", help=f"One of: {', '.join(get_args(Mode))}.")
]
OrderOption = Annotated[
    str, typer.Option("--order", help=f"Of the documents: {' or '.join(get_args(Order))}.")
]

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="PGRECALL_DATABASE_URL",
        show_default=False,
        show_envvar=True,
        help="A Postgres of your own. Without it: the embedded one.",
    ),
]
Collection = Annotated[
    str,
    typer.Option("--collection", "-c", envvar="PGRECALL_COLLECTION", help="Which collection."),
]
Tenant = Annotated[
    str | None, typer.Option("--tenant", show_default=False, help="Only this tenant's documents.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Where = Annotated[
    str | None,
    typer.Option(
        "--where",
        show_default=False,
        metavar="JSON",
        help="""A filter over metadata: '{"lang": "en", "year": {"$gte": 2024}}'.""",
    ),
]


def open_database(url: str | None) -> Database:
    """Connect, or end the command with the reason why not."""
    from pgrecall.database import connect

    return connect(url)


def one_of(choices: Any, option: str, given: str) -> Any:
    """The value of an option that is one of a Literal's; ends the command with code 2 if it is not."""
    named = get_args(choices)
    if given not in named:
        raise typer.BadParameter(f"{option} is one of {', '.join(named)}, not {given!r}.")
    return given


def parsed(where: str | None) -> dict[str, Any] | None:
    """The filter of a command line; ends the command with code 2 if it is no JSON object."""
    if where is None:
        return None
    try:
        value = json.loads(where)
    except json.JSONDecodeError as exc:
        raise typer.BadParameter(f"--where is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise typer.BadParameter('--where is a JSON object, such as \'{"lang": "en"}\'.')
    return value
