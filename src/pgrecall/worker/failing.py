"""Why a job failed: told in the log, and kept with the job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from pgrecall import errors
from pgrecall.flow import Flow, run_async
from pgrecall.ingest.embedding import keep_unwritten
from pgrecall.ingest.job import Ingestion
from pgrecall.store.session import AsyncSession

logger = logging.getLogger("pgrecall.worker")

#: Whether a job that failed so is not tried again.
Final: TypeAlias = Callable[[Exception], bool]


def reason(exc: BaseException) -> str:
    """In words for whoever looks through what failed."""
    return str(exc) if isinstance(exc, errors.PgrecallError) else f"{type(exc).__name__}: {exc}"


async def keep(session: AsyncSession, what: str, exc: Exception, kept: Flow[bool]) -> bool:
    """Log it, and run the flow that keeps it; False if that says that there is nothing left to do."""
    try:
        left = await run_async(kept, session)
    except errors.DatabaseError as lost:
        logger.warning("The reason could not be kept: %s", lost)
        left = True
    if not left:
        logger.info("%s is dropped: what it was for has gone meanwhile (%s)", what, reason(exc))
        return False
    expected = isinstance(exc, errors.PgrecallError)
    logger.warning("%s: %s", what, reason(exc), exc_info=None if expected else exc)
    return True


async def salvage(session: AsyncSession, job: Ingestion, exc: BaseException) -> None:
    """Keep the vectors that a job does not come to write, be it because the worker stops."""
    if not isinstance(exc, errors.DatabaseUnavailable):
        await run_async(keep_unwritten(job), session)
