"""Which items pass a filter, of a million in milliseconds: worked out on the columns where they hold what is asked for, else by
SQL."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from django.contrib.auth import get_user_model
from django.db.models import QuerySet

from . import columns, filters, packed, totals
from .columns import SOURCES, Columns, Mask, Values
from .duplicates import Which
from .filters import Condition, Filter
from .models import Dataset, Item


class Passing:
    """The masks of one filter's conditions, each worked out once."""

    def __init__(self, dataset: Dataset, held: Columns, filter: Filter) -> None:
        self._masks = [(condition.key, mask(dataset, held, condition)) for condition in filter.conditions]

    def without(self, *keys: str) -> Mask | None:
        """The rows that pass all conditions but those on ``keys``; ``None`` when all do."""
        masks = [one for key, one in self._masks if key not in keys]
        return np.logical_and.reduce(masks) if masks else None


# On the columns when they are here: to read them for one answer would take longer. ----------------------------------------


def count(dataset: Dataset, filter: Filter) -> int:
    """How many items pass."""
    if not filter or not columns.are_kept(dataset):
        return totals.of_items(filter.apply(filters.items_of(dataset)))
    held = columns.of(dataset)
    rows = Passing(dataset, held, filter).without()
    return len(held) if rows is None else int(np.count_nonzero(rows))


def ids(dataset: Dataset, filter: Filter) -> npt.NDArray[np.int64]:
    """Of the items that pass, ascending."""
    if not columns.are_kept(dataset):
        return np.sort(_ids_by_sql(filter.apply(filters.items_of(dataset))))
    held = columns.of(dataset)
    rows = Passing(dataset, held, filter).without()
    return held.ids if rows is None else held.ids[rows]


def chosen(dataset: Dataset, filter: Filter) -> QuerySet[Item] | npt.NDArray[np.int64]:
    """The items that pass: as ids, ascending, when these are known at once, else as a query."""
    if columns.are_kept(dataset):
        held = columns.of(dataset)
        rows = Passing(dataset, held, filter).without()
        if rows is not None:
            return held.ids[rows]
    return filter.apply(filters.items_of(dataset))


def _ids_by_sql(items: QuerySet[Item]) -> npt.NDArray[np.int64]:
    sql, params = items.order_by().values("pk").query.sql_with_params()
    return packed.fetch(sql, params, {"id": "i8"})["id"]


# One condition ----------------------------------------------------------------------------------------------------------


def mask(dataset: Dataset, held: Columns, condition: Condition) -> Mask:
    """The rows that pass, as ``filters`` means it: a property test holds the two together."""
    key = condition.key.removeprefix("not_")
    if key not in _ON_COLUMNS:
        return _by_sql(dataset, held, condition)
    found = _ON_COLUMNS[key](dataset, held, condition.value)
    return ~found if condition.key.startswith("not_") else found


def _by_sql(dataset: Dataset, held: Columns, condition: Condition) -> Mask:
    return held.rows_of(_ids_by_sql(Filter((condition,)).apply(filters.items_of(dataset))))


# One function a key, each (dataset, columns, value) → mask. What is said has been checked by ``filters.parse``.


def _status(dataset: Dataset, held: Columns, value: Any) -> Mask:
    return held.status.among(_texts(value))


def _split(dataset: Dataset, held: Columns, value: Any) -> Mask:
    return held.split.among({"" if one == "none" else one for one in _texts(value)})


def _tag(dataset: Dataset, held: Columns, value: Any) -> Mask:
    return held.tagged(_texts(value))


def _label(dataset: Dataset, held: Columns, value: Any) -> Mask:
    names = filters.listed(value)
    classes = [filters.find_class(dataset, name).pk for name in names if name != "unlabeled"]
    found = held.labelled(np.isin(held.labels.label, classes))
    return found | ~held.labelled() if "unlabeled" in names else found


def _unlabeled(dataset: Dataset, held: Columns, value: Any) -> Mask:
    labelled = held.labelled()
    return ~labelled if filters.truth("unlabeled", value) else labelled


def _source(dataset: Dataset, held: Columns, value: Any) -> Mask:
    return held.labelled(Values(held.labels.source, SOURCES).among(_texts(value)))


def _annotator(dataset: Dataset, held: Columns, value: Any) -> Mask:
    users = get_user_model()._default_manager.filter(username__in=_texts(value)).values_list("pk", flat=True)
    return held.labelled(np.isin(held.labels.author, list(users)))


def _duplicates(dataset: Dataset, held: Columns, value: Any) -> Mask:
    every, extra = held.content.repeated
    return extra if value == Which.EXTRA else every


def _brightness(dataset: Dataset, held: Columns, value: Any) -> Mask:
    return _within("brightness", held.brightness, value)


def _sharpness(dataset: Dataset, held: Columns, value: Any) -> Mask:
    return _within("sharpness", held.sharpness, value)


_SIGNS: dict[str, Callable[[Any, float], Any]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}


def _within(key: str, measured: Any, value: Any) -> Mask:
    found = ~np.isnan(measured)
    for sign, bound in filters.bounds(key, value):
        found &= _SIGNS[sign](measured, bound)
    return found


def _texts(value: Any) -> set[str]:
    return {str(one) for one in filters.listed(value)}


_ON_COLUMNS: dict[str, Callable[[Dataset, Columns, Any], Mask]] = {
    "status": _status,
    "split": _split,
    "tag": _tag,
    "label": _label,
    "unlabeled": _unlabeled,
    "source": _source,
    "annotator": _annotator,
    "duplicates": _duplicates,
    "brightness": _brightness,
    "sharpness": _sharpness,
}
