"""The write river: sources in, searchable documents out.

    read --> changed? --> chunk --> vector known? --> embed --> write

A run is a chain of iterators, each a stage; between two stages stands a bounded buffer with a thread of
its own behind it (a task, when awaited), so that reading, embedding and writing overlap while memory
stays flat. Each rule is a function or a flow here, and both chains are made of the same ones.
"""

from __future__ import annotations

from pgrecall.ingest.budget import Budget
from pgrecall.ingest.chains import ingest, ingest_async, plan, plan_async
from pgrecall.ingest.job import Ingestion, Lane, Progress
from pgrecall.ingest.reading import Sources
from pgrecall.ingest.tablerun import TableSource

__all__ = [
    "Budget",
    "Ingestion",
    "Lane",
    "Progress",
    "Sources",
    "TableSource",
    "ingest",
    "ingest_async",
    "plan",
    "plan_async",
]
