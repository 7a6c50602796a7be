"""Counts: what the filter rail, the dataset cards and the managers' charts show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import QuerySet

from . import predicted
from .columns import SOURCES, Array, Columns, Labels, Mask, Values, are_kept
from .columns import of as columns_of
from .duplicates import Which
from .filters import Filter, items_of
from .models import Dataset, Item, LabelClass, Modality, Status
from .passing import Passing

MEASURE_BINS = 16
_MOST_METADATA_VALUES = 12
_MOST_DAYS = 60


@dataclass(frozen=True)
class DatasetCounts:
    items: int
    labeled: int
    unreadable: int


def counts_of(datasets: list[Dataset]) -> dict[int, DatasetCounts]:
    """For the cards of all datasets of a list: one statement for all whose columns are not here, and one for each whose are."""
    counts = {dataset.pk: _counts(columns_of(dataset)) for dataset in datasets if are_kept(dataset)}
    if others := [dataset.pk for dataset in datasets if dataset.pk not in counts]:
        with connection.cursor() as cursor:
            cursor.execute(_DATASET_COUNTS, [others])
            counts |= {pk: DatasetCounts(*rest) for pk, *rest in cursor.fetchall()}
    return counts


def _counts(columns: Columns) -> DatasetCounts:
    labelled, unreadable = (int(np.count_nonzero(rows)) for rows in (columns.labelled(), columns.is_unreadable))
    return DatasetCounts(len(columns), labelled, unreadable)


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


def statistics(dataset: Dataset, filter: Filter) -> dict[str, Any]:
    """All facets under ``filter``. Each leaves its own condition out, so that it shows what else could be chosen."""
    columns = columns_of(dataset)
    items = Passing(dataset, columns, filter).without
    labels, matching = columns.labels, items()
    by_class = _numbers(labels.label[_of(labels, items("label", "not_label", "unlabeled"))])
    classes: list[dict[str, Any]] = [
        {"id": c.pk, "name": c.name, "color": c.color, "shortcut": c.shortcut, "count": by_class.get(c.pk, 0)}
        for c in LabelClass.objects.filter(dataset=dataset)
    ]
    used = [one["count"] for one in classes if one["count"]]
    return {
        "total": _number(columns, matching),
        "all": len(columns),
        "labels": classes,
        "unlabeled": _number(columns, _both(items("label", "not_label", "unlabeled"), ~columns.labelled())),
        "status": dict.fromkeys(Status.values, 0) | columns.status.counts(items("status", "not_status")),
        "split": columns.split.counts(items("split", "not_split")),
        "tags": columns.tag.counts(_of_rows(columns.tag_row, items("tag", "not_tag"))),
        "duplicates": {
            which: _number(columns, _both(items("duplicates"), rows))
            for which, rows in zip((Which.ANY, Which.EXTRA), columns.content.repeated, strict=True)
        },
        "source": Values(labels.source, SOURCES).counts(_of(labels, items("source"))),
        "annotator": _annotators(_numbers(labels.author[_of(labels, items("annotator"))])),
        "day": {
            str(np.datetime64(day, "D")): number
            for day, number in sorted(_numbers(labels.day[_of(labels, matching)]).items(), reverse=True)[:_MOST_DAYS]
        },
        "imbalance": max(used) / min(used) if used else None,
        "metadata": {
            key: _most_frequent(values.counts(_both(items(f"metadata.{key}"), values.codes > 0)))
            for key, values in columns.metadata.items()
        },
        "brightness": _measure(dataset, columns.brightness, items("brightness")),
        "sharpness": _measure(dataset, columns.sharpness, items("sharpness")),
    }


def _both(rows: Mask | None, others: Mask) -> Mask:
    return others if rows is None else rows & others


def _number(columns: Columns, rows: Mask | None) -> int:
    return len(columns) if rows is None else int(np.count_nonzero(rows))


def _of_rows(row: Array, rows: Mask | None) -> Mask | None:
    """Which of what stands in ``row`` belongs to ``rows``."""
    return None if rows is None else rows[row]


def _of(labels: Labels, rows: Mask | None) -> Any:
    which = _of_rows(labels.row, rows)
    return slice(None) if which is None else which


def _numbers(values: Array) -> dict[int, int]:
    """How often each occurs."""
    if not len(values):
        return {}
    # Of small numbers close together, which ids of classes and users and days are, counting beats sorting.
    least = int(values.min())
    counted = np.bincount(values - least)
    return {int(at) + least: int(counted[at]) for at in np.flatnonzero(counted)}


def _annotators(numbers: dict[int, int]) -> dict[str, int]:
    names = get_user_model()._default_manager.filter(pk__in=numbers).order_by("username")
    return {username: numbers[pk] for pk, username in names.values_list("pk", "username")}


def _most_frequent(numbers: dict[str, int]) -> dict[str, int]:
    return dict(sorted(numbers.items(), key=lambda one: (-one[1], one[0]))[:_MOST_METADATA_VALUES])


def _measure(dataset: Dataset, measured: Array, rows: Mask | None) -> dict[str, Any] | None:
    """Items by a quality measure in equal bins over 0..1."""
    if dataset.modality != Modality.IMAGE:
        return None
    known = measured if rows is None else measured[rows]
    known = known[~np.isnan(known)]
    bins = np.clip((known * MEASURE_BINS).astype(np.int64), 0, MEASURE_BINS - 1)
    return {"from": 0.0, "to": 1.0, "counts": np.bincount(bins, minlength=MEASURE_BINS).tolist()}


def predictions(dataset: Dataset, filter: Filter) -> dict[str, Any]:
    """The facets of what models said, apart from the others: there may be many times more predictions than items."""

    def items(without: str) -> QuerySet[Item] | None:
        left = filter.without(without)
        return left.apply(items_of(dataset)) if left else None

    return {
        "predicted": predicted.counts(dataset, items("predicted")),
        "disagrees": predicted.count_disagreeing(dataset, items("disagrees")),
    }
