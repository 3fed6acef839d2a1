"""How vectors are stored: options of the commands that make a collection or a generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from pgrecall.store.storage import Storage

Type: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--storage",
        show_default=False,
        help="Of vectors: halfvec, vector or bit.",
    ),
]
Metric: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--metric",
        show_default=False,
        help="Of vectors: cosine, ip or l2.",
    ),
]
Prefix: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--prefix",
        show_default=False,
        help="Dimensions in the index (Matryoshka); 0: all.",
    ),
]


def given(type_: str | None, metric: str | None, prefix: int | None) -> dict[str, Any]:
    """The arguments of a Storage that were given; 0 takes a prefix away."""
    named = {"type": type_, "metric": metric, "prefix": prefix}
    found = {name: value for name, value in named.items() if value is not None}
    return {**found, "prefix": None} if prefix == 0 else found


def storage(type_: str | None, metric: str | None, prefix: int | None) -> Storage | None:
    """What the options say; None if they say nothing. Raises InvalidArgument."""
    from pgrecall.store.storage import Storage

    named = given(type_, metric, prefix)
    return Storage(**named) if named else None
