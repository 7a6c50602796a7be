"""A sample of a large space: it stands for all where a look at every vector would take too long.

Drawn from pages all over the partition, kept in this process for some minutes. What is estimated from it: how many items a
filter lets pass, how the scores of a query are spread, whether the index looked in the wrong place. What is counted exactly never
comes from here.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
from django.db import connection

from . import vectors
from .models import EmbeddingSpace
from .vectors import Chosen, Vectors

SIZE = 8_192
_KEPT_S = 300.0
_MOST_KEPT = 16  # spaces
# Of the sample, for the share that passes a filter: 1 % is told from 2 %, in a few milliseconds.
_ASKED = 2_048


@dataclass(frozen=True)
class Sample:
    item_ids: npt.NDArray[np.int64]
    vectors: Vectors  # (n, dimension)
    drawn_at: float

    def of(self, passing: npt.NDArray[np.bool_] | None) -> Sample:
        """Those that ``passing``, of the first of them, names; all when ``None``."""
        if passing is None:
            return self
        number = len(passing)
        return Sample(self.item_ids[:number][passing], self.vectors[:number][passing], self.drawn_at)

    def scores(self, query: Vectors) -> npt.NDArray[np.float32]:
        return self.vectors @ query

    def passing(self, items: Chosen) -> npt.NDArray[np.bool_]:
        """Which of the first of them are among ``items``: enough to tell the share."""
        return vectors.among(items, self.item_ids[:_ASKED])


_kept: dict[int, Sample] = {}
_drawing: dict[int, threading.Lock] = {}
_lock = threading.Lock()


def of(space: EmbeddingSpace, rows: int) -> Sample:
    """That of ``space``, which holds about so many ``rows``: many more than ``SIZE``."""
    found = _kept.get(space.pk)
    if _is_fresh(found):
        return found
    with _lock:
        drawing = _drawing.setdefault(space.pk, threading.Lock())
    # One draws. Who has an old one need not wait for it.
    if not drawing.acquire(blocking=found is None):
        assert found is not None
        return found
    try:
        if _is_fresh(found := _kept.get(space.pk)):
            return found
        drawn = draw(space, rows)
        with _lock:
            _kept.pop(space.pk, None)
            while len(_kept) >= _MOST_KEPT:
                _kept.pop(next(iter(_kept)))
            _kept[space.pk] = drawn
        return drawn
    finally:
        drawing.release()


def _is_fresh(sample: Sample | None) -> TypeGuard[Sample]:
    return sample is not None and time.monotonic() - sample.drawn_at < _KEPT_S


def draw(space: EmbeddingSpace, rows: int) -> Sample:
    """A new one. Neighbours on a page came together, so few are taken of each of many pages."""
    on_a_page = max(1, 8192 // (2 * space.dimension + 48))
    per_cent = min(100.0, 100.0 * 1.2 * SIZE * on_a_page / rows)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT item_id, halfvec_send(vector) FROM {vectors.partition_name(space)}"
            " TABLESAMPLE SYSTEM (%s::real) WHERE random() < %s::float8 ORDER BY random() LIMIT %s",
            [per_cent, max(1.0 / on_a_page, 100.0 / per_cent * SIZE / rows), SIZE],
        )
        found: list[Any] = cursor.fetchall()
    return Sample(
        np.array([pk for pk, _ in found], dtype=np.int64),
        vectors.unpacked([sent for _, sent in found], space.dimension).astype(np.float32),
        time.monotonic(),
    )
