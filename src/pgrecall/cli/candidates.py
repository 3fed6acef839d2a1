"""The options of ``search``, ``context`` and ``ask``: what may answer, and what becomes of what is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, get_args

import typer

from pgrecall.cli.options import HIDDEN, ModeOption, Tenant, Where, one_of, parsed
from pgrecall.types import Around, Mode


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How to search, as a command line says it."""

    mode: ModeOption = "hybrid"
    where: Where = None
    tenant: Tenant = None
    uri_prefix: Annotated[
        str | None, typer.Option("--prefix", help="Only uris that start so.", **HIDDEN)
    ] = None
    instruction: Annotated[
        str | None,
        typer.Option(help="What the search is for: for models that follow instructions.", **HIDDEN),
    ] = None
    vector_weight: Annotated[
        float | None,
        typer.Option(help="Hybrid: share of the vectors in a score, 0 to 1.", **HIDDEN),
    ] = None
    fusion: Annotated[
        str, typer.Option(help="Hybrid: how both scores are combined: convex, dbsf or rrf.")
    ] = "convex"
    min_similarity: Annotated[
        float | None,
        typer.Option(
            help="Only passages whose vector is at least that similar, -1 to 1.", **HIDDEN
        ),
    ] = None
    rerank: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A reranker that decides the order: cohere:MODEL, cross-encoder:MODEL or "
            "late-interaction:MODEL.",
            **HIDDEN,
        ),
    ] = None
    recent: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="Prefer what is newer by this date in the metadata.", **HIDDEN
        ),
    ] = None
    half_life: Annotated[
        float | None,
        typer.Option(help="With --recent: days after which it counts half (365).", **HIDDEN),
    ] = None
    deduplicate: Annotated[
        bool,
        typer.Option("--deduplicate", help="Leave out what is nearly the same as a better one."),
    ] = False
    diversity: Annotated[
        float, typer.Option(help="Put back what is like a better hit: 0 (not at all) to 1.")
    ] = 0.0
    per_document: Annotated[
        int | None, typer.Option(help="How many hits a document may have.", **HIDDEN)
    ] = None
    expand: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(get_args(Around)), help="Show more of the document.", **HIDDEN
        ),
    ] = None
    expand_by: Annotated[
        int | None, typer.Option(help="With --expand: chunks on each side, at most.", **HIDDEN)
    ] = None
    candidates: Annotated[
        int | None, typer.Option(help="How many rows these options look at.", **HIDDEN)
    ] = None

    def options(self) -> Any:
        """The same as keywords of ``Collection.search``, which checks them."""
        return {
            "mode": one_of(Mode, "--mode", self.mode),
            "where": parsed(self.where),
            "tenant_id": self.tenant,
            "uri_prefix": self.uri_prefix,
            "instruction": self.instruction,
            "vector_weight": self.vector_weight,
            "fusion": self.fusion,
            "min_similarity": self.min_similarity,
            "reranker": self.rerank,
            "deduplicate": self.deduplicate,
            "diversity": self.diversity,
            "per_document": self.per_document,
            "expand": self.expand,
            "expand_by": self.expand_by,
            "candidates": self.candidates,
            **self._boost(),
        }

    def _boost(self) -> dict[str, Any]:
        given: Any = {} if self.half_life is None else {"half_life": self.half_life}
        if self.recent is None:
            if given:
                raise typer.BadParameter("--half-life is for --recent FIELD.")
            return {}
        from pgrecall.refine import Recency

        return {"boost": Recency(self.recent, **given)}


Also = Annotated[
    list[str] | None,
    typer.Option("--also", help="Another question; the hits become one list.", **HIDDEN),
]
