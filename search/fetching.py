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
    """What ``prepare`` gives for the encoder or detector ``name``, the only one of ``job``: see ``Fetching``."""
    fetching = Fetching(job)
    prepared = fetching.fetch(name, prepare, unavailable=unavailable)
    fetching.complete()
    return prepared


class Fetching:
    """Of one encoder or detector after the other; their bytes add up."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._next = 0.0
        self._before = 0  # bytes of those that are over
        self._done = 0
        self._total = 0

    def fetch(self, name: str, prepare: Callable[[str, Report], T], *, unavailable: type[Refused]) -> T:
        """Whatever goes wrong is ``unavailable`` with a sentence, but for what the job itself raises: ``jobs.Canceled``."""
        try:
            prepared = prepare(name, self._came)
            self._done = self._total
            return prepared
        except (jobs.Canceled, DatabaseError):
            raise
        except Refused as error:
            raise unavailable(str(error)) from error
        except Exception as error:
            # An encoder or detector may be anybody's code, and a network fails in its own ways.
            raise unavailable(f"“{name}” could not be fetched ({type(error).__name__}: {error}).") from error
        finally:
            self._before, self._done, self._total = self._before + self._done, 0, 0

    def complete(self) -> None:
        """Nothing more is to be fetched."""
        jobs.report(self._job.pk, PHASE, self._before, self._before)

    def _came(self, bytes_done: int, bytes_total: int) -> None:
        """At most once a second."""
        self._done, self._total = bytes_done, max(bytes_done, bytes_total)
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _REPORT_EVERY_S
        jobs.check_canceled(self._job)
        jobs.report(self._job.pk, PHASE, self._before + self._done, self._before + self._total)
