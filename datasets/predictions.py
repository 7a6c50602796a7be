"""What models said about items: stored in bulk, never counted as labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import connection, transaction

from .models import Dataset, PredictionModel
from .regions import Shape

MOST_LABEL_CHARACTERS = 200


@dataclass(frozen=True)
class Predicted:
    """One thing that a model said about one item."""

    item_id: int
    label: str
    score: float  # 0..1
    box: Shape | None = None
    region_id: int | None = None
    colors: bytes | None = None  # see ``colours.as_bytes``


def model_named(dataset: Dataset, name: str, labels: Sequence[str] = ()) -> PredictionModel:
    """The model of that name, noted in the dataset when it is new there. ``labels``: the classes that it can find."""
    model, _ = PredictionModel.objects.get_or_create(dataset=dataset, name=name)
    told = [label.replace("\x00", "")[:MOST_LABEL_CHARACTERS] for label in labels]
    if told and told != model.labels:
        model.labels = told
        model.save(update_fields=["labels"])
    return model


@transaction.atomic
def replace(model: PredictionModel, item_ids: Sequence[int], said: Iterable[Predicted]) -> int:
    """What ``model`` says about ``item_ids`` is ``said``, and nothing else; how many predictions that are.

    An item for which it says nothing is noted as looked at. Two statements and two COPYs, whatever the number.
    """
    number = 0
    _forget(model, item_ids)
    with connection.cursor() as cursor:
        with cursor.copy(
            "COPY datasets_prediction (model_id, item_id, region_id, label, score, x, y, width, height, colors)"
            " FROM STDIN"
        ) as copy:
            for one in said:
                box = (one.box.x, one.box.y, one.box.width, one.box.height) if one.box else (None,) * 4
                label = one.label.replace("\x00", "")[:MOST_LABEL_CHARACTERS]
                copy.write_row((model.pk, one.item_id, one.region_id, label, one.score, *box, one.colors))
                number += 1
        with cursor.copy("COPY datasets_predicteditem (model_id, item_id) FROM STDIN") as copy:
            for item_id in item_ids:
                copy.write_row((model.pk, item_id))
    return number


@transaction.atomic
def remove(model: PredictionModel, item_ids: Sequence[int]) -> None:
    """Forget what ``model`` said about these items, and that it has looked at them."""
    _forget(model, item_ids)


def _forget(model: PredictionModel, item_ids: Sequence[int]) -> None:
    with connection.cursor() as cursor:
        for table in ("datasets_prediction", "datasets_predicteditem"):
            cursor.execute(f"DELETE FROM {table} WHERE item_id = ANY(%s) AND model_id = %s", [list(item_ids), model.pk])


def forget_items(item_ids: Sequence[int]) -> None:
    """Delete the predictions about items that go, without reading them first."""
    with connection.cursor() as cursor:
        for table in ("datasets_prediction", "datasets_predicteditem"):
            cursor.execute(f"DELETE FROM {table} WHERE item_id = ANY(%s)", [list(item_ids)])
