"""The options of ``pgrecall reindex``: what to change, what to do, limits, and how to compare."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgrecall.cli.options import HIDDEN

if TYPE_CHECKING:
    from pgrecall.chunking import ChunkConfig
    from pgrecall.collection import Collection
    from pgrecall.generations import Limited


@dataclass(frozen=True, kw_only=True)
class Rebuild:
    """What the new generation has that the active one has not."""

    embedder: Annotated[
        str | None, typer.Option(help="Another model; else the same.", **HIDDEN)
    ] = None
    chunk_tokens: Annotated[
        int | None, typer.Option(help="Longest chunk; else the same.", **HIDDEN)
    ] = None
    chunk_overlap: Annotated[int | None, typer.Option(help="Overlap; else the same.", **HIDDEN)] = (
        None
    )

    @property
    def asked(self) -> bool:
        """Whether anything is to change."""
        return any(getattr(self, name) is not None for name in self.__dataclass_fields__)

    def chunking(self, docs: Collection) -> ChunkConfig | None:
        """The chunks of the active generation with these changes; None without any."""
        from pgrecall.chunking import ChunkConfig

        given = {"max_tokens": self.chunk_tokens, "overlap_tokens": self.chunk_overlap}
        named: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if not named:
            return None
        (active,) = [item for item in docs.generations() if item.state == "active"]
        return replace(ChunkConfig.from_dict(active.chunking), **named)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What may be embedded at most."""

    max_tokens: Annotated[
        int | None, typer.Option(min=0, help="Stop before more tokens are embedded.", **HIDDEN)
    ] = None
    max_cost: Annotated[
        float | None, typer.Option(min=0, help="Stop before it costs more US dollars.", **HIDDEN)
    ] = None

    def limits(self) -> Limited:
        """The same as keywords."""
        return {"max_tokens": self.max_tokens, "max_cost": self.max_cost}


@dataclass(frozen=True, kw_only=True)
class CompareWith:
    """What the generations are asked to compare them."""

    queries: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help='--compare: one question a line, or {"question": ..., "relevant": \\[uri]}. '
            "Without it: logged questions, and pieces of the texts.",
            **HIDDEN,
        ),
    ] = None
    k: Annotated[int, typer.Option("-k", help="--compare: hits of each question.")] = 10
    mode: Annotated[
        str, typer.Option("--mode", "-m", help="--compare: hybrid, vector or text.")
    ] = "hybrid"

    def options(self) -> Any:
        """The same as keywords of ``Collection.compare``, which checks them."""
        from pgrecall.evaluate.questions import read_questions

        questions = None if self.queries is None else read_questions(self.queries)
        return {"questions": questions, "k": self.k, "mode": self.mode}


@dataclass(frozen=True, kw_only=True)
class Action:
    """What is to be done; building the generation, if nothing is named."""

    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would do, and cost.")] = (
        False
    )
    queue: Annotated[
        bool, typer.Option("--queue", help="Leave it to workers (`pgrecall worker`).")
    ] = False
    compare: Annotated[
        bool, typer.Option("--compare", help="Ask the active generation and the new one.")
    ] = False
    activate: Annotated[
        bool, typer.Option("--activate", help="Search the new generation from now on.")
    ] = False
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Search the generation before again.")
    ] = False
    drop: Annotated[
        bool, typer.Option("--drop", help="Remove the retired generations, or --generation.")
    ] = False
    status: Annotated[bool, typer.Option("--status", help="List the generations.")] = False
    generation: Annotated[
        int | None,
        typer.Option(help="--activate, --compare, --drop: this one, by its number.", **HIDDEN),
    ] = None
    force: Annotated[
        bool,
        typer.Option("--force", help="Activate or roll back at once, without what is missing."),
    ] = False
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before removing.")] = False

    def builds(self, *, changed: bool) -> bool:
        """Whether a generation is to be built here, or gone on with."""
        return changed or not (self.compare or self.activate)

    def check(self, *, changed: bool) -> None:
        """End the command with code 2 for what makes no sense."""
        if (
            sum((self.plan, self.rollback, self.drop, self.status, self.compare or self.activate))
            > 1
        ):
            raise typer.BadParameter(
                "One of --plan, --rollback, --drop, --status, or --compare and --activate."
            )
        if changed and (self.rollback or self.drop or self.status):
            raise typer.BadParameter(
                "--rollback, --drop and --status take no embedder and no chunks."
            )
        if self.queue and (self.compare or self.activate):
            raise typer.BadParameter(
                "--queue hands the work over; --compare and --activate come when --status shows that it is "
                "done."
            )
