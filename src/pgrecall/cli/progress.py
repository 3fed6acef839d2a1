"""The progress of an ingestion on a terminal: a line for each stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING

from pgrecall.cli.output import err, money

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from pgrecall.ingest import Progress
    from pgrecall.store.status import IndexBuild
    from pgrecall.types import IngestReport

#: Seconds between two looks at the index that is being built.
LOOK = 0.5


@contextmanager
def stages(
    count: Callable[[], int | None], building: Callable[[], IndexBuild | None]
) -> Iterator[Progress]:
    """Lines that follow an ingestion. ``count``: how many sources there are, if that is known."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:6}"), BarColumn(), TextColumn("{task.fields[said]}"))
    with Bars(*columns, console=err(), transient=True) as bars:
        shown = _Stages(bars, count())
        over = Event()
        looking = Thread(target=shown.follow, args=(building, over), daemon=True)
        looking.start()
        try:
            yield shown.update
        finally:
            over.set()
            looking.join()


class _Stages:
    def __init__(self, bars: Bars, sources: int | None) -> None:
        self._bars = bars
        self._sources = sources
        self._read, self._chunk, self._embed, self._write = (
            bars.add_task(stage, total=None, said="")
            for stage in ("read", "chunk", "embed", "write")
        )
        self._index = bars.add_task("index", total=1.0, said="", visible=False)

    def update(self, report: IngestReport) -> None:
        """Show how far the run has come; called from several threads."""
        bars, cut = self._bars, report.cut
        # Rows of a file are documents too, so there may be more of them than sources.
        sources = self._sources if (self._sources or 0) >= report.read else None
        of = f"/{sources:,}" if sources else ""
        failed = f", {len(report.failed):,} failed" if report.failed else ""
        bars.update(
            self._read,
            total=sources,
            completed=report.read,
            said=f"{report.read:,}{of} documents{failed}",
        )
        skipped = f", {report.unchanged:,} documents unchanged" if report.unchanged else ""
        bars.update(self._chunk, total=cut, completed=cut, said=f"{cut:,} chunks{skipped}")
        cost = f", {money(report.cost)}" if report.cost else ""
        bars.update(
            self._embed,
            total=cut,
            completed=report.embedded + report.reused,
            said=f"{report.embedded:,} chunks, {report.tokens:,} tokens{cost}",
        )
        elapsed = bars.tasks[0].elapsed or 0
        rate = f", {report.chunks / elapsed:,.0f}/s" if elapsed and report.chunks else ""
        bars.update(
            self._write, total=cut, completed=report.chunks, said=f"{report.chunks:,} chunks{rate}"
        )

    def follow(self, building: Callable[[], IndexBuild | None], over: Event) -> None:
        """Show the index that is being built, as long as there is one."""
        from pgrecall.errors import DatabaseError

        while not over.wait(LOOK):
            try:
                build = building()
            except DatabaseError:
                # Whoever ingests meets it too, and says so.
                return
            if build is None:
                self._bars.update(self._index, visible=False)
            else:
                said = f"{build.index}: {build.phase}"
                self._bars.update(self._index, completed=build.done or 0, said=said, visible=True)
