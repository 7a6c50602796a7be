from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from datasets import filters, predictions
from datasets.colours import COLOUR_NAMES
from datasets.errors import Refused
from datasets.models import Dataset, Prediction
from datasets.predictions import Predicted
from datasets.regions import Shape
from tests.fixtures import add_items

pytestmark = pytest.mark.django_db

LEFT, RIGHT = Shape(0.0, 0.3, 0.2, 0.4), Shape(0.8, 0.3, 0.2, 0.4)
BOTTOM_RIGHT, ALL = Shape(0.7, 0.8, 0.2, 0.2), Shape(0.0, 0.0, 1.0, 1.0)


def saw(dataset: Dataset, *items: list[tuple[str, float, Shape]], name: str = "ours", labels: Any = ()) -> list[int]:
    """Items with what a model saw in each of them."""
    made = add_items(dataset, len(items))
    said = [
        Predicted(item.pk, label, score, box)
        for item, seen in zip(made, items, strict=True)
        for label, score, box in seen
    ]
    predictions.replace(predictions.model_named(dataset, name, labels), [item.pk for item in made], said)
    return [item.pk for item in made]


def matching(dataset: Dataset, **raw: Any) -> list[int]:
    items = filters.parse(dataset, {key.replace("__", "."): value for key, value in raw.items()})
    return list(items.apply(filters.items_of(dataset)).order_by("pk").values_list("pk", flat=True))


def people(number: int, score: float = 0.9) -> list[tuple[str, float, Shape]]:
    return [("person", score, LEFT)] * number


@pytest.mark.parametrize(
    ("count", "numbers"),
    [
        (">2", [3, 4]),
        (">=3", [3, 4]),
        ("=1", [1]),
        (1, [1]),
        ("0", [0]),
        ("<2", [0, 1]),
        ("<=1", [0, 1]),
        ("2..3", [2, 3]),
        ("0..1", [0, 1]),
        ([">0", "<4"], [1, 2, 3]),
        (">=0", [0, 1, 2, 3, 4]),
    ],
)
def test_as_many_as_asked_for(dataset: Dataset, count: Any, numbers: list[int]) -> None:
    found = saw(dataset, *(people(number) for number in range(5)))
    add_items(dataset, 1)  # nobody has looked at it
    assert matching(dataset, count={"person": count}) == [found[number] for number in numbers]
    assert matching(dataset, count__person=count) == [found[number] for number in numbers]


def test_counting_alone_reads_the_index_alone(dataset: Dataset) -> None:
    saw(dataset, people(3))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_bitmapscan = off")
    for raw in ({"count": {"person": ">2"}}, {"count": {"person": 0}}):
        plan = filters.parse(dataset, raw).apply(filters.items_of(dataset)).explain()
        assert "Index Only Scan using prediction_to_count" in plan


def test_what_is_hardly_one_does_not_count_unless_that_is_said(dataset: Dataset) -> None:
    doubtful, sure = saw(dataset, people(1, score=0.1), people(1))
    assert matching(dataset, count={"person": ">0"}) == [sure]
    assert matching(dataset, count={"person": 0}) == [doubtful]
    assert matching(dataset, objects=[{"class": "person", "score": 0.05}]) == [doubtful, sure]
    assert matching(dataset, objects={"class": "person", "score": 0.95}) == []


def test_a_class_that_the_detector_looks_for_and_never_found_is_none(dataset: Dataset) -> None:
    found = saw(dataset, people(1), [], labels=["person", "car"])
    assert matching(dataset, count={"car": 0}) == found
    assert matching(dataset, count={"Car": ">0"}) == []


def test_several_classes_hold_together(dataset: Dataset) -> None:
    dog = ("dog", 0.9, RIGHT)
    _, both = saw(dataset, people(2), [*people(2), dog])
    assert matching(dataset, count={"person": 2, "dog": ">=1"}) == [both]


@pytest.mark.parametrize(
    ("box", "position"),
    [(LEFT, "left"), (RIGHT, "right"), (BOTTOM_RIGHT, "bottom right"), (BOTTOM_RIGHT, "Bottom-Right"), (ALL, "center")],
)
def test_where_it_is(dataset: Dataset, box: Shape, position: str) -> None:
    there, *_ = saw(dataset, [("dog", 0.9, box)], [("dog", 0.9, Shape(0.4, 0.0, 0.2, 0.2))])
    assert matching(dataset, objects=[{"class": "dog", "position": position}]) == [there]


