"""What the commands log, and how: text or JSON on standard error.

Only the command line configures logging. As a library pgrecall writes to the loggers under ``pgrecall``, and
leaves it to the program what becomes of that.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LEVELS = ("debug", "info", "warning", "error")
#: What every record has; anything else was passed as ``extra``.
_USUAL = logging.makeLogRecord({}).__dict__.keys() | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, and what came as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _USUAL}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)


class _Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what is standard error at the time: a progress bar redirects it."""

    def emit(self, record: logging.LogRecord) -> None:
        # Not setStream: it flushes the former one, which may be closed by now.
        self.stream = sys.stderr
        super().emit(record)


def configure(level: str, *, as_json: bool) -> None:
    """Log what is at least that important; a second call takes the place of the first."""
    handler = _Handler()
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter(TEXT))
    logger = logging.getLogger("pgrecall")
    logger.handlers = [old for old in logger.handlers if not isinstance(old, _Handler)]
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    # At each attempt it says that it cannot connect; we say so once, when that is given up.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
