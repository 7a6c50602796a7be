"""How many objects of a class a detector saw in an image, where and how large: conditions over stored detections.

Several detectors may have looked at a dataset: the newest that knows the class answers. An image that it has not looked at
meets no condition, not even “none”: nobody knows.
"""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from django.db import connection
from django.db.models import Q
from django.db.models.expressions import RawSQL

from .errors import Refused
from .models import Dataset, PredictionModel

# From this score on, a detection counts as an object when nobody says another one.
THRESHOLD = 0.25
_NAMED = 12  # classes that a refusal names

# By the middle of its box, in thirds of the image.
_MIDDLE_X, _MIDDLE_Y = "(x + width / 2)", "(y + height / 2)"
_PLACES = {
    "left": f"{_MIDDLE_X} < 1.0 / 3",
    "right": f"{_MIDDLE_X} > 2.0 / 3",
    "top": f"{_MIDDLE_Y} < 1.0 / 3",
    "bottom": f"{_MIDDLE_Y} > 2.0 / 3",
    "center": f"{_MIDDLE_X} BETWEEN 1.0 / 3 AND 2.0 / 3 AND {_MIDDLE_Y} BETWEEN 1.0 / 3 AND 2.0 / 3",
}
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}

# A sign of ``_SIGNS`` and what is compared with.
Bounds = list[tuple[str, float]]


class NotDetected(Refused):
    """Nothing that has looked at the dataset knows this class; the message says what is known."""


@dataclass(frozen=True)
class Objects:
    """What to count."""

    label: str
    count: Bounds
    position: str = ""  # "left", "bottom right", "center": see ``place``
    size: Bounds | None = None  # share of the image's area, 0..1
    score: float = THRESHOLD


def having(dataset: Dataset, wanted: Objects) -> Q:
    """The items with as many of them. Raises ``NotDetected``, ``ValueError`` for a position that is none."""
    model, label = _known(dataset, wanted.label)
    where = ["model_id = %s", "label = %s", "score >= %s"]
    params: list[int | str | float] = [model.pk, label, wanted.score]
    where += place(wanted.position)
    for sign, share in wanted.size or []:
        where.append(f"width * height {sign} %s")
        params.append(share)
    found = f"SELECT item_id, count(*) AS number FROM datasets_prediction WHERE {' AND '.join(where)} GROUP BY item_id"
    numbers = [number for _, number in wanted.count]
    if all(_SIGNS[sign](0, number) for sign, number in wanted.count):
        fits = " AND ".join(f"coalesce(number, 0) {sign} %s" for sign, _ in wanted.count)
        sql = (
            f"SELECT item_id FROM datasets_predicteditem LEFT JOIN ({found}) AS found USING (item_id)"
            f" WHERE datasets_predicteditem.model_id = %s AND {fits}"
        )
        params.append(model.pk)
    else:
        fits = " AND ".join(f"number {sign} %s" for sign, _ in wanted.count)
        sql = f"SELECT item_id FROM ({found}) AS found WHERE {fits}"
    return Q(pk__in=RawSQL(sql, [*params, *numbers]))  # noqa: S611 - the text is ours, what people say are parameters


def place(position: str) -> list[str]:
    """``position`` as conditions on a box. Raises ``ValueError``."""
    words = re.findall(r"[^\s-]+", position.lower())
    for word in words:
        if word not in _PLACES:
            raise ValueError(f"A position is left, right, top, bottom, center, or two of them, not “{position[:80]}”.")
    return [_PLACES[word] for word in words]


def labels_of(model: PredictionModel) -> list[str]:
    """The classes that it can find, as far as that is known: else those that it has found."""
    if model.labels:
        return list(model.labels)
    # Steps through the index from one label to the next: a million images have some hundred of them.
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH RECURSIVE found (label) AS (
                (SELECT label FROM datasets_prediction WHERE model_id = %(model)s ORDER BY label LIMIT 1)
                UNION ALL
                SELECT (SELECT label FROM datasets_prediction
                         WHERE model_id = %(model)s AND label > found.label ORDER BY label LIMIT 1)
                  FROM found WHERE found.label IS NOT NULL
            )
            SELECT label FROM found WHERE label IS NOT NULL
            """,
            {"model": model.pk},
        )
        return [label for (label,) in cursor.fetchall()]


def _known(dataset: Dataset, name: str) -> tuple[PredictionModel, str]:
    """Who can say how many ``name`` there are, and its word for it."""
    known: dict[str, str] = {}
    for model in PredictionModel.objects.filter(dataset=dataset).order_by("-pk"):
        for label in labels_of(model):
            if label.lower() == name.strip().lower():
                return model, label
            known.setdefault(label.lower(), label)
    if not known:
        raise NotDetected(
            f"No detector has looked at “{dataset.name}” yet, so nothing in it can be counted. Start one under Regions."
        )
    close = [known[word] for word in difflib.get_close_matches(name.lower(), known, n=3)]
    named = ", ".join([*close, *(label for label in known.values() if label not in close)][:_NAMED])
    raise NotDetected(
        f"No detector of “{dataset.name}” looks for “{name[:80]}”. It can count {named}"
        + (f" and {len(known) - _NAMED} more." if len(known) > _NAMED else ".")
    )
