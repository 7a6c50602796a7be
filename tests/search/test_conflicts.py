"""Conflicts: two people, or a model and the label, say different classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from datasets import labelling, operations, predictions, selection
from datasets.models import Dataset, Item, LabelClass, Membership, Role
from datasets.predictions import Predicted
from datasets.regions import Shape
from search import vectors
from search.findings import KINDS, Found, Material, NothingToFind, deciding, groups, storing
from search.models import Finding
from tests.fixtures import add_class, add_items, make_user


def found(dataset: Dataset) -> dict[int, Found]:
    return {one.item: one for one in KINDS["conflict"].find(Material(dataset))}


def give(item: Item, label: LabelClass, by: Any) -> Any:
    return labelling.apply_label(selection.of_items(item.dataset, [item.pk]), label, by=by).operation


def say(dataset: Dataset, of: dict[int, Sequence[tuple[str, float, Shape | None]]], name: str = "resnet") -> None:
    model = predictions.model_named(dataset, name)
    predictions.replace(model, list(of), [Predicted(pk, *one) for pk, seen in of.items() for one in seen])


@pytest.fixture
def dora(dataset: Dataset) -> Any:
    made = make_user("dora")
    Membership.objects.create(dataset=dataset, user=made, role=Role.ANNOTATOR)
    return made


def test_another_person_said_otherwise(dataset: Dataset, bob: Any, dora: Any) -> None:
    stop, give_way = add_class(dataset, "stop"), add_class(dataset, "give way")
    disputed, agreed, own = add_items(dataset, 3)
    give(disputed, stop, bob)
    give(disputed, give_way, dora)
    give(agreed, stop, bob)
    give(agreed, stop, dora)
    # Who corrects themselves contradicts nobody.
    give(own, stop, dora)
    give(own, give_way, dora)
    said = found(dataset)
    assert set(said) == {disputed.pk}
    assert said[disputed.pk].suggested == stop.pk
    assert said[disputed.pk].score == 0.75
    assert said[disputed.pk].reason == "dora says “give way”, bob said “stop”."


def test_the_more_are_against_it_the_sooner_it_comes(dataset: Dataset, bob: Any, dora: Any) -> None:
    emil = make_user("emil")
    Membership.objects.create(dataset=dataset, user=emil, role=Role.ANNOTATOR)
    stop, give_way = add_class(dataset, "stop"), add_class(dataset, "give way")
    (item,) = add_items(dataset, 1)
    for who, label in ((bob, stop), (dora, give_way), (emil, stop), (dora, give_way)):
        give(item, label, who)
    (said,) = found(dataset).values()
    assert (said.suggested, round(said.score, 2)) == (stop.pk, 0.83)
    assert said.reason.endswith("2 of 3 people are against it.")


def test_what_was_undone_is_nobodys_word(dataset: Dataset, bob: Any, dora: Any) -> None:
    stop, give_way = add_class(dataset, "stop"), add_class(dataset, "give way")
    (item,) = add_items(dataset, 1)
    give(item, stop, bob)
    mistaken = give(item, give_way, dora)
    assert set(found(dataset)) == {item.pk}
    operations.undo(mistaken, by=dora)
    assert found(dataset) == {}


def test_a_reviewer_settles_it(dataset: Dataset, bob: Any, dora: Any, rita: Any) -> None:
    stop, give_way = add_class(dataset, "stop"), add_class(dataset, "give way")
    (item,) = add_items(dataset, 1)
    give(item, stop, bob)
    give(item, give_way, dora)
    give(item, stop, rita)
    assert found(dataset) == {}


def test_a_model_is_surer_of_another_class(dataset: Dataset, bob: Any) -> None:
    stop, give_way = add_class(dataset, "stop"), add_class(dataset, "Give way")
    other, unsure, same, unknown, part, bare, excluded = add_items(dataset, 7)
    for item in (other, unsure, same, unknown, part, excluded):
        give(item, stop, bob)
    Item.objects.filter(pk=excluded.pk).update(status="excluded")
    say(
        dataset,
        {
            other.pk: [("give way", 0.9, None), ("stop", 0.1, None)],
            unsure.pk: [("give way", 0.45, None)],
            same.pk: [("stop", 0.8, None)],
            unknown.pk: [("zebra", 0.9, None)],
            part.pk: [("give way", 0.9, Shape(0, 0, 0.5, 0.5))],
            bare.pk: [("give way", 0.9, None)],
            excluded.pk: [("give way", 0.9, None)],
        },
    )
    said = found(dataset)
    assert set(said) == {other.pk}
    assert (said[other.pk].suggested, said[other.pk].subject) == (give_way.pk, "model")
    assert said[other.pk].reason == "Labelled “stop”, and resnet is 90% sure of “Give way”."


def test_of_several_labels_the_models_is_enough(multi: Dataset, bob: Any) -> None:
    first, second = add_class(multi, "first"), add_class(multi, "second")
    (item,) = add_items(multi, 1)
    give(item, first, bob)
    labelling.apply_label(selection.of_items(multi, [item.pk]), second, by=bob, mode=labelling.Mode.ADD)
    say(multi, {item.pk: [("second", 0.9, None)]})
    assert found(multi) == {}


def test_one_person_and_no_model_cannot_disagree(dataset: Dataset, bob: Any) -> None:
    give(add_items(dataset, 1)[0], add_class(dataset, "stop"), bob)
    with pytest.raises(NothingToFind, match="no model has said anything"):
        found(dataset)


def test_the_nearest_items_stand_beside_it(dataset: Dataset, bob: Any, dora: Any) -> None:
    stop, give_way = add_class(dataset, "stop"), add_class(dataset, "give way")
    disputed, far, near = add_items(dataset, 3)
    space = dataset.spaces.get(is_default=True)
    placed = np.zeros((3, space.dimension))
    placed[[0, 1, 2, 2], [0, 1, 0, 1]] = [1, 1, 1, 0.2]
    vectors.write(space, [disputed.pk, far.pk, near.pk], vectors.normalised(placed))
    give(disputed, stop, bob)
    give(disputed, give_way, dora)
    assert found(dataset)[disputed.pk].related == [near.pk, far.pk]


def test_it_is_settled_in_the_review_and_does_not_come_back(dataset: Dataset, bob: Any, dora: Any, rita: Any) -> None:
    stop, give_way = add_class(dataset, "stop"), add_class(dataset, "give way")
    item, like_it = add_items(dataset, 2)
    for one in (item, like_it):
        give(one, stop, bob)
        give(one, give_way, dora)
    storing.store(dataset, "conflict", list(found(dataset).values()))
    assert [one.title for one in groups.of_kind(dataset, "conflict")] == ["give way given, stop meant"]
    deciding.decide(Finding.objects.get(item=item), deciding.Verdict(Finding.State.CONFIRMED, label=stop), by=rita)
    assert item.annotations.standing().get().label == stop
    assert item.pk not in found(dataset)
