"""Boxes as rows of (left, top, right, bottom), relative to the image: how they overlap, which to keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import MOST_PER_IMAGE, SCORE_FLOOR, Detection

Boxes = npt.NDArray[np.floating[Any]]  # (n, 4)


def overlaps(box: Boxes, others: Boxes) -> npt.NDArray[np.float64]:
    """Intersection over union of one box ``(4,)`` with each of ``(n, 4)``: ``(n,)``. Two empty boxes give 0."""
    box, others = np.asarray(box, dtype=np.float64), np.asarray(others, dtype=np.float64)
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    union = areas(box[None]) + areas(others) - shared
    return np.divide(shared, union, out=np.zeros(len(others)), where=union > 0)


def areas(boxes: Boxes) -> npt.NDArray[np.float64]:
    """``(n,)``; 0 for a box that is turned inside out."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return np.asarray(np.clip(sides, 0, None).prod(axis=1), dtype=np.float64)


def suppress(
    boxes: Boxes, scores: npt.NDArray[Any], classes: npt.NDArray[Any], *, overlap: float
) -> npt.NDArray[np.int64]:
    """Rows to keep, best first: of boxes of one class that overlap by more than ``overlap``, only the best.

    Greedy non-maximum suppression; of equal scores the earlier row is the better one.
    """
    waiting = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        rivals = (classes[waiting] == classes[best]) & (overlaps(boxes[best], boxes[waiting]) > overlap)
        waiting = waiting[~rivals]
    return np.array(kept, dtype=np.int64)


def detections(boxes: Boxes, scores: npt.NDArray[Any], labels: Sequence[str]) -> list[Detection]:
    """One image's detections as ``Detector.detect`` promises them: clipped, best first, none empty or too unlikely."""
    clipped = np.clip(np.asarray(boxes, dtype=np.float64).reshape(-1, 4), 0.0, 1.0)
    scores = np.asarray(scores, dtype=np.float64)
    usable = np.isfinite(clipped).all(axis=1) & (scores >= SCORE_FLOOR) & (areas(clipped) > 0)
    rows = np.flatnonzero(usable)
    rows = rows[np.argsort(-scores[rows], kind="stable")][:MOST_PER_IMAGE]
    return [
        Detection(
            label=labels[row],
            score=min(float(scores[row]), 1.0),
            x=float(left),
            y=float(top),
            width=float(right - left),
            height=float(bottom - top),
        )
        for row, (left, top, right, bottom) in zip(rows.tolist(), clipped[rows], strict=True)
    ]
