"""The options of ``search`` and ``context`` that work on what the search has found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from pgrecall.types import Around

if TYPE_CHECKING:
    from pgrecall.candidates import CandidateOptions

_HIDDEN: dict[str, Any] = {"show_default": False}

Also = Annotated[
    list[str] | None,
    typer.Option("--also", help="Another question; the hits become one list.", **_HIDDEN),
]
MinSimilarity = Annotated[
    float | None,
    typer.Option(help="Only passages whose vector is at least that similar, -1 to 1.", **_HIDDEN),
]
Rerank = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="A reranker that decides the order: cohere:MODEL, cross-encoder:MODEL or "
        "late-interaction:MODEL.",
        **_HIDDEN,
    ),
]
Recent = Annotated[
    str | None,
    typer.Option(
        metavar="FIELD", help="Prefer what is newer by this date in the metadata.", **_HIDDEN
    ),
]
HalfLife = Annotated[float, typer.Option(help="With --recent: days after which it counts half.")]
Deduplicate = Annotated[
    bool, typer.Option("--deduplicate", help="Leave out what is nearly the same as a better one.")
]
Diversity = Annotated[
    float, typer.Option(help="Put back what is like a better hit: 0 (not at all) to 1.")
]
PerDocument = Annotated[
    int | None, typer.Option(help="How many hits a document may have.", **_HIDDEN)
]
Expand = Annotated[
    str | None,
    typer.Option(metavar="|".join(get_args(Around)), help="Show more of the document.", **_HIDDEN),
]
ExpandBy = Annotated[
    int | None, typer.Option(help="With --expand: chunks on each side, at most.", **_HIDDEN)
]
Candidates = Annotated[
    int | None, typer.Option(help="How many rows these options look at.", **_HIDDEN)
]


def refinement(
    *,
    rerank: str | None,
    recent: str | None,
    half_life: float,
    expand: str | None,
    **others: Any,
) -> CandidateOptions:
    """The keywords of ``Collection.search`` for the options of a command line."""
    around: Any = expand  # Checked where it is used, as all of them are.
    options: CandidateOptions = {"reranker": rerank, "expand": around, **others}  # type: ignore[typeddict-item]
    if recent is not None:
        from pgrecall.refine import Recency

        options["boost"] = Recency(recent, half_life)
    return options
