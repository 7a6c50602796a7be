"""How far a review has come: what was right so far, and how many errors are likely to be left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datasets import packed
from datasets.models import Dataset

from ..models import Finding

State = Finding.State

# Of decisions, before anything is said of what is left.
LEAST_DECIDED = 10
# To stop: when fewer errors than this share of all, found and left, are likely to be left.
MISSED = 0.05
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Progress:
    open: int
    confirmed: int
    dismissed: int
    precision: float | None  # of what was decided
    interval: tuple[float, float] | None  # Clopper & Pearson 1934, 95 %
    errors_left: float | None  # among the open ones, as far as can be told
    stop_below: int | None

    @property
    def is_enough(self) -> bool:
        return self.errors_left is not None and self.stop_below is not None and self.errors_left < self.stop_below


def of_kind(dataset: Dataset, kind: str) -> Progress:
    """Of its findings that were decided and that are open."""
    found = packed.fetch(
        "SELECT array_position(%s, state::text), score FROM search_finding WHERE dataset_id = %s AND kind = %s",
        [[State.OPEN, State.CONFIRMED, State.DISMISSED], dataset.pk, kind],
        {"state": "i4", "score": "f8"},
    )
    is_open, scores = found["state"] == 1, found["score"]
    return of_decisions(scores[~is_open], found["state"][~is_open] == 2, scores[is_open])


def of_decisions(
    scores: npt.NDArray[np.float64], is_right: npt.NDArray[np.bool_], open_scores: npt.NDArray[np.float64]
) -> Progress:
    """``scores`` ``(n,)`` of the decided ones and whether each was right, and those of the open ones."""
    confirmed = int(is_right.sum())
    decided = len(is_right)
    precision = confirmed / decided if decided else None
    left = _left(scores, is_right, open_scores) if decided >= LEAST_DECIDED else None
    return Progress(
        len(open_scores),
        confirmed,
        decided - confirmed,
        precision,
        _interval(confirmed, decided) if decided else None,
        left,
        None if left is None else max(1, round(MISSED * (confirmed + left))),
    )


def _interval(right: int, number: int) -> tuple[float, float]:
    from scipy.stats import beta

    tail = (1 - CONFIDENCE) / 2
    low = float(beta.ppf(tail, right, number - right + 1)) if right else 0.0
    high = float(beta.ppf(1 - tail, right + 1, number - right)) if right < number else 1.0
    return low, high


def _left(
    scores: npt.NDArray[np.float64], is_right: npt.NDArray[np.bool_], open_scores: npt.NDArray[np.float64]
) -> float:
    """The better the score, the more often it is right: isotonic regression of the decisions (pooled, each pool with half a
    decision of either kind added, so that none is certain). What is open counts as the decided one below it, or the lowest:
    decisions come best first, so this is rather too many than too few."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(scores, kind="stable")
    fitted = isotonic_regression(is_right[order].astype(float))
    starts = fitted.blocks[:-1]
    sizes = np.diff(fitted.blocks)
    right = np.add.reduceat(is_right[order].astype(float), starts)
    rates = np.repeat((right + 0.5) / (sizes + 1), sizes)
    at = np.searchsorted(scores[order], open_scores, side="right") - 1
    return float(rates[np.maximum(at, 0)].sum())
