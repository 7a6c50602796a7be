"""What a person looks at beside a finding: the item's nearest neighbours, and typical members of the classes it is about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from django.core.cache import cache
from django.db import connection

from datasets.models import LabelClass

from .. import graph, vectors
from ..models import EmbeddingSpace, Finding

NEAREST, TYPICAL = 6, 6
# Of a class, to find its middle.
_MOST_COMPARED = 2_000
_KEPT_S = 600


@dataclass(frozen=True)
class Evidence:
    nearest: list[tuple[int, float]]  # items and their cosines, the nearest first
    classes: list[tuple[LabelClass, list[int]]]  # with its most typical items; the suggested one first


def of_finding(finding: Finding) -> Evidence:
    """Without vectors there is none."""
    space = EmbeddingSpace.objects.filter(dataset=finding.dataset_id, is_default=True).first()
    if space is None or space.is_placeholder:
        return Evidence([], [])
    wanted = [finding.suggested_label_id, *finding.label_ids]
    classes = LabelClass.objects.filter(dataset=finding.dataset_id).in_bulk([pk for pk in wanted if pk is not None])
    shown = [classes[pk] for pk in dict.fromkeys(wanted) if pk in classes]
    return Evidence(_nearest(space, finding.item_id), [(one, typical(space, one)) for one in shown])


def _nearest(space: EmbeddingSpace, item: int) -> list[tuple[int, float]]:
    """As in the graph that the findings were made with."""
    stored = graph.stored(space)
    if stored is None or not len(stored):
        return []
    row = min(int(np.searchsorted(stored.ids, item)), len(stored) - 1)
    if stored.ids[row] != item:
        return []
    near = stored.neighbours[row]
    near = near[near >= 0][:NEAREST]
    scores = stored.scores[row][: len(near)]
    return [(int(pk), float(score)) for pk, score in zip(stored.ids[near], scores, strict=True)]


def typical(space: EmbeddingSpace, label: LabelClass) -> list[int]:
    """The items of a class that are nearest to its mean (of two thousand of them at most), as they were some minutes ago."""
    key = f"typical:{space.pk}:{label.pk}"
    if (known := cache.get(key)) is not None:
        return list(known)
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH member AS MATERIALIZED (
                SELECT vector.item_id, vector.vector
                  FROM (SELECT item_id FROM datasets_annotation JOIN datasets_item AS item ON item.id = item_id
                         WHERE label_id = %s AND region_id IS NULL AND retracted_by_id IS NULL AND item.status <> 'excluded'
                         LIMIT %s) AS labelled
                  JOIN {vectors.partition_name(space)} AS vector USING (item_id)
            )
            SELECT item_id FROM member ORDER BY vector <#> (SELECT avg(vector) FROM member), item_id LIMIT %s
            """,
            [label.pk, _MOST_COMPARED, TYPICAL],
        )
        found = [pk for (pk,) in cursor.fetchall()]
    cache.set(key, found, _KEPT_S)
    return found
