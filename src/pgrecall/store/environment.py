"""What the server is like: its versions, the settings that hurt, the room that is left."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pgrecall.flow import Flow
from pgrecall.store import migrate
from pgrecall.store.indexes import GRAPH_NODE
from pgrecall.store.session import fetch

#: The oldest server that is supported, as server_version_num.
OLDEST = 150_000
MB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "warning", "failed"]
    #: What was found, and what to do about it.
    detail: str


def checks() -> Flow[list[Check]]:
    """Everything that can be asked of the server."""
    found = yield from _versions()
    found += yield from _safety()
    found += yield from _memory()
    found += yield from _damage()
    found += yield from _disk()
    return found


def _versions() -> Flow[list[Check]]:
    rows = yield from fetch(
        """
        SELECT current_setting('server_version_num')::integer,
               split_part(current_setting('server_version'), ' ', 1),
               (SELECT extversion FROM pg_extension WHERE extname = 'vector'),
               (SELECT default_version FROM pg_available_extensions WHERE name = 'vector'),
               (SELECT version_num FROM pgrecall.alembic_version)
        """
    )
    number, server, vector, available, revision = rows[0]
    newer = vector != available and available is not None
    update = f"; {available} is installed: ALTER EXTENSION vector UPDATE" if newer else ""
    return [
        Check(
            name="server",
            state="ok" if number >= OLDEST else "failed",
            detail=f"PostgreSQL {server}" + ("" if number >= OLDEST else "; 15 or newer is needed"),
        ),
        Check(name="pgvector", state="warning" if newer else "ok", detail=f"{vector}{update}"),
        Check(
            name="schema", state="ok", detail=f"revision {revision}, this pgrecall: {migrate.HEAD}"
        ),
    ]


def _safety() -> Flow[list[Check]]:
    rows = yield from fetch(
        "SELECT name, setting FROM pg_settings"
        " WHERE name IN ('fsync', 'full_page_writes', 'autovacuum') AND setting = 'off'"
    )
    hurts = {
        "fsync": "a crash of the machine can destroy the database",
        "full_page_writes": "a crash of the machine can destroy the database",
        "autovacuum": "replaced chunks are never cleared away, and searches become slower",
    }
    return [
        Check(name=name, state="warning", detail=f"is off: {hurts[name]}; switch it on")
        for name, _ in rows
    ]


def _memory() -> Flow[list[Check]]:
    rows = yield from fetch(
        """
        SELECT pg_size_bytes(current_setting('shared_buffers')),
               pg_size_bytes(current_setting('maintenance_work_mem')),
               (SELECT coalesce(max(chunk_count * (%s + 2 * dimensions)), 0)::bigint
                  FROM pgrecall.generations)
        """,
        [GRAPH_NODE],
    )
    shared, maintenance, graph = rows[0]
    found = [_setting("shared_buffers", shared, 128 * MB, "a quarter of the memory is usual")]
    if maintenance < graph:
        need = (
            f"the largest index wants {graph // MB + 1} MB while it is built, and is slow with less"
        )
        found.append(_setting("maintenance_work_mem", maintenance, graph, need))
    else:
        found.append(_setting("maintenance_work_mem", maintenance, 64 * MB, "64MB is the default"))
    return found


def _setting(name: str, value: int, least: int, advice: str) -> Check:
    low = value < least
    return Check(
        name=name,
        state="warning" if low else "ok",
        detail=f"{value // MB} MB" + (f": {advice}" if low else ""),
    )


def _damage() -> Flow[list[Check]]:
    rows = yield from fetch(
        """
        SELECT coalesce(s.checksum_failures, 0), d.datcollversion,
               pg_database_collation_actual_version(d.oid)
          FROM pg_database AS d JOIN pg_stat_database AS s ON s.datid = d.oid
         WHERE d.datname = current_database()
        """
    )
    failures, made, now = rows[0]
    found = []
    if failures:
        detail = f"{failures} pages were damaged on disk: restore a backup, and replace the disk"
        found.append(Check(name="checksums", state="failed", detail=detail))
    if made is not None and made != now:
        detail = (
            f"texts are sorted otherwise than when indexes were built (version {made}, now {now}): "
            "run REINDEX DATABASE, then ALTER DATABASE ... REFRESH COLLATION VERSION"
        )
        found.append(Check(name="collation", state="warning", detail=detail))
    return found


def _disk() -> Flow[list[Check]]:
    """Free space, where the server's disk is this machine's and its role may know the folder."""
    rows = yield from fetch(
        """
        SELECT (SELECT setting FROM pg_settings WHERE name = 'data_directory'),
               inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8',
               pg_database_size(current_database())
        """
    )
    folder, local, size = rows[0]
    if not (folder and local and Path(folder).is_dir()):
        return []
    free = shutil.disk_usage(folder).free
    detail = f"{free // MB:,} MB free, the database has {size // MB:,} MB"
    # A rebuilt index needs its own size once more.
    return [Check(name="disk", state="ok" if free > size else "warning", detail=detail)]
