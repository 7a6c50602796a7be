"""Fetching encoders within a job: the bytes are counted in its phase ``prepare``, and a cancel stops it."""

from __future__ import annotations

import time

from django.db import DatabaseError

from datasets import jobs
from datasets.models import Job

from . import encoders
from .encoders import EncoderSpec, EncoderUnavailable, UnknownEncoder

_REPORT_EVERY_S = 1.0


class Fetching:
    """Of one encoder after the other; their bytes add up."""

    PHASE = "prepare"

    def __init__(self, job: Job) -> None:
        self._job = job
        self._next = 0.0
        self._before = 0  # bytes of those that are over
        self._done = 0
        self._total = 0

    def fetch(self, encoder: str) -> EncoderSpec:
        """Its spec, outputs included, once it is here. Raises ``EncoderUnavailable``, ``UnknownEncoder``, ``Canceled``."""
        try:
            spec = encoders.prepare(encoder, self._came)
            self._done = self._total
            return spec
        except (jobs.Canceled, DatabaseError, EncoderUnavailable, UnknownEncoder):
            raise
        except Exception as error:
            # An encoder may be anybody's code, and a network fails in its own ways.
            raise EncoderUnavailable(f"“{encoder}” could not be fetched ({type(error).__name__}: {error}).") from error
        finally:
            self._before, self._done, self._total = self._before + self._done, 0, 0

    def complete(self) -> None:
        """Nothing more is to be fetched."""
        jobs.report(self._job.pk, self.PHASE, self._before, self._before)

    def _came(self, bytes_done: int, bytes_total: int) -> None:
        self._done, self._total = bytes_done, max(bytes_done, bytes_total)
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _REPORT_EVERY_S
        jobs.check_canceled(self._job)
        jobs.report(self._job.pk, self.PHASE, self._before + self._done, self._before + self._total)
