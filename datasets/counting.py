"""How many objects of a class a detector saw in an image, where, how large, of what colour: conditions over stored detections.

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

from .colours import COLOUR_NAMES
from .errors import Refused
from .models import Dataset, PredictionModel

# From this score on, a detection counts as an object when nobody says another one.
THRESHOLD = 0.25
# From this share of its box on, an object has a colour when nobody says another one: a box holds its background as well.
COLOUR_SHARE = 0.25
SIDE_BY_SIDE = "side by side"
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


# Two boxes whose middles differ in height by a quarter of the lower one's height at most, and that share a third of the
# narrower one's width at most.
_BESIDE = """other.item_id = one.item_id AND other.id <> one.id
       AND abs((other.y + other.height / 2) - (one.y + one.height / 2)) <= least(other.height, one.height) / 4
       AND least(other.x + other.width, one.x + one.width) - greatest(other.x, one.x) <= least(other.width, one.width) / 3"""


# As a NOT IN it would be slow without end where there are too many for the memory of a query.
_UNCOLOURED = "SELECT FROM seen WHERE seen.item_id = datasets_predicteditem.item_id AND colors IS NULL"


class NotDetected(Refused):
    """Nothing that has looked at the dataset knows this class; the message says what is known."""


class NoColours(Refused):
    """The boxes were stored before their colours were measured, or by a model that knows none."""


@dataclass(frozen=True)
class Objects:
    """What to count."""

    label: str
    count: Bounds
    position: str = ""  # "left", "bottom right", "center": see ``place``
    size: Bounds | None = None  # share of the image's area, 0..1
    score: float = THRESHOLD
    colors: dict[str, Bounds] | None = None  # shares of the box, 0..1
    arrangement: str = ""  # or SIDE_BY_SIDE: those that stand so beside another one are counted


def having(dataset: Dataset, wanted: Objects) -> Q:
    """The items with as many of them. An item in which the colour of one of them is not known meets no condition on it.

    Raises ``NotDetected``, ``NoColours``, ``ValueError`` for a position or an arrangement that is none.
    """
    model, label = _known(dataset, wanted.label)
    where = ["model_id = %s", "label = %s", "score >= %s"]
    params: list[int | str | float] = [model.pk, label, wanted.score]
    where += place(wanted.position)
    for sign, share in wanted.size or []:
        where.append(f"width * height {sign} %s")
        params.append(share)
    # Each step is a table of boxes; the first alone is an index-only scan, for Postgres takes its columns as they are needed.
    steps = [
        "seen AS (SELECT id, item_id, x, y, width, height, colors FROM datasets_prediction"
        f" WHERE {' AND '.join(where)})"
    ]
    counted, unknown = "seen", ""
    if wanted.colors:
        if not knows_colours(model, label):
            raise NoColours(
                f"The colours of what “{model.name}” has found are not known: it looked before they were measured. "
                "Remove its layer under Regions and add it again, then it looks anew."
            )
        of_colour, shares = _of_colour(wanted.colors)
        steps.append(f"coloured AS (SELECT * FROM seen WHERE {of_colour})")
        params += shares
        counted, unknown = "coloured", f" AND NOT EXISTS ({_UNCOLOURED})"
    if wanted.arrangement:
        if wanted.arrangement != SIDE_BY_SIDE:
            raise ValueError(f"An arrangement is “{SIDE_BY_SIDE}”, not “{wanted.arrangement[:80]}”.")
        steps.append(
            f"arranged AS (SELECT * FROM {counted} AS one WHERE EXISTS (SELECT FROM {counted} AS other WHERE {_BESIDE}))"
        )
        counted = "arranged"
    steps.append(f"found AS (SELECT item_id, count(*) AS number FROM {counted} GROUP BY item_id)")
    fits = " AND ".join(f"coalesce(number, 0) {sign} %s" for sign, _ in wanted.count)
    sql = f"WITH {', '.join(steps)} SELECT item_id FROM "
    if all(_SIGNS[sign](0, number) for sign, number in wanted.count):
        sql += f"datasets_predicteditem LEFT JOIN found USING (item_id) WHERE model_id = %s AND {fits}{unknown}"
        params.append(model.pk)
    else:
        sql += f"found WHERE {fits}"
    params += [number for _, number in wanted.count]
    return Q(pk__in=RawSQL(sql, params))  # noqa: S611 - the text is ours, what people say are parameters


def _of_colour(colors: dict[str, Bounds]) -> tuple[str, list[float]]:
    """A condition on a box and its parameters. A byte a colour, 255 is all."""
    bounds = [(name, sign, share) for name, shares in colors.items() for sign, share in shares]
    conditions = [f"get_byte(colors, {COLOUR_NAMES.index(name)}) {sign} %s" for name, sign, _ in bounds]
    return " AND ".join(conditions) or "true", [share * 255 for *_, share in bounds]


def knows_colours(model: PredictionModel, label: str) -> bool:
    """Whether the colours of its boxes are known, as far as there are any. Stops at the first that tells."""
    seen = model.predictions.filter(label=label)
    return seen.filter(colors__isnull=False).exists() or not seen.exists()


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


def known(dataset: Dataset) -> dict[str, tuple[PredictionModel, str]]:
    """Lower-case class → who can say how many there are, the newest that can, and its word for it."""
    found: dict[str, tuple[PredictionModel, str]] = {}
    for model in PredictionModel.objects.filter(dataset=dataset).order_by("-pk"):
        for label in labels_of(model):
            found.setdefault(label.lower(), (model, label))
    return found


def _known(dataset: Dataset, name: str) -> tuple[PredictionModel, str]:
    """Who can say how many ``name`` there are, and its word for it."""
    found = known(dataset)
    if answer := found.get(name.strip().lower()):
        return answer
    if not found:
        raise NotDetected(
            f"No detector has looked at “{dataset.name}” yet, so nothing in it can be counted. Start one under Regions."
        )
    close = [found[word][1] for word in difflib.get_close_matches(name.lower(), found, n=3)]
    named = ", ".join([*close, *(label for _, label in found.values() if label not in close)][:_NAMED])
    raise NotDetected(
        f"No detector of “{dataset.name}” looks for “{name[:80]}”. It can count {named}"
        + (f" and {len(found) - _NAMED} more." if len(found) > _NAMED else ".")
    )
