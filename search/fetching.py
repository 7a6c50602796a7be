"""Fetching weights in a job: its phase ``prepare`` counts the bytes that have come, and a cancel stops it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError

from datasets import jobs
from datasets.errors import Refused
from datasets.models import Job

from .weights import Report

PHASE = "prepare"
_REPORT_EVERY_S = 1.0

T = TypeVar("T")


def fetch(job: Job, name: str, prepare: Callable[[str, Report], T], *, unavailable: type[Refused]) -> T:
    """What ``prepare`` gives for the encoder or detector ``name``, as a part of ``job``.

    Whatever goes wrong is ``unavailable`` with a sentence, but for what the job itself raises: ``jobs.Canceled``.
    """
    progress = _Progress(job)
    try:
        prepared = prepare(name, progress)
    except (jobs.Canceled, DatabaseError):
        raise
    except Refused as error:
        raise unavailable(str(error)) from error
    except Exception as error:
        # An encoder or detector may be anybody's code, and a network fails in its own ways.
        raise unavailable(f"“{name}” could not be fetched ({type(error).__name__}: {error}).") from error
    progress.complete()
    return prepared


class _Progress:
    """Counts the bytes that have come, at most once a second, and stops a job that somebody has canceled."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._next = 0.0
        self._total = 0

    def __call__(self, bytes_done: int, bytes_total: int) -> None:
        self._total = max(bytes_done, bytes_total)
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _REPORT_EVERY_S
        jobs.check_canceled(self._job)
        jobs.report(self._job.pk, PHASE, bytes_done, self._total)

    def complete(self) -> None:
        jobs.report(self._job.pk, PHASE, self._total, self._total)
