"""The measures that encoders are compared by are those of their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from search.neighbourhoods import knn_accuracy, nearest, overlap, separation


def clusters(spread: float, number: int = 20) -> tuple[Any, Any]:
    """Three bunches of unit vectors, the more apart the less they are spread."""
    generator = np.random.default_rng(4)
    labels = np.repeat([7, 8, 9], number)
    vectors = np.eye(6, dtype=np.float32)[labels - 7] + generator.normal(0, spread, (3 * number, 6)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def test_accuracy_counts_who_has_the_label_of_its_neighbours() -> None:
    vectors, labels = clusters(0.01)
    assert knn_accuracy(vectors, labels, 5) == 1
    wrong = labels.copy()
    wrong[0] = 8
    assert knn_accuracy(vectors, wrong, 5) == pytest.approx(59 / 60)
    assert knn_accuracy(vectors, np.where(np.arange(60) < 40, labels, -1), 5) == 1  # the unlabelled are left out
    assert knn_accuracy(vectors, np.full(60, -1), 5) is None
    assert knn_accuracy(vectors, np.full(60, 3), 5) is None


def test_separation_is_the_silhouette() -> None:
    """As its definition says, item by item."""
    vectors, labels = clusters(0.4, number=7)
    vectors = np.vstack([vectors, [[0, 0, 0, 0, 0, 1]]]).astype(np.float32)
    labels = np.append(labels, 11)  # alone in its class: counts 0
    distance = 1 - vectors @ vectors.T
    each = []
    for row in range(len(labels)):
        same = (labels == labels[row]) & (np.arange(len(labels)) != row)
        if not same.any():
            each.append(0.0)
            continue
        own = distance[row, same].mean()
        other = min(distance[row, labels == one].mean() for one in set(labels) - {labels[row]})
        each.append((other - own) / max(own, other))
    assert separation(vectors, labels) == pytest.approx(np.mean(each), abs=1e-5)
    assert separation(vectors, np.full(len(labels), 1)) is None
    tight, apart = clusters(0.01)
    found = separation(tight, apart)
    assert found is not None
    assert found > 0.95


def test_overlap_is_the_share_of_common_neighbours() -> None:
    vectors, _ = clusters(0.3)
    places = np.arange(60)
    one = nearest(vectors, places, 60, 10)
    assert overlap(one, one) == 1
    assert overlap(one, nearest(vectors[::-1].copy(), places[::-1].copy(), 60, 10)) == 1
    other = nearest(np.random.default_rng(1).permutation(vectors), places, 60, 10)
    share = overlap(one, other)
    assert share is not None
    assert 0.05 < share < 0.4
    some = nearest(vectors[:30], places[:30], 60, 10)
    assert (some[30:] == -1).all()
    assert overlap(some, one) == overlap(one, some)
    assert overlap(some, nearest(vectors[30:], places[30:], 60, 10)) is None  # no item has neighbours in both


def test_many_items_are_ranked_as_few_are() -> None:
    """In parts, so that memory suffices; the same neighbours come of it."""
    vectors = np.random.default_rng(2).normal(size=(1100, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -np.inf)
    assert (nearest(vectors, np.arange(1100), 1100, 3) == np.argsort(-similarity, axis=1)[:, :3]).all()
