"""Counts: what the filter rail, the dataset cards and the managers' charts show. Plain SQL, nothing kept twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, QuerySet
from django.db.models.functions import TruncDate

from . import duplicates, predicted
from .filters import Filter, items_of
from .models import Annotation, Dataset, Item, LabelClass, Modality, Status

MEASURE_BINS = 16
# A metadata key is a facet when it has few different values.
_MOST_METADATA_VALUES = 12
_METADATA_SAMPLE = 20_000


@dataclass(frozen=True)
class DatasetCounts:
    items: int
    labeled: int
    unreadable: int


def counts_of(dataset_ids: list[int]) -> dict[int, DatasetCounts]:
    """For the cards of all datasets of a list at once: one statement."""
    with connection.cursor() as cursor:
        cursor.execute(_DATASET_COUNTS, [dataset_ids])
        return {pk: DatasetCounts(*rest) for pk, *rest in cursor.fetchall()}


_DATASET_COUNTS = """
SELECT item.dataset_id, count(*),
       count(*) FILTER (WHERE EXISTS (
            SELECT FROM datasets_annotation AS annotation
             WHERE annotation.item_id = item.id AND region_id IS NULL AND retracted_by_id IS NULL)),
       count(*) FILTER (WHERE problem <> '')
  FROM datasets_item AS item WHERE item.dataset_id = ANY(%s) GROUP BY item.dataset_id
"""


def typical_items(dataset_ids: list[int], number: int = 5) -> dict[int, list[int]]:
    """Ids of readable items spread evenly over each dataset's order of import, for the pictures on its card. One statement,
    and a few steps down an index for each dataset."""
    found: dict[int, list[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_SPREAD_ITEMS, [dataset_ids, number, number])
        for dataset_id, item_id in cursor.fetchall():
            found.setdefault(dataset_id, []).append(item_id)
    return found


_SPREAD_ITEMS = """
SELECT DISTINCT wanted.dataset_id, item.id
  FROM unnest(%s::bigint[]) AS wanted (dataset_id)
 CROSS JOIN LATERAL (
       SELECT min(id) AS first, max(id) AS last FROM datasets_item WHERE dataset_id = wanted.dataset_id) AS ends
 CROSS JOIN generate_series(0, %s - 1) AS step
 CROSS JOIN LATERAL (
       SELECT id FROM datasets_item
        WHERE dataset_id = wanted.dataset_id AND problem = '' AND id >= first + (last - first) * step / %s
        ORDER BY id LIMIT 1) AS item
 ORDER BY item.id
