"""Why an item is a result: how like it is to each thing that the query is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datasets import filters

from . import answers, examples, query, region_ranking, vectors
from .query import Part, Query
from .vectors import Vectors


@dataclass(frozen=True)
class Likeness:
    """A part of the query, and its cosines with the item as a whole and with the region of it that was best."""

    part: Part
    score: float | None
    region_score: float | None


@dataclass(frozen=True)
class Reasons:
    score: float  # as in the ranking
    region_id: int  # 0: no region was better than the item as a whole
    likenesses: list[Likeness]  # wanted ones first, of them the nearest


def explain(asked: Query, item_id: int) -> Reasons:
    """Raises what ``answers.run`` raises; ``InvalidQuery`` for an item that is not in the dataset, ``ExampleNotReady`` for one
    that has no vector."""
    items = filters.items_of(asked.dataset).filter(pk=item_id if 0 < item_id < 2**63 else 0)
    if not items.exists():
        raise query.InvalidQuery(f"“{asked.dataset.name}” has no item {item_id}.")
    space, parts, ranked = answers.rank_with_parts(asked, items)
    if not len(ranked.item_ids):
        raise examples.ExampleNotReady(
            f"Item {item_id} has no vector, so it is like nothing yet. Wait for the embedding."
        )
    whole = vectors.of_items(space, [item_id]).get(item_id)
    region_id = int(ranked.region_ids[0]) if isinstance(ranked, region_ranking.RankedByRegion) else 0
    region = vectors.of_regions(space, [(item_id, region_id)]).get(region_id) if region_id else None
    likenesses = [Likeness(part, _cosine(part.vector, whole), _cosine(part.vector, region)) for part in parts]
    likenesses.sort(key=lambda one: (not one.part.is_wanted, -max(one.score or -1, one.region_score or -1)))
    return Reasons(float(ranked.scores[0]), region_id, likenesses)


def _cosine(one: Vectors, other: Vectors | None) -> float | None:
    return None if other is None else float(np.dot(one, other))
