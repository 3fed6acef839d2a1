"""How vectors are stored: options of the commands that make a collection or a generation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pgrecall.store.storage import Storage


@dataclass(frozen=True, kw_only=True)
class StoredAs:
    """How vectors are stored."""

    storage: Annotated[
        str | None, typer.Option(help="Of vectors: halfvec, vector or bit.", show_default=False)
    ] = None
    metric: Annotated[
        str | None, typer.Option(help="Of vectors: cosine, ip or l2.", show_default=False)
    ] = None
    prefix: Annotated[
        int | None,
        typer.Option(help="Dimensions in the index (Matryoshka); 0: all.", show_default=False),
    ] = None

    def given(self) -> dict[str, Any]:
        """The arguments of a Storage that were given; 0 takes a prefix away."""
        named = {"type": self.storage, "metric": self.metric, "prefix": self.prefix}
        found = {name: value for name, value in named.items() if value is not None}
        return {**found, "prefix": None} if self.prefix == 0 else found

    def wanted(self) -> Storage | None:
        """What the options say; None if they say nothing. Raises InvalidArgument."""
        from pgrecall.store.storage import Storage

        given = self.given()
        return Storage(**given) if given else None
