"""A real Postgres and a real Valkey from wheels, in DATA_DIR, for whoever has set no URLs of outside servers.

They run as long as the process that started them. Where they listen follows from DATA_DIR alone, so every process
(web, workers, `manage.py shell`) finds them without being told.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from . import postgres, valkey
from .service import CannotStart, Service

__all__ = ["CannotStart", "InUse", "Servers", "Urls", "alone", "start", "urls"]

# How long the processes of a killed `up` may take to end.
_WAIT_FOR_LOCK_S = 20.0


class Urls(NamedTuple):
    database: str
    redis: str


class InUse(Exception):
    """Another process runs on this data directory."""


@dataclass
class Servers:
    running: list[Service]

    @property
    def ended(self) -> list[Service]:
        """Those that have stopped and could not be started again."""
        return [service for service in self.running if service.has_ended]

    def stop(self) -> None:
        while self.running:
            self.running.pop().stop()


def urls(data_dir: Path) -> Urls:
    return Urls(postgres.url(data_dir), valkey.url(data_dir))


@contextlib.contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process. Raises ``InUse``.

    The children that `up` forks hold the lock too, so after it was killed this waits until they have ended.
    """
    path = data_dir / "run" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        until = time.monotonic() + _WAIT_FOR_LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                lock.seek(0)
                holder = lock.read().strip()
                if _is_alive(holder) or time.monotonic() > until:
                    raise InUse(
                        f"{data_dir} is in use by another Kindred (process {holder or 'unknown'}). "
                        "Stop that one, or set DATA_DIR and PORT to run a second one beside it."
                    ) from error
                time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def start(data_dir: Path, *, database: bool = True, broker: bool = True) -> Servers:
    """Start what is asked for, both at once. The caller holds ``alone``. Raises ``CannotStart``; then nothing runs."""
    wanted = [starter for starter, is_wanted in ((postgres.start, database), (valkey.start, broker)) if is_wanted]
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(starter, data_dir) for starter in wanted]
    problems = [future.exception() for future in futures]
    servers = Servers([future.result() for future, problem in zip(futures, problems, strict=True) if not problem])
    for problem in problems:
        if problem:
            servers.stop()
            raise problem
    return servers


def _is_alive(pid: str) -> bool:
    try:
        return psutil.Process(int(pid)).status() != psutil.STATUS_ZOMBIE
    except (ValueError, psutil.NoSuchProcess):
        return False
