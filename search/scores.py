"""How the scores of everything that a query was compared with are spread: counted in fine bins, whoever counted them.

Postgres counts them where it compares, numpy where the scores are here. What is said of a score among the others comes of these
counts, so that it is the same on every page.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

HISTOGRAM_BINS = 60
# Of each bar so many: a place among the others is known to one part in 3,840 of the range.
_PARTS = 64
BINS = HISTOGRAM_BINS * _PARTS

Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Histogram:
    """Counts of scores in equal bins between the least and the greatest."""

    least: float
    greatest: float
    counts: list[int]
    sampled: int | None = None  # of so many items that stand for all; ``None``: of all


@dataclass(frozen=True)
class Spread:
    """Counts of scores in ``BINS`` equal bins from the least to the greatest."""

    least: float
    greatest: float
    counts: npt.NDArray[np.int64]
    standing_for: int | None = None  # they are a sample of so many; ``None``: they are all

    @classmethod
    def of(cls, scores: Scores, *, standing_for: int | None = None) -> Spread:
        if not len(scores):
            return cls(0.0, 0.0, np.zeros(BINS, np.int64), standing_for)
        least, greatest = float(scores.min()), float(scores.max())
        empty = cls(least, greatest, np.zeros(BINS, np.int64), standing_for)
        return cls(least, greatest, np.bincount(empty.bins_of(scores), minlength=BINS), standing_for)

    @classmethod
    def counted(cls, least: float | None, greatest: float | None, bins: Iterable[tuple[int, int]] | None) -> Spread:
        """As Postgres counts them: number of a bin, from 1 on, and how many are in it."""
        counts = np.zeros(BINS, np.int64)
        for at, number in bins or ():
            counts[at - 1] = number
        return cls(least or 0.0, greatest or 0.0, counts)

    @cached_property
    def counted_number(self) -> int:
        return int(self.counts.sum())

    def bins_of(self, scores: Scores) -> npt.NDArray[np.int64]:
        """As ``width_bucket`` has it, to the last digit."""
        width = self.greatest - self.least
        if not width:
            return np.where(np.asarray(scores) > self.least, BINS - 1, 0)
        return np.clip((BINS * (np.asarray(scores, np.float64) - self.least) / width).astype(np.int64), 0, BINS - 1)

    def edges(self) -> Scores:
        """The lower ends of the bins, and the upper one of the last: ``(BINS + 1,)``."""
        return np.linspace(self.least, self.greatest, BINS + 1)

    def lower(self, scores: Scores) -> npt.NDArray[np.float64]:
        """Share of all that score less than each of ``scores``. Those in the same bin do not."""
        below = np.concatenate([[0], np.cumsum(self.counts)])
        return below[self.bins_of(scores)] / max(1, self.counted_number)

    @cached_property
    def middle(self) -> float:
        """The median, to half a bin."""
        at = int(np.searchsorted(np.cumsum(self.counts), (self.counted_number + 1) // 2))
        edges = self.edges()
        return float((edges[at] + edges[at + 1]) / 2)

    @cached_property
    def best(self) -> float | None:
        """The greatest of those that are counted, to one bin; it may be less than ``greatest`` after ``without``."""
        filled = np.flatnonzero(self.counts)
        return float(self.edges()[filled[-1] + 1]) if len(filled) else None

    def without(self, scores: Scores) -> Spread:
        """When ``scores`` are left out, which were counted."""
        left = self.counts.copy()
        np.subtract.at(left, self.bins_of(scores), 1)
        return Spread(self.least, self.greatest, np.maximum(left, 0), self.standing_for)

    @property
    def histogram(self) -> Histogram:
        counts = self.counts.reshape(HISTOGRAM_BINS, _PARTS).sum(axis=1)
        if self.standing_for is None:
            return Histogram(self.least, self.greatest, counts.tolist())
        scaled = np.rint(counts * (self.standing_for / max(1, self.counted_number))).astype(int)
        return Histogram(self.least, self.greatest, scaled.tolist(), sampled=self.counted_number)
