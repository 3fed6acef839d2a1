"""Settings that suit the machine, so that nobody has to tune an embedded server.

They are written to ``pgrecall.conf`` in the data folder at each start. ``ALTER SYSTEM``, and lines
that are added to the end of ``postgresql.conf``, win over them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import psutil

MB = 1024 * 1024
GB = 1024 * MB

QUIET_AND_STEADY: Mapping[str, str] = {
    "max_connections": "100",
    "wal_level": "minimal",  # nobody replicates it: a bulk load into a new table skips the WAL
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "autovacuum": "on",
    "autovacuum_work_mem": "128MB",
    "huge_pages": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_messages": "log",  # the server's own events, not the mistakes in users' statements
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] ",
}


def tuned(folder: Path) -> dict[str, str]:
    """The settings for data in ``folder``, from this machine's memory, cores and disk."""
    memory, cores = _memory(), _cores()
    maintenance = _clamp(memory // 8, 64 * MB, 2 * GB)
    return {
        **QUIET_AND_STEADY,
        "shared_buffers": _mb(_clamp(memory // 8, 64 * MB, 2 * GB)),
        "effective_cache_size": _mb(memory // 2),
        "work_mem": _mb(_clamp(memory // 256, 4 * MB, 64 * MB)),
        "maintenance_work_mem": _mb(maintenance),
        "max_worker_processes": str(max(8, cores + 4)),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(min(2, cores - 1)),
        "max_parallel_maintenance_workers": str(_clamp(cores - 1, 0, 7)),
        "max_wal_size": _mb(_clamp(shutil.disk_usage(folder).free // 10, 256 * MB, 4 * GB)),
        "dynamic_shared_memory_type": _shared_memory(maintenance),
    }


def rendered(settings: Mapping[str, str]) -> str:
    """The settings in the syntax of ``postgresql.conf``."""
    quoted = {name: value.replace("'", "''") for name, value in settings.items()}
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())


def _memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's limit."""
    limits = [psutil.virtual_memory().total]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups, version 2 and 1
        text = _read(Path("/sys/fs/cgroup", name))
        if text.isdigit():
            limits.append(int(text))
    return min(limits)


def _cores() -> int:
    """Cores that this process may use: its affinity, or its container's share of time."""
    cores = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        cores = len(os.sched_getaffinity(0))
    quota, _, period = _read(Path("/sys/fs/cgroup/cpu.max")).partition(" ")
    if quota.isdigit() and period.isdigit():
        cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)


def _shared_memory(needed: int) -> str:
    """``posix``, unless /dev/shm (64 MB in many containers) cannot hold a parallel index build."""
    shm = Path("/dev/shm")
    if not Path("/proc").is_dir():
        return "posix"  # not Linux: shared memory is no folder there
    return "posix" if shm.is_dir() and shutil.disk_usage(shm).free > 1.25 * needed else "mmap"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))


def _mb(size: int) -> str:
    return f"{size // MB}MB"
