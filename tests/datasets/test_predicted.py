"""Filters by what models said: a class, how sure, another one than the label."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from datasets import filters, labelling, predictions, selection, statistics
from datasets.errors import Refused
from datasets.models import Dataset
from datasets.predictions import Predicted
from datasets.regions import Shape
from tests.fixtures import add_class, add_items

pytestmark = pytest.mark.django_db

BOX = Shape(0.1, 0.1, 0.5, 0.5)


def said(dataset: Dataset, *items: list[tuple[str, float, Shape | None]], name: str = "judge") -> list[int]:
    """New items with what a model said about each."""
    made = [item.pk for item in add_items(dataset, len(items))]
    say(dataset, dict(zip(made, items, strict=True)), name)
    return made


def say(dataset: Dataset, of: dict[int, list[tuple[str, float, Shape | None]]], name: str) -> None:
    model = predictions.model_named(dataset, name)
    predictions.replace(model, list(of), [Predicted(pk, *one) for pk, seen in of.items() for one in seen])


def label(dataset: Dataset, by: Any, labels: dict[int, str]) -> None:
    for pk, name in labels.items():
        known = dataset.classes.filter(name=name).first() or add_class(dataset, name)
        labelling.apply_label(selection.of_items(dataset, [pk]), known, by=by, confidence=0.2)


def matching(dataset: Dataset, **raw: Any) -> list[int]:
    items = filters.parse(dataset, raw).apply(filters.items_of(dataset))
    return list(items.order_by("pk").values_list("pk", flat=True))


def test_a_class_that_was_predicted_for_the_item_or_for_something_in_it(dataset: Dataset) -> None:
    whole, part, doubtful, other = said(
        dataset, [("cat", 0.9, None)], [("cat", 0.5, BOX)], [("cat", 0.1, BOX)], [("dog", 0.9, None)]
    )
    assert matching(dataset, predicted="cat") == [whole, part]
    assert matching(dataset, predicted="Cat") == [whole, part]
    assert matching(dataset, predicted=["cat", "dog"]) == [whole, part, other]
    assert matching(dataset, predicted="cat", min_confidence=0.05) == [whole, part, doubtful]
    assert matching(dataset, predicted="cat", min_confidence="0.6") == [whole]
    assert matching(dataset, predicted="cat", max_confidence=0.6) == [part, doubtful]
    assert matching(dataset, predicted="cat", min_confidence=0.3, max_confidence=0.6) == [part]


def test_without_a_predicted_class_confidence_is_that_of_the_label(dataset: Dataset, alice: Any) -> None:
    labelled, other = said(dataset, [("cat", 0.9, None)], [("cat", 0.9, None)])
    label(dataset, alice, {labelled: "cat"})  # with confidence .2
    assert matching(dataset, max_confidence=0.5) == [labelled]
    assert matching(dataset, max_confidence=0.5, predicted="cat") == []
    assert matching(dataset, min_confidence=0.5, predicted="cat") == [labelled, other]


def test_of_one_model(dataset: Dataset) -> None:
    first = said(dataset, [("cat", 0.9, None)], name="old")
    second = said(dataset, [("cat", 0.9, None)], name="new")
    assert matching(dataset, predicted="cat") == first + second
    assert matching(dataset, predicted="cat", model="old") == first
    assert matching(dataset, predicted="cat", model="new") == second


def test_an_item_disagrees_when_the_best_guess_is_not_its_label(dataset: Dataset, alice: Any) -> None:
    wrong, right, unlabelled, part, second = said(
        dataset,
        [("cat", 0.6, None), ("dog", 0.3, None)],
        [("Dog", 0.6, None), ("cat", 0.4, None)],
        [("cat", 0.9, None)],
        [("cat", 0.9, BOX)],
        [("dog", 0.2, None), ("dog", 0.1, BOX)],
    )
    (unseen,) = (item.pk for item in add_items(dataset, 1))
    label(dataset, alice, dict.fromkeys([wrong, right, part, unseen, second], "dog"))
    assert matching(dataset, disagrees=True) == [wrong]
    assert matching(dataset, disagrees="false") == [right, unlabelled, part, second, unseen]
    label(dataset, alice, {wrong: "cat", second: "cat"})
    assert matching(dataset, disagrees=True) == [second]


def test_the_newest_model_that_speaks_of_whole_items_judges(dataset: Dataset, alice: Any) -> None:
    first, second = said(dataset, [("cat", 0.9, None)], [("dog", 0.9, None)], name="old")
    label(dataset, alice, {first: "dog", second: "dog"})
    assert matching(dataset, disagrees=True) == [first]
    say(dataset, {first: [("dog", 0.9, None)], second: [("cat", 0.9, None)]}, "newer")
    say(dataset, {first: [("person", 0.9, BOX)], second: []}, "a detector")
    assert matching(dataset, disagrees=True) == [second]
    assert matching(dataset, disagrees=True, model="old") == [first]


def test_of_several_labels_one_that_agrees_is_enough(multi: Dataset, alice: Any) -> None:
    both, neither = said(multi, [("cat", 0.9, None)], [("bird", 0.9, None)])
    cat, dog = add_class(multi, "cat"), add_class(multi, "dog")
    for one in (cat, dog):
        labelling.apply_label(selection.of_items(multi, [both, neither]), one, by=alice, mode=labelling.Mode.ADD)
    assert matching(multi, disagrees=True) == [neither]


def test_nobody_disagrees_where_nothing_is_predicted(dataset: Dataset, alice: Any) -> None:
    (item,) = (one.pk for one in add_items(dataset, 1))
    label(dataset, alice, {item: "cat"})
    assert matching(dataset, disagrees=True) == []
    assert matching(dataset, disagrees=False) == [item]


def test_counts_for_the_rail(dataset: Dataset, alice: Any) -> None:
    found = said(dataset, [("cat", 0.9, None), ("cat", 0.4, BOX)], [("cat", 0.1, BOX), ("dog", 0.9, None)])
    label(dataset, alice, dict.fromkeys(found, "cat"))
    for raw, counted in (
        ({}, {"cat": 1, "dog": 1}),
        ({"predicted": "cat"}, {"cat": 1, "dog": 1}),
        ({"key_contains": "0001"}, {"dog": 1}),
    ):
        stats = statistics.predictions(dataset, filters.parse(dataset, raw))
        assert stats["predicted"] == counted
    assert statistics.predictions(dataset, filters.Filter())["disagrees"] == 1
    assert statistics.predictions(dataset, filters.parse(dataset, {"predicted": "cat"}))["disagrees"] == 0
    assert statistics.predictions(dataset, filters.parse(dataset, {"disagrees": "true"}))["disagrees"] == 1


def test_a_dataset_that_no_model_has_seen_counts_nothing(dataset: Dataset) -> None:
    stats = statistics.predictions(dataset, filters.Filter())
    assert (stats["predicted"], stats["disagrees"]) == ({}, None)


def test_what_must_not_be(dataset: Dataset) -> None:
    night, day, other = (item.pk for item in add_items(dataset, 3))
    dataset.items.filter(pk=night).update(tags=["night", "rain"], split="train", status="done")
    dataset.items.filter(pk=day).update(tags=["day"], split="test")
    assert matching(dataset, not_tag="night") == [day, other]
    assert matching(dataset, not_tag=["night", "day"]) == [other]
    assert matching(dataset, not_split="train") == [day, other]
    assert matching(dataset, not_split=["train", "none"]) == [day]
    assert matching(dataset, not_status="done", tag="night") == []


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"predicted": "ct"}, "No model of “.*” predicts “ct”. They predict cat, dog"),
        ({"predicted": "cat", "model": "nobody"}, "no predictions of a model “nobody”. It has those of judge"),
        ({"predicted": "cat", "min_confidence": "very"}, "min_confidence takes a number"),
        ({"predicted": True}, "not a value"),
        ({"disagrees": "perhaps"}, "disagrees is true or false"),
        ({"model": "judge"}, "model says whose predictions"),
        ({"not_status": "new"}, "status is one of"),
        ({"find": "outlier"}, "There is no filter “find”. Use one of: annotator"),
    ],
)
def test_what_is_no_filter_gets_a_sentence(dataset: Dataset, raw: dict[str, Any], words: str) -> None:
    said(dataset, [("cat", 0.9, None)], [("dog", 0.9, None)])
    with pytest.raises(Refused, match=words):
        matching(dataset, **raw)


def test_anothers_models_do_not_speak_here(dataset: Dataset, foreign: Dataset) -> None:
    said(foreign, [("cat", 0.9, None)])
    with pytest.raises(Refused, match="No model has said anything"):
        matching(dataset, predicted="cat")


def test_in_an_address(client_of: Callable[[Any], APIClient], vera: Any, dataset: Dataset) -> None:
    found = said(dataset, [("cat", 0.9, None)], [("cat", 0.4, None)])
    client = client_of(vera)
    answer = client.get(f"/api/v1/datasets/{dataset.pk}/items/", {"predicted": "cat", "max_confidence": "0.5"})
    assert [one["id"] for one in answer.json()["results"]] == found[1:]


def test_who_disagrees_is_read_from_an_index(dataset: Dataset, alice: Any) -> None:
    found = said(dataset, *[[("cat", 0.5, None), ("dog", 0.5, BOX)] for _ in range(300)])
    label(dataset, alice, {found[0]: "dog"})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE datasets_prediction")
        cursor.execute("SET LOCAL enable_seqscan = off")
    plan = filters.parse(dataset, {"disagrees": True}).apply(filters.items_of(dataset)).explain()
    assert "Index Only Scan using prediction_of_whole" in plan