"""


@transaction.atomic
def statistics(dataset: Dataset, filter: Filter) -> dict[str, Any]:
    """All facets under ``filter``. Each leaves its own condition out, so that it shows what else could be chosen."""
    everything = items_of(dataset)
    filter = Filter(
        tuple(
            replace(condition, q=duplicates.held(dataset, condition.q)) if condition.key == "duplicates" else condition
            for condition in filter.conditions
        )
    )

    def items(*without: str) -> QuerySet[Item]:
        return filter.without(*without).apply(everything)

    matching = items()
    by_class = _labels(items("label", "not_label", "unlabeled"))
    classes: list[dict[str, Any]] = [
        {"id": c.pk, "name": c.name, "color": c.color, "shortcut": c.shortcut, "count": by_class.get(c.pk, 0)}
        for c in LabelClass.objects.filter(dataset=dataset)
    ]
    unlabeled_scope = items("label", "not_label", "unlabeled")
    used = [one["count"] for one in classes if one["count"]]
    standing = Annotation.objects.standing().filter(region=None)
    return {
        "total": matching.count(),
        "all": everything.count(),
        "labels": classes,
        "unlabeled": unlabeled_scope.count() - _labeled(unlabeled_scope),
        "status": dict.fromkeys(Status.values, 0) | _by(items("status", "not_status"), "status"),
        "split": _by(items("split", "not_split"), "split"),
        "tags": _tags(items("tag", "not_tag")),
        "duplicates": duplicates.count(dataset, items("duplicates") if filter.without("duplicates") else None),
        "source": _by(standing.filter(item__in=items("source").values("pk")), "source"),
        "annotator": _by(
            standing.filter(item__in=items("annotator").values("pk"), author__isnull=False), "author__username"
        ),
        "day": {
            day.isoformat(): number
            for day, number in standing.filter(item__in=matching.values("pk"))
            .annotate(day=TruncDate("created_at"))
            .order_by("-day")
            .values_list("day")
            .annotate(Count("pk"))[:60]
        },
        "imbalance": max(used) / min(used) if used else None,
        "metadata": _metadata(dataset, filter),
        "brightness": _measure(dataset, items("brightness"), "brightness"),
        "sharpness": _measure(dataset, items("sharpness"), "sharpness"),
    }


def predictions(dataset: Dataset, filter: Filter) -> dict[str, Any]:
    """The facets of what models said, apart from the others: there may be many times more predictions than items."""

    def items(without: str) -> QuerySet[Item] | None:
        left = filter.without(without)
        return left.apply(items_of(dataset)) if left else None

    return {
        "predicted": predicted.counts(dataset, items("predicted")),
        "disagrees": predicted.count_disagreeing(dataset, items("disagrees")),
    }


def _by(rows: QuerySet[Any], field: str) -> dict[str, int]:
    return dict(rows.order_by(field).values_list(field).annotate(Count("pk")))


def _labels(items: QuerySet[Item]) -> dict[int, int]:
    standing = Annotation.objects.standing().filter(region=None, item__in=items.values("pk"))
    return dict(standing.order_by().values_list("label").annotate(Count("pk")))


def _labeled(items: QuerySet[Item]) -> int:
    standing = Annotation.objects.standing().filter(region=None, item__in=items.values("pk"))
    return standing.order_by().values("item").distinct().count()


def _tags(items: QuerySet[Item]) -> dict[str, int]:
    sql, params = items.exclude(tags=[]).order_by().values("tags").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT tag, count(*) FROM ({sql}) AS tagged (tags), unnest(tags) AS tag GROUP BY tag ORDER BY tag", params
        )
        return dict(cursor.fetchall())


def _metadata(dataset: Dataset, filter: Filter) -> dict[str, dict[str, int]]:
    """Keys with few different plain values, as seen in a sample of the dataset, and their counts under the filter."""
    with connection.cursor() as cursor:
        cursor.execute(_METADATA_KEYS, [dataset.pk, _METADATA_SAMPLE, _MOST_METADATA_VALUES])
        keys = [row[0] for row in cursor.fetchall()]
        facets = {}
        for key in keys:
            items = filter.without(f"metadata.{key}").apply(items_of(dataset)).filter(metadata__has_key=key)
            sql, params = items.order_by().values("metadata").query.sql_with_params()
            cursor.execute(
                "SELECT metadata ->> %s AS value, count(*)"
                f" FROM ({sql}) AS described (metadata) GROUP BY value ORDER BY count(*) DESC, value LIMIT %s",
                [key, *params, _MOST_METADATA_VALUES],
            )
            facets[key] = dict(cursor.fetchall())
    return facets


_METADATA_KEYS = """
WITH sample AS (SELECT metadata FROM datasets_item WHERE dataset_id = %s AND metadata <> '{}' LIMIT %s)
SELECT key FROM sample, jsonb_each(metadata)
 WHERE jsonb_typeof(value) IN ('string', 'number', 'boolean') AND length(value::text) <= 60
 GROUP BY key HAVING count(DISTINCT value) BETWEEN 1 AND %s AND count(*) > count(DISTINCT value)
 ORDER BY key LIMIT 8
"""


def _measure(dataset: Dataset, items: QuerySet[Item], field: str) -> dict[str, Any] | None:
    """Items by a quality measure in equal bins over 0..1."""
    if dataset.modality != Modality.IMAGE:
        return None
    sql, params = items.filter(**{f"{field}__isnull": False}).order_by().values(field).query.sql_with_params()
    counts = [0] * MEASURE_BINS
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT least(width_bucket(value, 0, 1, {MEASURE_BINS}), {MEASURE_BINS}), count(*)"
            f" FROM ({sql}) AS measured (value) GROUP BY 1",
            params,
        )
        for number, count in cursor.fetchall():
            counts[max(number, 1) - 1] += count
    return {"from": 0.0, "to": 1.0, "counts": counts}
