"""The processes of one installation, and how many of each this machine carries."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Program:
    command: list[str]
    environment: dict[str, str]
    stop_timeout_s: float


def programs(*, cores: int, port: int, data_dir: Path, login_token: str) -> dict[str, Program]:
    """What `manage.py up` runs, by name."""
    python = [sys.executable, "-m"]
    # Python runs one thread at a time in a process: a second one keeps short requests going beside a long one.
    web_processes = max(2, min(4, cores // 2))
    worker = [
        *(*python, "celery", "--app", "curation.celery", "--quiet", "worker", "--loglevel", "WARNING"),
        *("--without-mingle", "--without-gossip"),  # they only cost time at the start when there is one of each
    ]
    # SIGQUIT: a worker gives its tasks CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT, then puts the rest back into the queue.
    # That it runs as root (in a container, say) it need not say at every start.
    quiet = {"REMAP_SIGTERM": "SIGQUIT", "PYTHONWARNINGS": "ignore:You're running the worker with superuser"}
    return {
        "web": Program(
            [
                *(*python, "granian", "--interface", "wsgi", "curation.wsgi:application"),
                *("--host", "127.0.0.1", "--port", str(port), "--http", "1", "--no-ws"),
                *("--workers", str(web_processes), "--blocking-threads", "8", "--backpressure", "64"),
                *("--blocking-threads-idle-timeout", "600", "--respawn-failed-workers"),
                *("--workers-kill-timeout", "3", "--log-level", "warning"),
            ],
            # Its threads work side by side: threads of a matrix product beside them would only wait for each other.
            {"LOGIN_TOKEN": login_token, "OPENBLAS_NUM_THREADS": "1"},
            stop_timeout_s=6.0,
        ),
        "worker": Program(
            [
                *(*worker, "--queues", "default", "--hostname", "default@%h"),
                # One more than imports and their like get: a comparison of encoders takes one for as long as it runs, and
                # there is one comparison at a time.
                *("--concurrency", str(max(2, min(4, cores)) + 1)),
                *("--beat", "--schedule", str(data_dir / "run" / "beat")),
            ],
            quiet,
            stop_timeout_s=8.0,
        ),
        "embed": Program(
            # One process: an encoder uses every core (or the GPU) by itself.
            [*worker, "--queues", "embed", "--hostname", "embed@%h", "--concurrency", "1"],
            quiet,
            stop_timeout_s=8.0,
        ),
    }
