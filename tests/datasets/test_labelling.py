from __future__ import annotations

from typing import Any

import pytest

from datasets import labelling, operations, selection
from datasets.labelling import ForeignLabel, Mode
from datasets.models import Annotation, Dataset, Source
from tests.fixtures import add_class, add_items, labels_of


def everything(dataset: Dataset) -> selection.Selection:
    return selection.parse(dataset, {"all": True})


def test_a_label_is_given_to_every_item_of_the_selection(dataset: Dataset, alice: Any) -> None:
    items = add_items(dataset, 5)
    stop = add_class(dataset, "stop")
    applied = labelling.apply_label(selection.of_items(dataset, [items[0].pk, items[3].pk]), stop, by=alice)
    assert applied.changed == 2
    assert [pk for pk, names in labels_of(dataset).items() if names == {"stop"}] == [items[0].pk, items[3].pk]


def test_in_a_single_label_dataset_a_new_label_replaces(dataset: Dataset, alice: Any) -> None:
    add_items(dataset, 2)
    for name, mode in (("stop", Mode.REPLACE), ("yield", Mode.REPLACE), ("speed", Mode.ADD)):
        labelling.apply_label(everything(dataset), add_class(dataset, name), by=alice, mode=mode)
    assert list(labels_of(dataset).values()) == [{"speed"}, {"speed"}]


def test_in_a_multi_label_dataset_add_keeps_and_replace_replaces(multi: Dataset, alice: Any) -> None:
    add_items(multi, 1)
    a, b, c = (add_class(multi, name) for name in "abc")
    labelling.apply_label(everything(multi), a, by=alice, mode=Mode.ADD)
    labelling.apply_label(everything(multi), b, by=alice, mode=Mode.ADD)
    assert list(labels_of(multi).values()) == [{"a", "b"}]
    labelling.apply_label(everything(multi), c, by=alice, mode=Mode.REPLACE)
    assert list(labels_of(multi).values()) == [{"c"}]


def test_the_same_label_again_changes_nothing(dataset: Dataset, alice: Any, bob: Any) -> None:
    add_items(dataset, 3)
    stop = add_class(dataset, "stop")
    labelling.apply_label(everything(dataset), stop, by=alice)
    assert labelling.apply_label(everything(dataset), stop, by=bob).changed == 0
    assert set(Annotation.objects.values_list("author__username", flat=True)) == {"alice"}


def test_a_person_confirms_what_a_machine_said(dataset: Dataset, alice: Any) -> None:
    add_items(dataset, 1)
    stop = add_class(dataset, "stop")
    labelling.apply_label(everything(dataset), stop, by=None, source=Source.ZERO_SHOT, confidence=0.4)
    assert labelling.apply_label(everything(dataset), stop, by=alice).changed == 1
    standing = Annotation.objects.standing().get()
    assert (standing.source, standing.author, standing.confidence) == (Source.HUMAN, alice, None)


def test_labels_of_people_are_kept_on_request(dataset: Dataset, alice: Any) -> None:
    items = add_items(dataset, 3)
    stop, other = add_class(dataset, "stop"), add_class(dataset, "other")
    labelling.apply_label(selection.of_items(dataset, [items[1].pk]), stop, by=alice)
    applied = labelling.apply_label(everything(dataset), other, by=alice, keep_human=True)
    assert (applied.changed, applied.skipped) == (2, 1)
    assert labels_of(dataset)[items[1].pk] == {"stop"}


def test_remove_takes_one_label_or_all(multi: Dataset, alice: Any) -> None:
    add_items(multi, 1)
    a, b = add_class(multi, "a"), add_class(multi, "b")
    for label in (a, b):
        labelling.apply_label(everything(multi), label, by=alice, mode=Mode.ADD)
    assert labelling.apply_label(everything(multi), a, by=alice, mode=Mode.REMOVE).changed == 1
    assert list(labels_of(multi).values()) == [{"b"}]
    labelling.remove_labels(everything(multi), None, by=alice)
    assert list(labels_of(multi).values()) == [set()]


def test_a_class_of_another_dataset_is_refused_and_nothing_is_written(
    dataset: Dataset, foreign: Dataset, alice: Any
) -> None:
    add_items(dataset, 2)
    with pytest.raises(ForeignLabel, match="belongs to another dataset"):
        labelling.apply_label(everything(dataset), add_class(foreign, "theirs"), by=alice)
    assert not Annotation.objects.exists()
    assert not dataset.operations.exists()


def test_annotations_are_never_deleted(dataset: Dataset, alice: Any) -> None:
    add_items(dataset, 1)
    first = labelling.apply_label(everything(dataset), add_class(dataset, "a"), by=alice)
    second = labelling.apply_label(everything(dataset), add_class(dataset, "b"), by=alice)
    old = Annotation.objects.get(operation=first.operation)
    assert old.retracted_by == second.operation


def test_an_act_takes_a_fixed_number_of_queries(
    dataset: Dataset, alice: Any, django_assert_max_num_queries: Any
) -> None:
    add_items(dataset, 50)
    stop = add_class(dataset, "stop")
    with django_assert_max_num_queries(12):
        labelling.apply_label(everything(dataset), stop, by=alice)


def test_a_labelling_of_no_items_is_an_operation_that_changed_nothing(dataset: Dataset, alice: Any) -> None:
    applied = labelling.apply_label(everything(dataset), add_class(dataset, "stop"), by=alice)
    assert applied.changed == 0
    assert operations.undo(applied.operation, by=alice).reverted == 0
