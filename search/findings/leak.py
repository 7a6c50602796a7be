"""Items of one split that are the same as one of another, or nearly: what was learned from is no test.

The split called train (or training), or else the largest, stays; what is in another split as well is the leak.
"""

from __future__ import annotations

import numpy as np

from .base import MOST_RELATED, Found, Kind, Material, NothingToFind
from .duplicate import groups_of

_LEARNED_FROM = ("train", "training")


def find(material: Material) -> list[Found]:
    splits, names = material.splits
    used = [name for at, name in enumerate(names) if name and (splits == at).any()]
    if len(used) < 2:
        raise NothingToFind("The items are not in two splits, so that nothing can be in both.")
    learned = next((name for name in used if name.lower() in _LEARNED_FROM), None)
    if learned is None:
        learned = max(used, key=lambda name: int((splits == names.index(name)).sum()))
    train = names.index(learned)
    found = []
    for group in material.once(groups_of):
        inside = group.items[splits[group.items] == train]
        outside = group.items[(splits[group.items] != train) & (splits[group.items] > 0)]
        if not len(inside) or not len(outside):
            continue
        likeness = dict(zip(group.items.tolist(), group.likeness.tolist(), strict=True))
        keys = material.keys([material.ids[inside[0]]])
        for item in outside.tolist():
            same = material.content[item] != 0 and (material.content[inside] == material.content[item]).any()
            found.append(
                Found(
                    int(material.ids[item]),
                    float(np.clip(likeness[item], 0.5, 1.0)),
                    f"Is in “{names[splits[item]]}”, and {'the same' if same else 'nearly the same'} as "
                    f"{keys.get(int(material.ids[inside[0]]), '?')} in “{learned}”.",
                    because=(int(splits[item]), int(material.content[item]), len(inside)),
                    related=material.ids[inside][:MOST_RELATED].tolist(),
                    group=f"keep {material.ids[inside[0]]}",
                )
            )
    return found


KIND = Kind("leak", "Leaks", "In one split, and the same as an item of the training split, or nearly.", find)
