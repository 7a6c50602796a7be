"""The product's own processes, run for tests against the test database."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psutil
from django.conf import settings
from django.db import connection

from curation import workers
from curation.celery import app

_START_S = 60.0
_IDLE_S = 60.0


@dataclass
class _Process:
    command: list[str]
    log: Path
    popen: subprocess.Popen[bytes]

    @classmethod
    def _spawn(cls, command: list[str], name: str, environment: dict[str, str] | None = None) -> Self:
        log = Path(tempfile.mkstemp(prefix=f"{name}-", suffix=".log", dir=settings.DATA_DIR)[1])
        return cls(command, log, _popen(command, log, environment))

    def kill(self) -> None:
        """SIGKILL to it and all it has started: what a crashed machine leaves is what the database holds."""
        _kill_all(self.popen.pid)
        self.popen.wait()

    def stop(self) -> None:
        self.popen.terminate()
        try:
            self.popen.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until(self, is_done: Callable[[], bool], what: str, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while not is_done():
            said = self.log.read_text(errors="replace")[-3000:]
            assert self.popen.poll() is None, f"It ended ({self.popen.returncode}) before it was {what}:\n{said}"
            assert time.monotonic() < until, f"It was not {what} within {timeout_s} s:\n{said}"
            time.sleep(0.05)


class Worker(_Process):
    @classmethod
    def start(cls, *queues: str, beat: bool = False, environment: dict[str, str] | None = None) -> Self:
        """A worker for ``queues`` (all of them unless told), ready to work."""
        served = queues or workers.QUEUES
        command = [
            *(sys.executable, "-m", "celery", "--app", "curation.celery", "worker", "--loglevel", "INFO"),
            *("--queues", ",".join(served), "--concurrency", "2", "--hostname", f"{'-'.join(served)}@%h"),
            *("--without-mingle", "--without-gossip"),
        ]
        if beat:
            command += ["--beat", "--schedule", tempfile.mkstemp(prefix="beat-", dir=settings.DATA_DIR)[1] + ".db"]
        workers.forget(*served)
        worker = cls._spawn(command, "worker", environment)
        worker._wait_until(lambda: not set(workers.missing()) & set(served), "ready", _START_S)
        return worker

    def restart_if_ended(self) -> None:
        """A test may have killed it."""
        if self.popen.poll() is not None:
            workers.forget(*workers.QUEUES)
            self.popen = _popen(self.command, self.log)
            self._wait_until(lambda: not workers.missing(), "ready", _START_S)

    def wait_until_idle(self) -> None:
        """Until it has nothing to do; what a test has left in the queue is dropped."""
        app.control.purge()
        if self.popen.poll() is None:
            self._wait_until(self._is_idle, "idle", _IDLE_S)

    def _is_idle(self) -> bool:
        found = app.control.inspect(timeout=1.0).active() or {}
        return not any(found.values())


class WebServer(_Process):
    url: str

    @classmethod
    def start(cls, **environment: str) -> Self:
        """Granian on a free port, answering."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            *(sys.executable, "-m", "granian", "--interface", "wsgi", "curation.wsgi:application"),
            *("--host", "127.0.0.1", "--port", str(port), "--http", "1", "--no-ws"),
            # As `make run` has it: a process may end badly when a thread of it has idled for too long.
            *("--blocking-threads-idle-timeout", "600", "--respawn-failed-workers"),
            *("--workers", "1", "--blocking-threads", "8", "--workers-kill-timeout", "3"),
        ]
        log = Path(tempfile.mkstemp(prefix="web-", suffix=".log", dir=settings.DATA_DIR)[1])
        server = cls(command, log, _popen(command, log, environment))
        server.url = f"http://127.0.0.1:{port}"
        server._wait_until(lambda: _answers(f"{server.url}/healthz"), "answering", _START_S)
        return server


def _popen(command: list[str], log: Path, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": database_url_of_tests(), "REDIS_URL": settings.REDIS_URL}
            | {"SECRET_KEY": settings.SECRET_KEY, "PYTHONUNBUFFERED": "1"}
            | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def database_url_of_tests() -> str:
    """For a process of its own, as `DATABASE_URL`."""
    found = connection.settings_dict
    user = quote(found["USER"], safe="") + (f":{quote(found['PASSWORD'], safe='')}" if found["PASSWORD"] else "")
    port = f":{found['PORT']}" if found["PORT"] else ""
    return f"postgres://{user}@{quote(found['HOST'], safe='')}{port}/{found['NAME']}"


def _kill_all(pid: int) -> None:
    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return
    for one in (process, *process.children(recursive=True)):
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
