"""How the embedded Postgres is set for the machine it runs on. The one place for it; an outside server is left alone."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

_MB = 1 << 20
_GB = 1 << 30


@dataclass(frozen=True)
class Machine:
    memory_bytes: int
    free_bytes: int
    cores: int
    shared_memory_bytes: int  # what /dev/shm can hold; containers often get 64 MB

    @classmethod
    def this_one(cls) -> Machine:
        """What this process may use: the container's limits where they are lower than the machine's."""
        memory = psutil.virtual_memory()
        limit = _container_limit() or memory.total
        shared = Path("/dev/shm")  # noqa: S108  (looked at, not written to)
        return cls(
            memory_bytes=min(memory.total, limit),
            free_bytes=min(memory.available, limit),
            cores=usable_cores(),
            shared_memory_bytes=shutil.disk_usage(shared).total if shared.is_dir() else 0,
        )


def settings_for(machine: Machine) -> dict[str, str]:
    """Postgres settings by name."""
    cores = max(1, machine.cores)
    shared_buffers = _between(128 * _MB, machine.memory_bytes // 4, 8 * _GB)
    # An HNSW index wants to be built inside maintenance_work_mem: memory that must be free beside the cache.
    maintenance = _between(64 * _MB, (machine.free_bytes - shared_buffers) // 2, 4 * _GB)
    # Parallel builds and hash joins share memory in /dev/shm; where that is small, in files of the data directory.
    is_shared_memory_enough = machine.shared_memory_bytes >= maintenance + 256 * _MB
    return {
        "shared_buffers": _megabytes(shared_buffers),
        "effective_cache_size": _megabytes(max(256 * _MB, machine.memory_bytes // 2)),
        "maintenance_work_mem": _megabytes(maintenance),
        "autovacuum_work_mem": _megabytes(min(maintenance, 256 * _MB)),
        "work_mem": _megabytes(_between(8 * _MB, machine.memory_bytes // 400, 64 * _MB)),
        "dynamic_shared_memory_type": "posix" if is_shared_memory_enough else "mmap",
        # Bulk imports should not meet a checkpoint every few seconds.
        "max_wal_size": "4GB",
        "min_wal_size": "256MB",
        "checkpoint_timeout": "15min",
        "checkpoint_completion_target": "0.9",
        # Nothing replicates from it: COPY into a new partition needs no WAL.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        # Data lies on an SSD or in memory; compiling a query costs more than our longest one gains.
        "random_page_cost": "1.1",
        "jit": "off",
        "max_connections": "100",
        "max_worker_processes": str(cores + 8),
        "max_parallel_workers": str(cores),
        "max_parallel_workers_per_gather": str(_between(1, cores // 2, 4)),
        "max_parallel_maintenance_workers": str(_between(1, cores - 1, 7)),
        "timezone": "UTC",
        "idle_in_transaction_session_timeout": "10min",
        # Its log is for what went wrong.
        "log_min_messages": "warning",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] ",
    }


def as_conf(settings: dict[str, str]) -> str:
    """As a Postgres configuration file."""
    lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()]
    return "\n".join(["# Written at every start; put your own settings at the end of postgresql.conf.", *lines, ""])


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _container_limit() -> int | None:
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(path).read_text().strip()
        except OSError:
            continue
        return int(text) if text.isdigit() else None
    return None


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes // _MB}MB"
