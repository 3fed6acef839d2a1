"""``pgrecall eval``: how good the searches are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgrecall.cli.options import AsJson, Collection, Url, open_database
from pgrecall.cli.output import (
    as_json,
    complain,
    err,
    money,
    out,
    print_json,
    print_table,
    remark,
    size,
)

if TYPE_CHECKING:
    from pgrecall.evaluate import ModelReport, ModelResult
    from pgrecall.evaluate.sample import Progress
    from pgrecall.store.recall import RecallReport
    from pgrecall.types import FloatArray

app = typer.Typer(name="eval", help="How good searches are, in figures.", no_args_is_help=True)


@app.command()
def recall(
    collection: Collection = "default",
    questions: Annotated[int, typer.Option(help="How many questions to measure with.")] = 400,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npy",
            show_default=False,
            help="Embeddings of questions, for vectors that were made elsewhere.",
        ),
    ] = None,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Measure how much of the truth the vector index finds, and keep it for the searches to come."""
    asked = None if embeddings is None else _loaded(embeddings)
    with open_database(url) as db:
        report = db.collection(collection).measure_recall(questions=questions, embeddings=asked)
    if as_json_:
        print_json(as_json(report))
    else:
        for step, reached in report.curve.items():
            out().print(f"ef_search {step:5}  recall@10 {reached:.3f}", markup=False)
        out().print(f"searches take {report.ef_search}", markup=False)
        remark(_with_what(report))
    if report.drifted:
        complain("The index finds clearly less than when it was measured last; see above.")
    if not report.kept:
        remark(
            f"No step reaches {report.target}; searches take the one beyond which hardly anything is "
            "gained. --exact finds everything, whatever it takes."
        )


def _loaded(path: Path) -> FloatArray:
    import numpy as np

    try:
        found: FloatArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as exc:
        raise typer.BadParameter(f"{path} is no array that NumPy saved.") from exc
    return found


def _with_what(report: RecallReport) -> str:
    if report.stand_ins:
        return (
            f"Measured with {report.stand_ins} stand-ins for questions, made of stored vectors; better are "
            "embeddings of real ones: --embeddings FILE.npy."
        )
    return f"Measured with {report.questions} questions, {report.logged} of them logged."


@app.command()
def models(
    embedders: Annotated[
        str, typer.Option(help="Names of embedders, with commas between.", show_default=False)
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(help="Files or folders, instead of a collection.", show_default=False),
    ] = None,
    collection: Collection = "default",
    queries: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            show_default=False,
            help='One question a line, or {"question": ..., "relevant": \\[uri]}. Without judgements, pieces '
            "of the texts are asked too, and quality is theirs.",
        ),
    ] = None,
    qrels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Judgements as TREC or BEIR have them."
        ),
    ] = None,
    sample: Annotated[int, typer.Option(help="Documents at most.")] = 1000,
    k: Annotated[int, typer.Option("-k", help="Hits of each question.")] = 10,
    mode: Annotated[str, typer.Option("--mode", "-m", help="vector or hybrid.")] = "vector",
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", show_default=False, help="Draw the figures, too."),
    ] = None,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Compare embedders on your documents: quality, speed, dimensions, size and cost side by side.

    Each embeds the same sample into a collection that is thrown away. One that fails is listed with its error.
    """
    from pgrecall.evaluate import Evaluation, read_questions
    from pgrecall.evaluate.plot import to_svg

    if qrels is not None and queries is None:
        raise typer.BadParameter("--qrels needs the questions: --queries FILE.")
    if plot is not None and plot.suffix != ".svg":
        raise typer.BadParameter(f"--plot writes SVG: name it {plot.with_suffix('.svg')}.")
    with _shown() as progress, open_database(url) as db:
        report = db.evaluate_models(
            Evaluation(
                embedders=_named(embedders),
                questions=() if queries is None else read_questions(queries, qrels),
                sample=sample,
                k=k,
                mode=mode,
                progress=progress,
            ),
            collection=None if files else collection,
            sources=files or (),
        )
    if plot is not None:
        plot.write_text(to_svg(report), "utf-8")
    if as_json_:
        print_json(as_json(report))
    else:
        _print_models(report)
    if any(model.error is not None for model in report.models):
        raise typer.Exit(1)


def _named(embedders: str) -> list[str]:
    names = [name.strip() for name in embedders.split(",") if name.strip()]
    return list(dict.fromkeys(names))


@contextmanager
def _shown() -> Iterator[Progress | None]:
    """A line on a terminal that says which model is at work, nothing elsewhere."""
    if not err().is_terminal:
        yield None
        return
    with err().status("") as status:
        yield lambda name, done, of: status.update(f"{name}: {done} of {of} documents")


def _print_models(report: ModelReport) -> None:
    names = next((list(model.metrics) for model in report.models if model.metrics), [])
    headings = [*names, "overlap", "documents/s", "p50 ms", "dimensions", "size", "cost"]
    rows = [_row(model, names) for model in report.models if model.error is None]
    if rows:
        print_table(["embedder", *headings], rows)
    for model in report.models:
        if model.error is not None:
            complain(f"{model.embedder}: {model.error}")
        elif model.failed:
            remark(f"{model.embedder} refused {model.failed} of the documents.")
    kind = (
        f"{report.pieces} pieces of the texts, which their documents answer: easier than real questions"
        if report.known_item
        else f"{report.judged} judged questions"
    )
    remark(f"{report.documents} documents; quality is measured with {kind}.")
    if others := report.questions - report.pieces - report.judged:
        remark(f"{others} questions without judgements count for overlap and p50 only.")
    if report.absent:
        remark(f"{report.absent} judged documents are not there, and nobody can find them.")


def _row(model: ModelResult, names: list[str]) -> list[str]:
    shared = [*model.overlap.values()]
    speed = model.documents_per_second
    return [
        model.embedder,
        *(f"{model.metrics[name]:.3f}" for name in names),
        f"{sum(shared) / len(shared):.2f}" if shared else "-",
        "stored" if speed is None else f"{speed:,.1f}",
        f"{model.p50_ms or 0:.1f}",
        str(model.dimensions),
        size(model.bytes or 0),
        "free" if model.cost == 0 else money(model.cost),
    ]
