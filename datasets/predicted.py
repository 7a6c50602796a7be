"""Conditions on what models said about items: a class, how sure, another one than the item's label."""

from __future__ import annotations

import difflib
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.expressions import RawSQL

from .counting import THRESHOLD, labels_of
from .errors import Refused
from .models import Dataset, Item, PredictionModel

_NAMED = 12  # classes or models that a refusal names


class NotPredicted(Refused):
    """No model of the dataset has this name, or says this class; the message says what there is."""


def saying(
    dataset: Dataset,
    labels: list[str],
    *,
    model: str = "",
    least: float | None = None,
    greatest: float | None = None,
) -> Q:
    """The items that a model (that of this name, or any) predicted one of ``labels`` for, as a whole or for something in
    them, with a score in the bounds: from ``THRESHOLD`` on when neither is given. Raises ``NotPredicted``."""
    models = _models(dataset, model)
    if least is None and greatest is None:
        least = THRESHOLD
    # An index-only scan for each model and class (prediction_to_count).
    sql = (
        "SELECT item_id FROM datasets_prediction"
        " WHERE model_id = ANY(%s) AND label = ANY(%s) AND score >= %s AND score <= %s"
    )
    params = [
        [one.pk for one in models],
        sorted(set().union(*(_words_for(dataset, models, label) for label in labels))),
        0 if least is None else least,
        1 if greatest is None else greatest,
    ]
    return Q(pk__in=RawSQL(sql, params))  # noqa: S611 - the text is ours, what people say are parameters


def disagreeing(dataset: Dataset, *, model: str = "", agree: bool = False) -> Q:
    """The items whose label is none that ``model`` (the newest that has said something about items as a whole) thinks
    best; with ``agree`` all others. An item without a label or a prediction does not disagree. Raises ``NotPredicted``."""
    judge = judge_of(dataset, model)
    if judge is None:
        return Q() if agree else Q(pk__in=[])
    if agree:
        # Not “NOT IN”, which becomes one look through all of them for each item when they are many.
        sql = (
            f"SELECT id FROM datasets_item AS item WHERE dataset_id = %s AND NOT EXISTS"
            f" (SELECT FROM ({_DISAGREEING}) AS other WHERE other.item_id = item.id)"
        )
        return Q(pk__in=RawSQL(sql, [dataset.pk, judge.pk]))  # noqa: S611
    return Q(pk__in=RawSQL(_DISAGREEING, [judge.pk]))  # noqa: S611


def counts(dataset: Dataset, items: QuerySet[Item] | None) -> dict[str, int]:
    """How many of ``items`` (of all, when ``None``) are ``saying`` each class."""
    models = list(PredictionModel.objects.filter(dataset=dataset).values_list("pk", flat=True))
    if not models:
        return {}
    among, params = _among(items)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT label, count(*) FROM (SELECT DISTINCT label, item_id FROM datasets_prediction"
            f" WHERE model_id = ANY(%s) AND score >= %s AND {among}) AS said GROUP BY label ORDER BY label",
            [models, THRESHOLD, *params],
        )
        return dict(cursor.fetchall())


def count_disagreeing(dataset: Dataset, items: QuerySet[Item] | None) -> int | None:
    """How many of ``items`` disagree; ``None`` when no model has said anything about items as a whole."""
    judge = judge_of(dataset, "")
    if judge is None:
        return None
    among, params = _among(items)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM ({_DISAGREEING}) AS other WHERE {among}", [judge.pk, *params])
        return int(cursor.fetchone()[0])


# The best of each item in the order of an index (prediction_of_whole).
_DISAGREEING = """
SELECT best.item_id
  FROM (SELECT DISTINCT ON (item_id) item_id, label FROM datasets_prediction
         WHERE model_id = %s AND x IS NULL ORDER BY item_id, score DESC) AS best
  JOIN datasets_annotation AS annotation
    ON annotation.item_id = best.item_id AND annotation.region_id IS NULL AND annotation.retracted_by_id IS NULL
  JOIN datasets_labelclass AS class ON class.id = annotation.label_id
 GROUP BY best.item_id HAVING bool_and(lower(class.name) <> lower(best.label))
"""


def _among(items: QuerySet[Item] | None) -> tuple[str, tuple[Any, ...]]:
    if items is None:
        return "true", ()
    ids, params = items.order_by().values("pk").query.sql_with_params()
    return f"item_id IN ({ids})", params


def _models(dataset: Dataset, name: str) -> list[PredictionModel]:
    """That of this name, or all, the newest first."""
    models = list(PredictionModel.objects.filter(dataset=dataset).order_by("-pk"))
    if not models:
        raise NotPredicted(f"No model has said anything about “{dataset.name}” yet, so nothing in it is predicted.")
    chosen = [one for one in models if one.name == name or not name]
    if not chosen:
        known = ", ".join(one.name for one in models[:_NAMED])
        raise NotPredicted(f"“{dataset.name}” has no predictions of a model “{name[:80]}”. It has those of {known}.")
    return chosen


def _words_for(dataset: Dataset, models: list[PredictionModel], label: str) -> set[str]:
    """``label`` as these models write it: as it stands, else whatever its case."""
    known = {word for model in models for word in labels_of(model)}
    if label in known:
        return {label}
    by_case: dict[str, set[str]] = {}
    for word in sorted(known):
        by_case.setdefault(word.lower(), set()).add(word)
    if found := by_case.get(label.strip().lower()):
        return found
    close = difflib.get_close_matches(label.lower(), by_case, n=3)
    named = [*close, *(word for word in by_case if word not in close)][:_NAMED]
    raise NotPredicted(
        f"No model of “{dataset.name}” predicts “{label[:80]}”. They predict {', '.join(named) or 'nothing'}"
        + (f" and {len(by_case) - _NAMED} more." if len(by_case) > _NAMED else ".")
    )


def judge_of(dataset: Dataset, name: str) -> PredictionModel | None:
    """The newest model (or that of this name) that has said something about items as a whole."""
    if not name and not PredictionModel.objects.filter(dataset=dataset).exists():
        return None
    for model in _models(dataset, name):
        if model.predictions.filter(x=None).exists():
            return model
    return None