def test_how_large_it_is_and_how_many_are_so(dataset: Dataset) -> None:
    near, far = saw(dataset, [("face", 0.9, ALL)], [("face", 0.9, LEFT)] * 3)
    assert matching(dataset, objects=[{"class": "face", "size": ">0.5"}]) == [near]
    assert matching(dataset, objects=[{"class": "face", "size": "<0.1", "count": 3}]) == [far]
    # None that is large: an image that it looked at and found small ones in is meant.
    assert matching(dataset, objects=[{"class": "face", "size": ">0.5", "count": 0}]) == [far]


def all_of(color: str) -> bytes:
    return bytes(255 * (name == color) for name in COLOUR_NAMES)


def coloured(dataset: Dataset, *items: list[tuple[Shape, str | None]]) -> list[int]:
    """Items with cars, each all of one colour; None is one whose colour nobody has measured."""
    made = add_items(dataset, len(items))
    said = [
        Predicted(item.pk, "car", 0.9, box, colors=all_of(color) if color else None)
        for item, cars in zip(made, items, strict=True)
        for box, color in cars
    ]
    predictions.replace(predictions.model_named(dataset, "ours", ["car"]), [item.pk for item in made], said)
    return [item.pk for item in made]


def test_what_colour_it_has(dataset: Dataset) -> None:
    none, red, two, blue, unknown = coloured(
        dataset, [], [(LEFT, "red"), (RIGHT, "blue")], [(LEFT, "red")] * 2, [(LEFT, "blue")], [(LEFT, None)]
    )
    assert matching(dataset, objects={"class": "car", "color": "red"}) == [red, two]
    assert matching(dataset, objects={"class": "car", "color": "red", "count": 2}) == [two]
    assert matching(dataset, objects={"class": "car", "color": "red", "position": "right"}) == []
    assert matching(dataset, objects={"class": "car", "color": {"red": "<0.3"}}) == [red, blue]
    # Of one whose colour is not known, nobody knows whether it is red.
    assert matching(dataset, objects={"class": "car", "color": "red", "count": 0}) == [none, blue]
    assert matching(dataset, objects={"class": "car", "color": "red", "count": "<2"}) == [none, red, blue]
    assert matching(dataset, objects={"class": "car", "count": ">0"}) == [red, two, blue, unknown]


def test_colours_that_were_never_measured_are_refused(dataset: Dataset) -> None:
    coloured(dataset, [(LEFT, None)])
    with pytest.raises(Refused, match=r"The colours of what “ours” has found are not known.*Remove its layer"):
        matching(dataset, objects={"class": "car", "color": "red"})


@pytest.mark.parametrize(
    ("one", "other", "is_so"),
    [
        (LEFT, RIGHT, True),
        (Shape(0.1, 0.3, 0.2, 0.4), Shape(0.25, 0.3, 0.2, 0.4), True),  # a quarter of their widths overlaps
        (Shape(0.1, 0.3, 0.2, 0.4), Shape(0.2, 0.3, 0.2, 0.4), False),  # half of them
        (Shape(0.1, 0.3, 0.2, 0.4), Shape(0.5, 0.38, 0.2, 0.4), True),  # a fifth of the height lower
        (Shape(0.1, 0.3, 0.2, 0.4), Shape(0.5, 0.42, 0.2, 0.4), False),  # nearly a third
        (Shape(0.1, 0.0, 0.2, 0.9), Shape(0.5, 0.0, 0.2, 0.2), False),  # one tall, one small and high up
        (Shape(0.1, 0.0, 0.2, 0.2), Shape(0.1, 0.5, 0.2, 0.2), False),
    ],
)
def test_what_is_side_by_side(dataset: Dataset, one: Shape, other: Shape, is_so: bool) -> None:
    (pair, _) = saw(dataset, [("dog", 0.9, one), ("dog", 0.9, other)], [("dog", 0.9, one), ("cat", 0.9, other)])
    beside = {"class": "dog", "arrangement": "side by side"}
    assert matching(dataset, objects=beside | {"count": 2}) == ([pair] if is_so else [])


def test_two_red_ones_side_by_side_are_both_red(dataset: Dataset) -> None:
    reds, _ = coloured(dataset, [(LEFT, "red"), (RIGHT, "red")], [(LEFT, "red"), (RIGHT, "blue")])
    beside = {"class": "car", "color": "red", "arrangement": "side by side", "count": ">=2"}
    assert matching(dataset, objects=beside) == [reds]


