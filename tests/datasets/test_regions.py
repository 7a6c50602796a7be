"""Regions: what a shape may be, what people may do with them, and that no label is lost."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from datasets import creation, labelling, predictions, regions, selection
from datasets.errors import Refused
from datasets.models import (
    Annotation,
    Dataset,
    Item,
    Operation,
    PredictedItem,
    Prediction,
    Region,
    RegionLayer,
    Source,
)
from datasets.predictions import Predicted
from datasets.regions import InvalidShape, LabelledRegion, Shape
from tests.fixtures import add_class, add_items

BOX = Shape(0.1, 0.2, 0.3, 0.4)


def give_label(region: Region, by: Any) -> Annotation:
    operation = Operation.objects.create(dataset=region.item.dataset, kind=Operation.Kind.LABEL, author=by)
    label = add_class(region.item.dataset, f"class {region.pk}")
    return Annotation.objects.create(
        item=region.item,
        region=region,
        label=label,
        source=Source.HUMAN,
        operation=operation,
        created_at=timezone.now(),
    )


def retract(annotation: Annotation, by: Any) -> None:
    annotation.retracted_by = Operation.objects.create(
        dataset=annotation.item.dataset, kind=Operation.Kind.UNLABEL, author=by
    )
    annotation.save()


def layer_of(dataset: Dataset, kind: str = "tile", detector: str = "") -> RegionLayer:
    return RegionLayer.objects.create(dataset=dataset, kind=kind, detector=detector, encoder=dataset.encoder)


def boxes(dataset: Dataset) -> list[tuple[Any, ...]]:
    found = Region.objects.filter(item__dataset=dataset).order_by("item", "pk")
    return list(found.values_list("item", "kind", "layer", "x", "width"))


@pytest.mark.parametrize(
    ("box", "polygon", "said"),
    [
        ((0.5, 0.5, 0.6, 0.1), None, "outside of the image"),
        ((-0.1, 0, 0.5, 0.5), None, "outside of the image"),
        ((0, 0, 0, 0.5), None, "no area"),
        ((0, 0, 0.5, -0.5), None, "no area"),
        ((0, 0, float("nan"), 0.5), None, "are numbers"),
        (None, None, "needs x, y, width and height"),
        (None, [[0, 0], [1, 1]], "3 to 1,000 points"),
        (None, [[0, 0]] * 1001, "3 to 1,000 points"),
        (None, [[0, 0], [0.5, 0.5], [1, 1]], "no area"),
        (None, [[0, 0], [0, 1], [1.2, 1]], "outside of the image"),
        (None, [[0, 0], [0, 1, 1], [1, 1]], "two numbers"),
        (None, [[0, 0], [0, 1], [float("inf"), 1]], "two numbers"),
    ],
)
def test_what_is_no_shape_gets_a_sentence(box: Any, polygon: Any, said: str) -> None:
    with pytest.raises(InvalidShape, match=said):
        regions.shape(box, polygon)


def test_what_rounding_leaves_outside_is_cut_off() -> None:
    found = regions.shape((-1e-9, 0.4, 1 + 2e-9, 0.6 + 1e-9), None)
    assert (found.x, found.x + found.width, found.y + found.height) == (0, 1, 1)


def test_the_box_of_a_polygon_is_found_from_it() -> None:
    found = regions.shape((0, 0, 1, 1), [[0.2, 0.3], [0.6, 0.3], [0.4, 0.9]])
    assert (found.x, found.y) == (0.2, 0.3)
    assert found.width == pytest.approx(0.4)
    assert found.height == pytest.approx(0.6)
    assert found.polygon == ((0.2, 0.3), (0.6, 0.3), (0.4, 0.9))


def test_texts_have_no_regions(multi: Dataset) -> None:
    with pytest.raises(Refused, match="only images"):
        regions.draw(add_items(multi, 1)[0], BOX)


def test_a_region_with_labels_stays_until_they_are_off_and_its_row_for_the_history(
    dataset: Dataset, alice: Any
) -> None:
    region = regions.draw(add_items(dataset, 1)[0], BOX)
    annotation = give_label(region, alice)
    with pytest.raises(LabelledRegion, match="bears 1 label"):
        regions.remove(region)
    retract(annotation, alice)
    regions.remove(region)
    assert not Region.objects.standing().exists()
    assert Annotation.objects.get().region_id == region.pk


def test_a_region_without_labels_is_gone(dataset: Dataset) -> None:
    region = regions.draw(add_items(dataset, 1)[0], BOX)
    regions.remove(region)
    assert not Region.objects.exists()


def test_a_tile_is_neither_moved_nor_removed(dataset: Dataset) -> None:
    item = add_items(dataset, 1)[0]
    regions.replace(layer_of(dataset), {item.pk: [BOX]})
    tile = Region.objects.get()
    for act in (lambda: regions.redraw(tile, BOX), lambda: regions.remove(tile)):
        with pytest.raises(Refused, match="is a tile"):
            act()


def test_a_detected_box_that_somebody_moves_is_theirs(dataset: Dataset) -> None:
    item = add_items(dataset, 1)[0]
    layer = layer_of(dataset, "detected", "some")
    ids = regions.replace(layer, {item.pk: [BOX]})[item.pk]
    predictions.replace(
        predictions.model_named(dataset, "some"), [item.pk], [Predicted(item.pk, "cat", 0.9, BOX, ids[0])]
    )
    region = regions.redraw(Region.objects.get(), Shape(0, 0, 0.5, 0.5))
    assert (region.pk, region.kind, region.layer, region.width) == (ids[0], "drawn", None, 0.5)
    said = Prediction.objects.get()
    assert (said.region, said.x, said.width) == (None, 0.1, 0.3)
    regions.replace(layer, {item.pk: [BOX]})
    assert Region.objects.count() == 2


def test_a_layer_is_replaced_where_it_is_named_and_nowhere_else(dataset: Dataset, alice: Any) -> None:
    one, two = add_items(dataset, 2)
    layer, other = layer_of(dataset), layer_of(dataset, "detected", "some")
    regions.draw(one, BOX)
    regions.replace(other, {one.pk: [BOX]})
    made = regions.replace(layer, {one.pk: [BOX, Shape(0, 0, 1, 1)], two.pk: [BOX]})
    assert {pk: len(ids) for pk, ids in made.items()} == {one.pk: 2, two.pk: 1}
    again = regions.replace(layer, {one.pk: [Shape(0, 0, 0.25, 1)]})
    assert Region.objects.get(pk=again[one.pk][0]).width == 0.25
    assert sorted(boxes(dataset), key=str) == sorted(
        [
            (one.pk, "drawn", None, 0.1, 0.3),
            (one.pk, "detected", other.pk, 0.1, 0.3),
            (one.pk, "tile", layer.pk, 0.0, 0.25),
            (two.pk, "tile", layer.pk, 0.1, 0.3),
        ],
        key=str,
    )


def test_clearing_a_layer_leaves_what_bears_a_label_to_the_people(dataset: Dataset, alice: Any) -> None:
    item = add_items(dataset, 1)[0]
    layer = layer_of(dataset)
    ids = regions.replace(layer, {item.pk: [BOX, BOX, BOX]})[item.pk]
    give_label(Region.objects.get(pk=ids[1]), alice)
    assert regions.clear(layer, [item.pk]) == {item.pk}
    left = Region.objects.get()
    assert (left.pk, left.kind, left.layer) == (ids[1], "drawn", None)
    assert Annotation.objects.standing().count() == 1


def test_predictions_of_a_model_are_replaced_item_by_item(dataset: Dataset) -> None:
    one, two, three = add_items(dataset, 3)
    ours, theirs = (predictions.model_named(dataset, name) for name in ("ours", "theirs"))
    for model in (ours, theirs):
        said = [Predicted(pk, "cat", 0.5, BOX) for pk in (one.pk, two.pk, two.pk)]
        assert predictions.replace(model, [one.pk, two.pk, three.pk], said) == 3
    assert predictions.replace(ours, [two.pk], [Predicted(two.pk, "a\x00 dog", 1.0)]) == 1
    assert predictions.replace(ours, [one.pk], []) == 0
    found = Prediction.objects.order_by("model", "pk").values_list("model__name", "item", "label", "score", "x")
    assert list(found) == [
        ("ours", two.pk, "a dog", 1.0, None),
        *(("theirs", pk, "cat", 0.5, 0.1) for pk in (one.pk, two.pk, two.pk)),
    ]
    # Nothing found is not the same as not looked at.
    assert set(PredictedItem.objects.filter(model=ours).values_list("item", flat=True)) == {one.pk, two.pk, three.pk}


def test_counting_reads_the_index_alone(dataset: Dataset) -> None:
    items = add_items(dataset, 300)
    model = predictions.model_named(dataset, "ours")
    said = [
        Predicted(item.pk, label, (at % 20) / 20, BOX)
        for item in items
        for at, label in enumerate(["person", "dog", "cat", "car"] * 8)
    ]
    predictions.replace(model, [item.pk for item in items], said)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE datasets_prediction")
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(
            "EXPLAIN SELECT item_id FROM datasets_prediction WHERE model_id = %s AND label = 'person' AND score >= .8"
            " GROUP BY item_id HAVING count(*) > 2",
            [model.pk],
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "Index Only Scan using prediction_to_count" in plan, plan


def test_items_that_go_take_all_of_it_along(dataset: Dataset, alice: Any) -> None:
    gone, stays = add_items(dataset, 2)
    layer = layer_of(dataset)
    made = regions.replace(layer, {gone.pk: [BOX, BOX], stays.pk: [BOX]})
    give_label(Region.objects.get(pk=made[gone.pk][0]), alice)
    model = predictions.model_named(dataset, "ours")
    said = [Predicted(pk, "cat", 0.5, BOX, made[pk][0]) for pk in (gone.pk, stays.pk)]
    predictions.replace(model, [gone.pk, stays.pk], said)
    creation.remove_items(dataset, [gone.pk])
    assert list(Item.objects.values_list("pk", flat=True)) == [stays.pk]
    for model_class in (Region, Prediction, PredictedItem):
        assert list(model_class.objects.values_list("item", flat=True)) == [stays.pk]
    assert not Annotation.objects.exists()


def test_a_layer_that_is_made_anew_waits_for_whoever_labels_its_regions(
    transactional_db: None, dataset: Dataset, bob: Any
) -> None:
    item, layer, label = add_items(dataset, 1)[0], layer_of(dataset), add_class(dataset, "part")
    made = regions.replace(layer, {item.pk: [BOX, Shape(0, 0, 0.5, 0.5)]})[item.pk]
    chosen = selection.parse(dataset, {"region_ids": made[:1]})
    cleared: list[set[int]] = []

    def clear() -> None:
        try:
            cleared.append(regions.clear(layer, [item.pk]))
        finally:
            connection.close()

    with transaction.atomic():
        labelling.apply_label(chosen, label, by=bob)
        worker = threading.Thread(target=clear)
        worker.start()
        worker.join(1)
        assert worker.is_alive()
    worker.join()
    assert cleared == [{item.pk}]
    left = Region.objects.get()
    assert (left.pk, left.kind, left.layer) == (made[0], "drawn", None)
    assert labelling.apply_label(chosen, label, by=bob).changed == 0
