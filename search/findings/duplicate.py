"""Items that are the same, or nearly: equal content, or vectors nearer to each other than neighbours usually are.

*Nearly the same* is a distance (one minus the cosine) of at most .15 of the median distance to the fifth neighbour: what that is in
numbers depends on the encoder. What is linked through others is one group. One of each is suggested to be kept: one with a label before
one without, then the one with most pixels, then the one that came first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import MOST_RELATED, Array, Found, Kind, Material, NothingToFind

_SHARE_OF_USUAL, _USUAL_NEIGHBOUR = 0.15, 5
# What half precision makes of two equal vectors, and what is too far however far the others are.
_LEAST_DISTANCE, _MOST_DISTANCE = 5e-4, 0.1


@dataclass(frozen=True)
class Group:
    items: Array  # places among the items, the one to be kept first
    likeness: Array  # of each with the nearest of the group; 1 with the same content
    is_exact: bool  # all have the same content


def find(material: Material) -> list[Found]:
    groups = material.once(groups_of)
    ids = material.ids
    keys = material.keys([ids[group.items[0]] for group in groups])
    found = []
    for group in groups:
        keeper = int(ids[group.items[0]])
        members = ids[group.items].tolist()
        # One that comes or goes speaks for or against all.
        because = ("group", *sorted(set(material.content[group.items].tolist())), len(members))
        for at, item in enumerate(members[1:], start=1):
            same = material.content[group.items[at]] == material.content[group.items[0]] != 0
            what = "The same as" if same else f"Nearly the same as (likeness {group.likeness[at]:.3f})"
            more = f", one of {len(members)} alike" if len(members) > 2 else ""
            found.append(
                Found(
                    item,
                    float(np.clip(group.likeness[at], 0.5, 1.0)),
                    f"{what} {keys.get(keeper, keeper)}{more}. Keep that one.",
                    because=because,
                    related=[one for one in members if one != item][:MOST_RELATED],
                    group=f"keep {keeper}",
                )
            )
    return found


def groups_of(material: Material) -> list[Group]:
    """In the order of their first items."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    if not len(material.ids):
        raise NothingToFind("The dataset has no items to compare.")
    one, other, likeness = (np.concatenate(both) for both in zip(_equal(material), _near(material), strict=True))
    number = len(material.ids)
    nearest = np.zeros(number)
    np.maximum.at(nearest, one, likeness)
    np.maximum.at(nearest, other, likeness)
    _, member = connected_components(
        coo_matrix((np.ones(len(one)), (one, other)), shape=(number, number)), directed=False
    )
    linked = np.unique(np.concatenate([one, other]))
    # The best to be kept of each group comes first.
    pixels = material.measured("width").astype(np.int64) * material.measured("height")
    order = linked[np.lexsort((linked, -pixels[linked], material.labels[linked] < 0, member[linked]))]
    starts = np.flatnonzero(np.diff(member[order], prepend=-1))
    groups = np.split(order, starts[1:]) if len(order) else []
    return [
        Group(
            items, nearest[items], len(set(material.content[items].tolist())) == 1 and material.content[items[0]] != 0
        )
        for items in sorted(groups, key=lambda items: int(items[0]))
    ]


def _equal(material: Material) -> tuple[Array, Array, Array]:
    """Pairs of neighbours among items with the same content."""
    order = np.lexsort((np.arange(len(material.ids)), material.content))
    content = material.content[order]
    same = np.flatnonzero((content[1:] == content[:-1]) & (content[1:] != 0))
    return order[same], order[same + 1], np.ones(len(same))


def _near(material: Material) -> tuple[Array, Array, Array]:
    try:
        graph = material.graph
    except NothingToFind:  # equal content can be told without vectors
        return _no_pairs()
    distance = 1 - graph.scores
    k = distance.shape[1]
    if not k:
        return _no_pairs()
    usual = float(np.median(distance[:, min(_USUAL_NEIGHBOUR, k) - 1]))
    least = np.clip(_SHARE_OF_USUAL * usual, _LEAST_DISTANCE, _MOST_DISTANCE)
    row, place = np.nonzero((graph.neighbours >= 0) & (distance <= least))
    one, other = material.row_item[row], material.row_item[graph.neighbours[row, place]]
    kept = (one >= 0) & (other >= 0)
    return one[kept], other[kept], graph.scores[row, place][kept].astype(np.float64)


def _no_pairs() -> tuple[Array, Array, Array]:
    none = np.empty(0, dtype=np.int64)
    return none, none, np.empty(0)


KIND = Kind("duplicate", "Duplicates", "The same as another item, or nearly; the best of each group stays.", find)
