"""How well vectors put together what belongs together: the measures that encoders are compared by."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from .encoders.base import Array

# So many rows of similarities at once: all of 5,000 items would take some 400 MB.
_ROWS = 512

Labels = npt.NDArray[np.int64]
Places = npt.NDArray[np.int64]


def knn_accuracy(vectors: Array, labels: Labels, k: int) -> float | None:
    """Leave-one-out, among the items with a label (``labels`` ≥ 0). ``vectors`` is ``(n, dimension)``, L2-normalised.

    None where fewer than two items or classes have one. Ties go to the class of the nearer neighbour.
    """
    vectors, labels = vectors[labels >= 0], labels[labels >= 0]
    if len(labels) <= 1 or len(np.unique(labels)) < 2:
        return None
    right = 0
    for row, neighbours in enumerate(labels[_ranked(vectors, k)]):
        classes, first, votes = np.unique(neighbours, return_index=True, return_counts=True)
        right += classes[np.lexsort((first, -votes))[0]] == labels[row]
    return float(right / len(labels))


def separation(vectors: Array, labels: Labels) -> float | None:
    """Mean silhouette in cosine distance of the items with a label; None where no class has two of them or there is one
    class only. An item that is alone in its class counts 0."""
    vectors, labels = vectors[labels >= 0], labels[labels >= 0]
    classes, member, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2 or sizes.max(initial=0) < 2:
        return None
    # Sums of distances to each class: the distance is 1 - cosine, so sums of vectors will do.
    sums = np.zeros((len(classes), vectors.shape[1]), dtype=np.float64)
    np.add.at(sums, member, vectors)
    distance = sizes[None, :] - vectors @ sums.T
    rows = np.arange(len(labels))
    own = distance[rows, member] / np.maximum(sizes[member] - 1, 1)
    distance = distance / sizes[None, :]
    distance[rows, member] = np.inf
    other = distance.min(axis=1)
    silhouette = (other - own) / np.maximum(np.maximum(own, other), 1e-12)
    return float(np.where(sizes[member] > 1, silhouette, 0).mean())


def nearest(vectors: Array, rows: Places, total: int, k: int) -> Places:
    """``(total, k)``: the nearest other sample items of each, by their place in the sample; -1 for what has no vector.

    ``vectors`` are those of the places ``rows``.
    """
    result = np.full((total, k), -1, dtype=np.int64)
    if len(rows) > 1:
        found = _ranked(vectors, k)
        result[rows, : found.shape[1]] = rows[found]
    return result


def overlap(one: Places, other: Places) -> float | None:
    """Mean share of neighbours in common, over the items that have some in both; None where there are none."""
    shares = [
        len(np.intersect1d(left[left >= 0], right[right >= 0])) / max((left >= 0).sum(), 1)
        for left, right in zip(one, other, strict=True)
        if (left >= 0).any() and (right >= 0).any()
    ]
    return float(np.mean(shares)) if shares else None


def _ranked(vectors: Array, k: int) -> Places:
    """``(n, k)``, or fewer columns where there are fewer others: the rows most like each row, itself left out."""
    k = min(k, len(vectors) - 1)
    return np.concatenate([np.argsort(-part, axis=1, kind="stable")[:, :k] for part in _similarities(vectors)])


def _similarities(vectors: Array) -> Iterator[Array]:
    for start in range(0, len(vectors), _ROWS):
        part = vectors[start : start + _ROWS] @ vectors.T
        part[np.arange(len(part)), np.arange(start, start + len(part))] = -np.inf
        yield part
