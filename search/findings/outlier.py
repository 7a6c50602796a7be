"""Items far from everything, and items far from their own class.

How near an item lies is the mean cosine to its 20 nearest others: of the whole space, from the graph; of its own class, among at most
1,000 of its members. What lies further off than most by more than 3.5 robust standard deviations is an outlier, of which at most the
furthest twentieth is shown.
"""

from __future__ import annotations

import numpy as np

from .base import UNUSUAL, Array, Found, Kind, Material, NothingToFind, as_score, unusual

NEAREST = 20
_MOST_SHARE = 0.05
# Of a smaller class nobody can tell what is usual in it.
_LEAST_MEMBERS = 8
_MOST_MEMBERS = 1_000
_BLOCK = 4_096


def find(material: Material) -> list[Found]:
    if len(material.rows.ids) < 3:
        raise NothingToFind("With fewer than three items with a vector nothing can be unlike the others.")
    return _from_everything(material) + _from_own_class(material)


def _from_everything(material: Material) -> list[Found]:
    nearness = nearness_of(material)
    deviation = _of_items(material, unusual(-nearness))
    usual = float(np.median(nearness))
    ids = material.graph.ids
    found = []
    for row in _furthest(deviation):
        others = material.graph.neighbours[row]
        found.append(
            Found(
                int(ids[row]),
                float(as_score(deviation[row])),
                f"Unlike everything else here: its mean likeness to the nearest {NEAREST} is {nearness[row]:.2f}, of most items it "
                f"is {usual:.2f}.",
                because=("space", _content(material, row)),
                related=ids[others[others >= 0]][:8].tolist(),
            )
        )
    return found


def nearness_of(material: Material) -> Array:
    """``(n,)``: the mean cosine to the nearest others in the graph."""
    neighbours, scores = material.graph.neighbours[:, :NEAREST], material.graph.scores[:, :NEAREST]
    return scores.sum(axis=1) / np.maximum((neighbours >= 0).sum(axis=1), 1)


def _from_own_class(material: Material) -> list[Found]:
    found = []
    for label in np.unique(material.row_labels[material.row_labels >= 0]).tolist():
        rows = np.flatnonzero(material.row_labels == label)
        if len(rows) < _LEAST_MEMBERS:
            continue
        nearness, nearest = class_nearness(material.rows.vectors[rows])
        deviation = unusual(-nearness)
        usual = float(np.median(nearness))
        name = material.class_names.get(label, "?")
        for at in _furthest(deviation):
            found.append(
                Found(
                    int(material.rows.ids[rows[at]]),
                    float(as_score(deviation[at])),
                    f"Far from the others of “{name}”: its mean likeness to the nearest of them is {nearness[at]:.2f}, of most it is "
                    f"{usual:.2f}.",
                    because=("class", label, _content(material, rows[at])),
                    related=material.rows.ids[rows[nearest[at]]].tolist(),
                    subject="class",
                )
            )
    return found


def class_nearness(vectors: Array) -> tuple[Array, Array]:
    """Of members of one class: ``(n,)`` the mean cosine to the nearest of the others, and ``(n, up to 8)`` which these are."""
    import torch

    number = len(vectors)
    members = np.arange(number)
    if number > _MOST_MEMBERS:
        members = np.sort(np.random.default_rng(0).choice(number, _MOST_MEMBERS, replace=False))
    k = min(NEAREST, len(members) - 1)
    others = torch.from_numpy(np.ascontiguousarray(vectors[members].T))
    nearness, nearest = np.empty(number), np.empty((number, min(8, k)), dtype=np.int64)
    for start in range(0, number, _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, number))
        scores = torch.from_numpy(vectors[rows]) @ others
        scores[torch.from_numpy(rows[:, None] == members[None, :])] = -2.0
        best, place = scores.topk(k, dim=1)
        nearness[rows] = best.mean(dim=1).numpy()
        nearest[rows] = members[place.numpy()[:, :8]]
    return nearness, nearest


def _of_items(material: Material, deviation: Array) -> Array:
    """Without what is excluded."""
    return np.where(material.row_item >= 0, deviation, -np.inf)


def _furthest(deviation: Array) -> Array:
    order = np.argsort(-deviation, kind="stable")[: max(1, int(_MOST_SHARE * len(deviation)))]
    return order[deviation[order] > UNUSUAL]


def _content(material: Material, row: int) -> int:
    return int(material.content[material.row_item[row]])


KIND = Kind("outlier", "Outliers", "Unlike everything else, or unlike the others of their class.", find)
