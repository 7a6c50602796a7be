"""The servers we bring along: PostgreSQL and Valkey, in the data directory, for as long as one process of ours runs.

Where they listen follows from the data directory alone, so every process finds them without being told.
Only ``start`` imports what it needs to run them: the settings import this package at every start of everything.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .service import Service

# How long an earlier start of the same data directory may take to end.
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
    from . import postgres, valkey

    return Urls(postgres.url(data_dir), valkey.url(data_dir))


@contextlib.contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process. Waits for the rest of an earlier start to end. Raises ``InUse``."""
    path = data_dir / "run" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        until = time.monotonic() + _WAIT_FOR_LOCK_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    lock.seek(0)
                    raise InUse(
                        f"{data_dir} is in use by another Kindred (process {lock.read().strip() or 'unknown'}). "
                        "Stop that one, or set DATA_DIR and PORT to run a second one beside it."
                    ) from error
                time.sleep(0.2)
        lock.truncate(0)
        lock.write(str(_pid()))
        lock.flush()
        yield


def start(data_dir: Path, *, database: bool = True, broker: bool = True) -> Servers:
    """Start what is asked for, both at once. The caller holds ``alone``. Raises ``CannotStart``; then nothing runs."""
    from concurrent.futures import ThreadPoolExecutor

    from . import postgres, valkey
    from .service import CannotStart

    wanted = [starter for starter, is_wanted in ((postgres.start, database), (valkey.start, broker)) if is_wanted]
    servers = Servers([])
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(starter, data_dir) for starter in wanted]
    problems = [future.exception() for future in futures]
    servers.running = [future.result() for future, problem in zip(futures, problems, strict=True) if not problem]
    for problem in problems:
        if problem:
            servers.stop()
            raise problem if isinstance(problem, CannotStart) else RuntimeError("A server did not start") from problem
    return servers


def _pid() -> int:
    import os

    return os.getpid()
