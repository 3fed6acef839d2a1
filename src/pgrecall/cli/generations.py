"""What ``pgrecall reindex`` prints: generations, plans, reports and comparisons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgrecall.cli.output import (
    as_json,
    complain,
    money,
    out,
    print_failures,
    print_json,
    print_table,
    remark,
    size,
)

if TYPE_CHECKING:
    from pgrecall.collection import Collection
    from pgrecall.reindex.compare import Comparison
    from pgrecall.reindex.handing import ReindexHandOver
    from pgrecall.reindex.plan import ReindexPlan
    from pgrecall.reindex.work import ReindexReport
    from pgrecall.store.status import GenerationStatus

#: Characters of a question that are shown.
EXCERPT = 70


def print_report(report: ReindexReport) -> None:
    """What was added, and what failed."""
    out().print(
        f"generation {report.generation_id} ({report.embedder}): {report.documents} documents added, "
        f"{len(report.failed)} failed; {report.chunks} chunks ({report.embedded} embedded, "
        f"{report.reused} reused), {report.tokens} tokens"
        f"{', ' + money(report.cost) if report.cost else ''}, {report.seconds:.1f} s",
        markup=False,
    )
    if report.left:
        complain(
            f"The budget was used up: {report.left:,} documents are left, of {report.left_tokens:,} tokens. "
            "The same command goes on with them."
        )
    print_failures(report.failed)


def print_hand_over(handed: ReindexHandOver, *, as_json_: bool) -> None:
    """What workers were given."""
    if as_json_:
        print_json(as_json(handed))
        return
    out().print(
        f"generation {handed.generation_id} ({handed.embedder}): {handed.documents} documents queued, "
        f"in {handed.batches} batches",
        markup=False,
    )


def print_plan(plan: ReindexPlan, *, as_json_: bool) -> None:
    """What would be done, and what it would cost."""
    if as_json_:
        print_json(as_json(plan))
        return
    about = "" if plan.sampled == plan.documents else "about "
    cost = (
        "price not known"
        if plan.cost is None
        else "free"
        if plan.cost == 0
        else f"${plan.cost:,.4f}"
    )
    out().print(
        f"{plan.embedder} ({plan.dimensions} dimensions): {plan.documents} documents, "
        f"{size(plan.bytes)} of text, {about}{plan.chunks} chunks ({plan.reused} with a vector "
        f"already), {plan.tokens} tokens to embed, {cost}",
        markup=False,
    )


def print_comparison(found: Comparison, *, as_json_: bool) -> None:
    """Both generations, how much their answers have in common, and where they differ most."""
    if as_json_:
        print_json(as_json(found))
        return
    sides = (found.active, found.candidate)
    metrics = list(found.active.metrics)
    print_table(
        ["generation", "embedder", "chunk tokens", "p50 ms", "p95 ms", *metrics],
        [
            [
                f"{side.generation_id} {state}",
                side.embedder,
                str(side.chunking["max_tokens"]),
                f"{side.p50_ms:.1f}",
                f"{side.p95_ms:.1f}",
                *(f"{side.metrics[name]:.3f}" for name in metrics),
            ]
            for side, state in zip(sides, ("active", "candidate"), strict=True)
        ],
    )
    out().print(
        f"{found.questions} questions ({found.judged} with judgements): overlap@{found.k} "
        f"{found.overlap:.3f}, of documents {found.documents_overlap:.3f}, same first document "
        f"{found.same_first:.3f}",
        markup=False,
    )
    if found.absent:
        remark(
            f"{found.absent} judged documents are not there, and nobody can find them: "
            "name them as `pgrecall search --json` does."
        )
    for question, overlap in found.differing:
        text = " ".join(question.split())
        shown = text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
        remark(f"overlap {overlap:.2f}: {shown}")


def print_active(docs: Collection, *, as_json_: bool) -> None:
    """Which generation is searched now."""
    (active,) = [item for item in docs.generations() if item.state == "active"]
    if as_json_:
        print_json(as_json(active))
        return
    out().print(
        f"{docs.name} is searched in generation {active.generation_id} now ({active.embedder})",
        markup=False,
    )
    if active.lacking:
        remark(f"It lacks {active.lacking} documents: pgrecall reindex {docs.name} adds them.")


def print_generations(found: list[GenerationStatus], *, as_json_: bool) -> None:
    """A line each."""
    if as_json_:
        for item in found:
            print_json(as_json(item))
        return
    print_table(
        [
            "generation",
            "state",
            "embedder",
            "storage",
            "chunk tokens",
            "documents",
            "lacking",
            "queued",
            "failed",
            "size",
            "index",
        ],
        [
            [
                str(item.generation_id),
                item.state,
                item.embedder,
                str(item.storage),
                str(item.chunking["max_tokens"]),
                f"{item.documents:,}",
                f"{item.lacking:,}",
                f"{item.queued:,}",
                f"{item.failed:,}",
                size(item.bytes),
                "hnsw" if item.indexed else "none yet",
            ]
            for item in found
        ],
    )
