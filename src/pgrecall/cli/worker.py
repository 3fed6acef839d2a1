"""``pgrecall worker``: take in what was handed over, and look after what failed."""

from __future__ import annotations

import asyncio
import logging
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from pgrecall.cli.options import AsJson, Url, open_database
from pgrecall.cli.output import as_json, complain, duration, escape, out, print_json, remark

if TYPE_CHECKING:
    from pgrecall.store.jobs import FailedJob, QueueStatus
    from pgrecall.worker import WorkerOptions

app = typer.Typer(
    help="Do what was handed over (`pgrecall ingest --queue`, `reindex --queue`), until stopped.",
    invoke_without_command=True,
)
Jobs = Annotated[
    list[int] | None, typer.Argument(help="Numbers that `failed` lists.", show_default=False)
]
All = Annotated[bool, typer.Option("--all", help="All that have failed.")]


@app.callback()
def run(
    ctx: typer.Context,
    concurrency: Annotated[int, typer.Option(help="Documents in hand at once.")] = 16,
    drain: Annotated[
        bool, typer.Option("--drain", help="Stop when nothing is left to do.")
    ] = False,
    attempts: Annotated[int, typer.Option(help="Tries before a document counts as failed.")] = 8,
    backoff: Annotated[
        float, typer.Option(help="Seconds before the second try; doubles each time.")
    ] = 5.0,
    heartbeat: Annotated[float, typer.Option(help="Seconds between signs of life.")] = 10.0,
    stalled_after: Annotated[
        float, typer.Option(help="Seconds of silence until a worker counts as dead.")
    ] = 30.0,
    grace: Annotated[
        float, typer.Option(help="Seconds that documents in hand may take after SIGTERM.")
    ] = 8.0,
    strict: Annotated[
        bool, typer.Option(help="With --drain: exit with 1 if anything has failed for good.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings.")] = False,
    url: Url = None,
) -> None:
    """Do what was handed over, until stopped by SIGTERM or Ctrl-C.

    With --drain, ends with 1 if something waits for another attempt.
    """
    if ctx.invoked_subcommand is not None:
        return
    from pgrecall.worker import WorkerOptions

    options = WorkerOptions(
        concurrency=concurrency,
        drain=drain,
        attempts=attempts,
        backoff=backoff,
        heartbeat=heartbeat,
        stalled_after=stalled_after,
        grace=grace,
    )
    _log(logging.WARNING if quiet else logging.INFO)
    left = asyncio.run(_work(url, options))
    if left is None:
        return
    if left.next_attempt is not None:
        complain(_waiting(left, left.next_attempt))
    if left.failed:
        remark(f"{left.failed:,} documents have failed: `pgrecall worker failed` lists them.")
    raise typer.Exit(1 if left.next_attempt or (strict and left.failed) else 0)


async def _work(url: str | None, options: WorkerOptions) -> QueueStatus | None:
    """Work; what is left in a queue that was to be drained, None if the worker was stopped."""
    from pgrecall.database import connect_async

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with connect_async(url) as db:
        await db.work(options, stop=stop)
        return await db.queue_status() if options.drain and not stop.is_set() else None


def _waiting(left: QueueStatus, due: datetime) -> str:
    seconds = max(0.0, (due - datetime.now(UTC)).total_seconds())
    return (
        f"{left.retrying:,} documents wait for another attempt, the next in {duration(seconds)}. "
        "The same command goes on with what is due by then; without --drain, a worker waits for it."
    )


def _log(level: int) -> None:
    """What happens, a line each, on standard error; more of it if ``--log-level`` asks for more."""
    ours = logging.getLogger("pgrecall")
    ours.setLevel(min(level, ours.level))
    # What failed is told by us, in one line; procrastinate adds the stack.
    logging.getLogger("procrastinate").setLevel(logging.CRITICAL)


@app.command()
def failed(
    collection: Annotated[
        str | None, typer.Option("--collection", "-c", show_default=False, help="Only this one.")
    ] = None,
    as_json_: AsJson = False,
    url: Url = None,
) -> None:
    """List what could not be done, with the reasons."""
    with open_database(url) as db:
        found = db.failed_jobs(collection)
    if as_json_:
        for item in found:
            print_json(as_json(item))
        return
    for job in found:
        line = f"{job.job_id}  {job.collection}  {_what(job)}  after {job.attempts} attempts: {job.error}"
        out().print(escape(line))
    if not found:
        remark("Nothing has failed.")


@app.command()
def retry(numbers: Jobs = None, every: All = False, url: Url = None) -> None:
    """Let what failed be tried again."""
    chosen = _chosen(numbers, every=every)
    with open_database(url) as db:
        _count(db.retry_jobs(chosen), "to be tried again")


@app.command()
def discard(numbers: Jobs = None, every: All = False, url: Url = None) -> None:
    """Drop what failed from the queue; documents that are stored stay as they are."""
    chosen = _chosen(numbers, every=every)
    with open_database(url) as db:
        _count(db.discard_jobs(chosen), "discarded")


def _what(job: FailedJob) -> str:
    """The document, or what was to be done for a generation."""
    if job.generation_id is None:
        return job.uri
    if not job.documents:
        return f"the end of generation {job.generation_id}"
    more = f" and {job.documents - 1} more" if job.documents > 1 else ""
    return f"{job.uri}{more}, for generation {job.generation_id}"


def _chosen(numbers: list[int] | None, *, every: bool) -> list[int] | None:
    if bool(numbers) == every:
        raise typer.BadParameter("Name the jobs, or say --all.")
    return None if every else numbers


def _count(number: int, done: str) -> None:
    out().print(f"{number} {done}")
    raise typer.Exit(0 if number else 1)
