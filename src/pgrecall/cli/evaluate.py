"""``pgrecall eval``: how good the searches are."""

from __future__ import annotations

from typing import Annotated

import typer

from pgrecall.cli.options import AsJson, Collection, Url, open_database
from pgrecall.cli.output import as_json, complain, out, print_json, remark

app = typer.Typer(name="eval", help="How good searches are, in figures.", no_args_is_help=True)


@app.command()
def recall(
    collection: Collection = "default",
    questions: Annotated[int, typer.Option(help="How many questions to measure with.")] = 100,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """Measure how much of the truth the vector index finds, and keep it for the searches to come."""
    with open_database(url) as db:
        report = db.collection(collection).measure_recall(questions=questions)
    if as_json_:
        print_json(as_json(report))
    else:
        for step, reached in report.curve.items():
            out().print(f"ef_search {step:5}  recall@10 {reached:.3f}", markup=False)
        out().print(f"searches take {report.ef_search}", markup=False)
        remark(f"Measured with {report.questions} questions, {report.logged} of them logged.")
    if report.drifted:
        complain("The index finds clearly less than when it was measured last; see above.")
    if not report.kept:
        remark(
            f"No step reaches {report.target}; searches take the one beyond which hardly anything is "
            "gained. exact=True finds everything, whatever it takes."
        )