def test_the_newest_detector_that_knows_the_class_answers(dataset: Dataset) -> None:
    (item,) = saw(dataset, people(3), name="old")
    newer = predictions.model_named(dataset, "newer", ["dog", "person"])
    predictions.replace(newer, [item], [Predicted(item, "person", 0.9, LEFT)])
    predictions.replace(predictions.model_named(dataset, "newest", ["cup"]), [item], [])
    assert matching(dataset, count={"person": 1}) == [item]
    assert matching(dataset, count={"person": 3}) == []


def test_anforeign_is_not_counted(dataset: Dataset, foreign: Dataset) -> None:
    saw(foreign, people(1))
    assert Prediction.objects.count() == 1
    with pytest.raises(Refused, match="No detector has looked at"):
        matching(dataset, count={"person": 1})


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"count": {"persn": 1}}, "No detector of “.*” looks for “persn”. It can count person, dog"),
        ({"count": 3}, "count takes an object"),
        ({"count": {"person": "many"}}, "count.person takes a number"),
        ({"count": {"person": []}}, "count.person takes a number"),
        ({"objects": [{"class": "person"}] * 21}, "objects takes 20 kinds of objects at most, not 21"),
        ({"count": {f"class {at}": 1 for at in range(21)}}, "count takes 20 kinds of objects at most"),
        ({"count": {"per\x00son": 1}}, "count takes plain text"),
        ({"objects": ["person"]}, "objects takes a list"),
        ({"objects": [{"class": "person", "colour": "red"}]}, "objects has no “colour”"),
        ({"objects": [{"class": "person", "color": "beige"}]}, "“beige” is none of the eleven"),
        ({"objects": [{"class": "person", "color": 3}]}, "objects.color is a colour or an object of shares"),
        ({"objects": [{"class": "person", "color": {"red": "very"}}]}, "objects.color.red takes a number"),
        ({"objects": [{"class": "person", "arrangement": "in a row"}]}, "not “in a row”"),
        ({"objects": [{"class": "person", "arrangement": 3}]}, "objects.arrangement is a string"),
        ({"objects": "{"}, "objects takes a list"),
        ({"objects": "[" * 100_000}, "objects takes a list"),
        ({"objects": [{"class": "person", "position": "upstairs"}]}, "not “upstairs”"),
        ({"objects": [{"class": "person", "position": 3}]}, "objects.position is a string"),
        ({"objects": [{"class": "person", "size": "huge"}]}, "objects.size takes a number"),
        ({"objects": [{"class": "person", "score": 7}]}, "from 0 to 1, not 7"),
    ],
)
def test_what_cannot_be_counted_gets_a_sentence(dataset: Dataset, raw: dict[str, Any], said: str) -> None:
    saw(dataset, people(1), [("dog", 0.9, LEFT)])
    with pytest.raises(Refused, match=said):
        matching(dataset, **raw)


@pytest.mark.parametrize("strange", ["'); DROP TABLE datasets_item; --", "100 %s", "", "ü" * 5_000])
def test_a_strange_name_is_a_class_that_nobody_knows(dataset: Dataset, strange: str) -> None:
    (item,) = saw(dataset, people(1))
    with pytest.raises(Refused, match="looks for"):
        matching(dataset, objects={"class": strange})
    assert matching(dataset, objects={"class": "person", "size": "<1e999"}) == [item]


def test_in_an_address(client_of: Callable[[Any], APIClient], alice: Any, dataset: Dataset) -> None:
    found = saw(dataset, *(people(number) for number in range(4)))
    client = client_of(alice)
    answer = client.get(f"/api/v1/datasets/{dataset.pk}/items/", {"count.person": ">1"})
    assert [one["id"] for one in answer.json()["results"]] == found[2:]
    left = json.dumps({"class": "person", "position": "left", "count": 3})
    answer = client.get(f"/api/v1/datasets/{dataset.pk}/items/", {"objects": [left, '{"class": "Person"}']})
    assert [one["id"] for one in answer.json()["results"]] == found[3:]
    refused = client.get(f"/api/v1/datasets/{dataset.pk}/items/", {"count.unicorn": ">1"})
    assert refused.status_code == 400
    assert "“unicorn”" in refused.json()["detail"]
