"""Items whose label is probably wrong: confident learning (Northcutt, Jiang & Chuang 2021).

A linear model that has not seen the item tells how probable each class is (``search.probe``). A class is believed when it is at least as
probable as it is on average for its own members; an item for which another class than its own is believed most is a finding, and those
whose own label is least probable come first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import MOST_RELATED, Array, Found, Kind, Material, NothingToFind

# A class with fewer members is not learned: of one in five folds nothing would be left to learn from.
LEAST_MEMBERS = 5


@dataclass(frozen=True)
class Judged:
    """The rows that have a label of a class that can be learned."""

    rows: Array  # (m,)
    classes: Array  # (c,) ids
    member: Array  # (m,) places among the classes
    probabilities: Array  # (m, c)

    @property
    def self_confidence(self) -> Array:
        """How probable the given label is."""
        return self.probabilities[np.arange(len(self.member)), self.member]


def find(material: Material) -> list[Found]:
    judged = judge(material)
    believed = believed_of(judged.probabilities, judged.member)
    wrong = np.flatnonzero((believed >= 0) & (believed != judged.member))
    ids = material.rows.ids
    found = []
    for at in wrong.tolist():
        row, given, other = judged.rows[at], judged.member[at], believed[at]
        suggested = int(judged.classes[other])
        confidence = float(judged.probabilities[at, other])
        own = float(judged.probabilities[at, given])
        neighbours = material.graph.neighbours[row]
        neighbours = neighbours[neighbours >= 0]
        alike = neighbours[material.row_labels[neighbours] == suggested]
        found.append(
            Found(
                int(ids[row]),
                confidence / (own + confidence),
                f"Labelled “{material.class_names.get(int(judged.classes[given]), '?')}”, but looks like "
                f"“{material.class_names.get(suggested, '?')}”: {_percent(confidence)} against {_percent(own)}"
                + (f", as {len(alike)} of its {len(neighbours)} nearest." if len(alike) else "."),
                because=(int(judged.classes[given]), suggested),
                related=ids[np.concatenate([alike, np.setdiff1d(neighbours, alike, assume_unique=True)])][
                    :MOST_RELATED
                ].tolist(),
                suggested=suggested,
                confidence=confidence,
                group=f"{judged.classes[given]}>{suggested}",
            )
        )
    return found


def judge(material: Material) -> Judged:
    from .. import probe  # it imports torch, which the web has no use for

    if material.dataset.multi_label and not (material.labels >= 0).any():
        raise NothingToFind("No item has exactly one label, which is what can be checked.")
    classes, sizes = np.unique(material.row_labels[material.row_labels >= 0], return_counts=True)
    classes = classes[sizes >= LEAST_MEMBERS]
    if len(classes) < 2:
        raise NothingToFind(
            f"Labels can be checked once two classes have {LEAST_MEMBERS} items each with a label and a vector."
        )
    rows = np.flatnonzero(np.isin(material.row_labels, classes))
    member = np.searchsorted(classes, material.row_labels[rows])
    return Judged(rows, classes, member, probe.out_of_sample(material.rows.vectors[rows], member, len(classes)))


def believed_of(probabilities: Array, member: Array) -> Array:
    """The class that is believed most of each row, -1 where none is."""
    rows = np.arange(len(member))
    own = np.bincount(member, weights=probabilities[rows, member], minlength=probabilities.shape[1])
    least = own / np.maximum(np.bincount(member, minlength=probabilities.shape[1]), 1)
    passing = np.where(probabilities >= least - 1e-6, probabilities, -1.0)
    best = passing.argmax(axis=1)
    return np.where(passing[rows, best] >= 0, best, -1)


def _percent(probability: float) -> str:
    return f"{100 * probability:.0f} %" if probability >= 0.01 else "under 1 %"


KIND = Kind("label_error", "Label errors", "The label is probably wrong; another one is suggested.", find)
