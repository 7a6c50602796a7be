from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets import labelling, marking, operations, selection
from datasets.labelling import Mode
from datasets.models import Annotation, Dataset, Operation
from datasets.operations import AlreadyUndone
from tests.fixtures import add_class, add_items, labels_of


def everything(dataset: Dataset) -> selection.Selection:
    return selection.parse(dataset, {"all": True})


def test_undo_puts_back_what_was_replaced(dataset: Dataset, alice: Any) -> None:
    items = add_items(dataset, 3)
    a, b = add_class(dataset, "a"), add_class(dataset, "b")
    labelling.apply_label(selection.of_items(dataset, [items[0].pk]), a, by=alice)
    before = labels_of(dataset)
    undone = operations.undo(labelling.apply_label(everything(dataset), b, by=alice).operation, by=alice)
    assert (undone.reverted, undone.kept_because_changed_since) == (3, 0)
    assert labels_of(dataset) == before


def test_undo_keeps_who_had_given_the_label_and_when(dataset: Dataset, alice: Any, bob: Any) -> None:
    add_items(dataset, 1)
    labelling.apply_label(everything(dataset), add_class(dataset, "a"), by=bob)
    given_by_bob = Annotation.objects.get()
    operations.undo(labelling.apply_label(everything(dataset), add_class(dataset, "b"), by=alice).operation, by=alice)
    standing = Annotation.objects.standing().get()
    assert (standing.author, standing.created_at) == (bob, given_by_bob.created_at)


def test_undo_keeps_labels_changed_since(dataset: Dataset, alice: Any, bob: Any) -> None:
    items = add_items(dataset, 3)
    act = labelling.apply_label(everything(dataset), add_class(dataset, "a"), by=alice)
    labelling.apply_label(selection.of_items(dataset, [items[1].pk]), add_class(dataset, "b"), by=bob)
    undone = operations.undo(act.operation, by=alice)
    assert (undone.reverted, undone.kept_because_changed_since) == (2, 1)
    assert labels_of(dataset) == {items[0].pk: set(), items[1].pk: {"b"}, items[2].pk: set()}


def test_undo_of_a_removal_does_not_overwrite_a_later_label(dataset: Dataset, alice: Any, bob: Any) -> None:
    items = add_items(dataset, 2)
    labelling.apply_label(everything(dataset), add_class(dataset, "a"), by=alice)
    removal = labelling.remove_labels(everything(dataset), None, by=alice)
    labelling.apply_label(selection.of_items(dataset, [items[0].pk]), add_class(dataset, "b"), by=bob)
    assert operations.undo(removal.operation, by=alice).kept_because_changed_since == 1
    assert labels_of(dataset) == {items[0].pk: {"b"}, items[1].pk: {"a"}}


def test_undo_twice_is_refused_and_writes_nothing(dataset: Dataset, alice: Any) -> None:
    add_items(dataset, 2)
    act = labelling.apply_label(everything(dataset), add_class(dataset, "a"), by=alice)
    operations.undo(act.operation, by=alice)
    written = (Operation.objects.count(), Annotation.objects.count())
    with pytest.raises(AlreadyUndone, match="already undone by operation"):
        operations.undo(act.operation, by=alice)
    assert (Operation.objects.count(), Annotation.objects.count()) == written


def test_undoing_an_undo_does_it_again(dataset: Dataset, alice: Any) -> None:
    add_items(dataset, 4)
    labelling.apply_label(everything(dataset), add_class(dataset, "a"), by=alice)
    act = labelling.apply_label(everything(dataset), add_class(dataset, "b"), by=alice)
    after = labels_of(dataset)
    undo = operations.undo(act.operation, by=alice)
    redo = operations.undo(undo.operation, by=alice)
    assert redo.reverted == 4
    assert labels_of(dataset) == after


def test_pressing_undo_twice_goes_back_two_steps(dataset: Dataset, alice: Any) -> None:
    add_items(dataset, 2)
    states = [labels_of(dataset)]
    acts = []
    for name in "abc":
        acts.append(labelling.apply_label(everything(dataset), add_class(dataset, name), by=alice).operation)
        states.append(labels_of(dataset))
    for act, state in zip(reversed(acts), reversed(states[:-1]), strict=True):
        assert operations.undo(act, by=alice).kept_because_changed_since == 0
        assert labels_of(dataset) == state


def test_in_a_multi_label_dataset_other_labels_are_no_change(multi: Dataset, alice: Any) -> None:
    add_items(multi, 1)
    a, b = add_class(multi, "a"), add_class(multi, "b")
    act = labelling.apply_label(everything(multi), a, by=alice, mode=Mode.ADD)
    labelling.apply_label(everything(multi), b, by=alice, mode=Mode.ADD)
    assert operations.undo(act.operation, by=alice).reverted == 1
    assert list(labels_of(multi).values()) == [{"b"}]


def test_status_is_put_back_unless_changed_since(dataset: Dataset, alice: Any) -> None:
    items = add_items(dataset, 3)
    act = marking.set_status(everything(dataset), "excluded", by=alice)
    marking.set_status(selection.of_items(dataset, [items[2].pk]), "done", by=alice)
    undone = operations.undo(act.operation, by=alice)
    assert (undone.reverted, undone.kept_because_changed_since) == (2, 1)
    assert list(dataset.items.values_list("status", flat=True)) == ["todo", "todo", "done"]


def test_tags_are_put_back_and_other_tags_stay(dataset: Dataset, alice: Any) -> None:
    add_items(dataset, 2, tags=["night"])
    act = marking.change_tags(everything(dataset), add=["blurry"], remove=["night"], by=alice)
    marking.change_tags(everything(dataset), add=["later"], remove=[], by=alice)
    assert operations.undo(act.operation, by=alice).reverted == 2
    assert all(set(tags) == {"night", "later"} for tags in dataset.items.values_list("tags", flat=True))


def snapshot(dataset: Dataset) -> Any:
    rows = dataset.items.order_by("id").values_list("pk", "status", "tags")
    return labels_of(dataset), [(pk, status, tuple(sorted(tags))) for pk, status, tags in rows]


acts = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None, "done", "excluded", "+x", "-x"]), st.sets(st.integers(0, 3), min_size=1)
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=acts, is_multi=st.booleans())
def test_undoing_everything_latest_first_returns_to_the_start(
    acts: list[tuple[str | None, set[int]]], is_multi: bool, dataset: Dataset, multi: Dataset, alice: Any
) -> None:
    where = multi if is_multi else dataset
    ids = [item.pk for item in add_items(where, 4)]
    classes = {name: add_class(where, f"{name}{ids[0]}") for name in "ab"}
    start = snapshot(where)
    done = []
    for what, numbers in acts:
        chosen = selection.of_items(where, [ids[n] for n in numbers])
        if what in classes:
            applied = labelling.apply_label(
                chosen, classes[what], by=alice, mode=Mode.ADD if is_multi else Mode.REPLACE
            )
        elif what is None:
            applied = labelling.remove_labels(chosen, None, by=alice)
        elif what[0] in "+-":
            adds = what[0] == "+"
            applied = marking.change_tags(chosen, add=["x"] if adds else [], remove=[] if adds else ["x"], by=alice)
        else:
            applied = marking.set_status(chosen, what, by=alice)
        done.append(applied.operation)
    for operation in reversed(done):
        assert operations.undo(operation, by=alice).kept_because_changed_since == 0
    assert snapshot(where) == start
