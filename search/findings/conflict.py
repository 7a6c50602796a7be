"""Items on whose class two have said different things: two people, or a model and whoever labelled them.

Of people, where an item has one label: the newest word of each on it counts, and the word of a reviewer or a manager settles it.
Of models, the newest that has said something about items as a whole: where it gives another class of the dataset more than a
half, it is surer of that one than of all others together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection

from datasets import predicted
from datasets.models import Dataset, Role

from .base import MOST_RELATED, Found, Kind, Material, NothingToFind


def find(material: Material) -> list[Found]:
    dataset = material.dataset
    judge = predicted.judge_of(dataset, "")
    among_people = [] if dataset.multi_label else _of_people(material)
    by_model = _of_model(material, judge) if judge else []
    if not among_people and judge is None and _labelling(dataset) < 2:
        raise NothingToFind(
            "Nobody can be of another opinion: fewer than two people have labelled, and no model has said anything about whole "
            "items. Import its predictions, then look again."
        )
    return _with_nearest(material, [*among_people, *by_model])


def _with_nearest(material: Material, found: list[Found]) -> list[Found]:
    """The nearest items speak for one or the other. Opinions differ before there are vectors, too."""
    if not found:
        return found
    try:
        graph = material.graph
    except NothingToFind:
        return found
    rows = dict(zip(graph.ids.tolist(), range(len(graph)), strict=True))
    related = []
    for one in found:
        near = graph.neighbours[rows[one.item]][:MOST_RELATED] if one.item in rows else graph.neighbours[:0, 0]
        related.append(replace(one, related=graph.ids[near[near >= 0]].tolist()))
    return related


def _of_people(material: Material) -> list[Found]:
    """One finding an item, with the class that most of the others have given."""
    rows = _fetch(_PEOPLE, {"dataset": material.dataset.pk, "settles": Role.REVIEWER})
    users = get_user_model()._default_manager.in_bulk({author for row in rows for author in (row[2], row[4])})
    names = material.class_names
    found = []
    for item, given, by, other, other_by, number, against in rows:
        found.append(
            Found(
                item,
                # Of two people a quarter above a half; of many who are all against one, nearly 1.
                0.5 + 0.5 * against / number,
                f"{users[by].get_username()} says “{names[given]}”, {users[other_by].get_username()} said “{names[other]}”"
                + (f": {against} of {number} people are against it." if number > 2 else "."),
                because=(given, other, number, against),
                subject="people",
                suggested=other,
                confidence=against / number,
                group=f"{given}>{other}",
            )
        )
    return found


def _of_model(material: Material, judge: Any) -> list[Found]:
    names = material.class_names
    return [
        Found(
            item,
            score,
            f"Labelled “{names[given]}”, and {judge.name[:80]} is {score:.0%} sure of “{names[best]}”.",
            because=(judge.pk, given, best, round(score, 2)),
            subject="model",
            suggested=best,
            confidence=score,
            group=f"{given}>{best}",
        )
        for item, given, best, score in _fetch(_MODEL, {"dataset": material.dataset.pk, "model": judge.pk})
    ]


def _labelling(dataset: Dataset) -> int:
    """How many people have given labels: two of those that there are, at most."""
    return len(_fetch(_LABELLING, {"dataset": dataset.pk}))


def _fetch(statement: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return cursor.fetchall()


# A label that was taken back by its author, or by an undo, is no word of theirs. An item can only have been given two labels when
# one was retracted, so the look is at these alone.
_PEOPLE = """
WITH replaced AS (
     SELECT DISTINCT old.item_id
       FROM datasets_annotation AS old
       JOIN datasets_operation AS taken ON taken.id = old.retracted_by_id AND taken.kind = 'label' AND taken.dataset_id = %(dataset)s
       JOIN datasets_item AS item ON item.id = old.item_id AND item.status <> 'excluded' AND item.problem = ''
      WHERE old.source = 'human' AND old.region_id IS NULL AND taken.author_id IS DISTINCT FROM old.author_id),
word AS (
     SELECT DISTINCT ON (item_id, said.author_id) item_id, said.author_id, label_id, said.id, retracted_by_id IS NULL AS is_standing
       FROM datasets_annotation AS said JOIN replaced USING (item_id)
       LEFT JOIN datasets_operation AS taken ON taken.id = said.retracted_by_id
      WHERE source = 'human' AND region_id IS NULL AND said.author_id IS NOT NULL AND (taken.id IS NULL OR taken.kind = 'label')
      ORDER BY item_id, said.author_id, said.id DESC),
other AS (
     SELECT item_id, label_id, count(*) AS number, max(id) AS newest, (array_agg(author_id ORDER BY id DESC))[1] AS author_id
       FROM word GROUP BY item_id, label_id),
counted AS (SELECT item_id, count(*) AS number FROM word GROUP BY item_id)
SELECT DISTINCT ON (word.item_id) word.item_id, word.label_id, word.author_id, other.label_id, other.author_id, counted.number,
       counted.number - same.number
  FROM word
  JOIN counted USING (item_id)
  JOIN other AS same ON same.item_id = word.item_id AND same.label_id = word.label_id
  JOIN other ON other.item_id = word.item_id AND other.label_id <> word.label_id
 WHERE word.is_standing
   AND NOT EXISTS (SELECT FROM datasets_membership AS member
                    WHERE member.dataset_id = %(dataset)s AND member.user_id = word.author_id AND member.role >= %(settles)s)
 ORDER BY word.item_id, other.number DESC, other.newest DESC
"""

# The best of each item in the order of an index (prediction_of_whole), as ``datasets.predicted`` has it.
_MODEL = """
SELECT best.item_id, min(annotation.label_id), suggested.id, best.score
  FROM (SELECT DISTINCT ON (item_id) item_id, label, score FROM datasets_prediction
         WHERE model_id = %(model)s AND x IS NULL ORDER BY item_id, score DESC) AS best
  JOIN datasets_item AS item ON item.id = best.item_id AND item.status <> 'excluded' AND item.problem = ''
  JOIN datasets_annotation AS annotation
    ON annotation.item_id = best.item_id AND annotation.region_id IS NULL AND annotation.retracted_by_id IS NULL
  JOIN datasets_labelclass AS suggested ON suggested.dataset_id = %(dataset)s AND lower(suggested.name) = lower(best.label)
 WHERE best.score > .5
 GROUP BY best.item_id, suggested.id, best.score HAVING NOT bool_or(annotation.label_id = suggested.id)
"""

_LABELLING = """
SELECT DISTINCT author_id FROM datasets_operation
 WHERE dataset_id = %(dataset)s AND kind = 'label' AND author_id IS NOT NULL LIMIT 2
"""


KIND = Kind("conflict", "Conflicts", "Two people, or a model and the label, say different classes.", find)
