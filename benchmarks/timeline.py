"""A time line of one ingestion: which stage works when, and how much of a core each process has.

    pip install '.[telemetry]' opentelemetry-sdk
    python benchmarks/timeline.py [--files 300] [--step 0.2]

A column is a step of time, a figure the tenths of it: in which a stage of the client was at work or waited for
the database (from its spans), or for which a process had a core (as the system counts; a star is more than one
core). Postgres says in a process's title what it is doing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable

import psutil
import psycopg
from ingestion import modules
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pgrecall

Row = dict[int, float]


def sample(client: int, server: int, step: float) -> None:
    """Print the processor time of each activity, step by step, until somebody stops it."""
    before: dict[int, float] = {}
    while True:
        spent: dict[str, float] = defaultdict(float)
        own = psutil.Process(client)
        beside = {child.pid for child in own.children()} - {os.getpid()}
        for process in [own, *own.children(), *psutil.Process(server).children()]:
            try:
                used = sum(process.cpu_times()[:2])
                if process.pid == os.getpid():
                    continue
                doing = "client" if process.pid == client else activity(process.cmdline()[0])
                doing = "client's other process" if process.pid in beside else doing
            except (psutil.Error, IndexError):
                continue
            spent[doing] += used - before.get(process.pid, used if not before else 0.0)
            before[process.pid] = used
        print(json.dumps([time.time(), spent]), flush=True)
        time.sleep(step / 2)


def activity(title: str) -> str:
    """What the title of a server's process says, without names and numbers."""
    words = title.removeprefix("postgres: ").split()
    if words[:2] == ["parallel", "worker"]:
        return "parallel worker"
    if "[local]" in words:
        return " ".join(words[words.index("[local]") + 1 :]) or "starting"
    return "background"


def rows_of_spans(exporter: InMemorySpanExporter, begun: float, step: float) -> dict[str, Row]:
    """For how much of each step a stage was under way; two at a time count twice."""
    rows: dict[str, Row] = defaultdict(lambda: defaultdict(float))
    for span in sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0):
        name = span.name.removeprefix("pgrecall.")
        if name == span.name or " " in name or not (span.start_time and span.end_time):
            continue
        start, end = span.start_time / 1e9 - begun, span.end_time / 1e9 - begun
        for n in range(int(start / step), int(end / step) + 1):
            rows[name][n] += max(0, min(end, (n + 1) * step) - max(start, n * step))
    return rows


def rows_of_processes(lines: Iterable[str], begun: float, step: float) -> dict[str, Row]:
    """The processor time of each activity in each step."""
    rows: dict[str, Row] = defaultdict(lambda: defaultdict(float))
    for line in lines:
        moment, spent = json.loads(line)
        for name, seconds in spent.items():
            if moment > begun:
                rows[name][int((moment - begun) / step)] += seconds
    return {name: row for name, row in rows.items() if sum(row.values()) >= 0.02}


def show(title: str, rows: dict[str, Row], step: float, width: int) -> None:
    """A line for each row, with its sum."""
    print(title)
    for name, row in rows.items():
        tenths = (round(10 * row.get(n, 0.0) / step) for n in range(width))
        cells = "".join(
            " " if t == 0 else "*" if t > 10 else "X" if t == 10 else str(t) for t in tenths
        )
        print(f"  {name:24} {sum(row.values()):6.2f} s |{cells}|")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--step", type=float, default=0.1)
    parser.add_argument("--sample", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.sample:
        sample(*given.sample, given.step)
        return
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    files = modules(given.files)
    with pgrecall.connect() as db, psycopg.connect(db.url, autocommit=True) as connection:
        server = psutil.Process(connection.info.backend_pid).ppid()
        for warm in (files[:20], files):
            if "timeline" in [docs.name for docs in db.collections()]:
                db.drop_collection("timeline")
            docs = db.create_collection("timeline")
            connection.execute("CHECKPOINT")
            exporter.clear()
            if len(warm) < len(files):
                docs.ingest(warm)
        call = [sys.executable, __file__, "--step", str(given.step)]
        call += ["--sample", str(psutil.Process().pid), str(server)]
        with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as sampler:
            assert sampler.stdout is not None
            sampler.stdout.readline()
            begun = time.time()
            report = docs.ingest(files)
            seconds = time.time() - begun
            time.sleep(given.step)
            sampler.terminate()
            lines = sampler.stdout.readlines()
        db.drop_collection("timeline")
    print(
        f"{len(files)} files, {report.chunks:,} chunks, {seconds:.2f} s; a column is {given.step} s"
    )
    width = int(seconds / given.step) + 1
    show("stages of the client", rows_of_spans(exporter, begun, given.step), given.step, width)
    show("processor time", rows_of_processes(lines, begun, given.step), given.step, width)


if __name__ == "__main__":
    main()
