"""The embedded Postgres: no configuration, started at need, stopped when nobody uses it any more.

    with EmbeddedServer.start() as server:
        psycopg.connect(server.url)

From the outside in: ``control`` (the commands), ``server`` (one user's hold), ``lifecycle``
(processes), ``cluster`` (the data folder), ``tuning``, ``programs``, ``home`` (files and locks),
``guardian`` (a script).
"""

from __future__ import annotations

from pgrecall.store.embedded.control import ServerStatus, keep, psql_command, status, stop
from pgrecall.store.embedded.home import default_home
from pgrecall.store.embedded.server import EmbeddedServer

__all__ = [
    "EmbeddedServer",
    "ServerStatus",
    "default_home",
    "keep",
    "psql_command",
    "status",
    "stop",
]
