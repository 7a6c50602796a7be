"""Acts and undos in any order, against a model in plain Python.

The model knows places: the label of an item (in a multi-label dataset each label of it), its status, a tag of it. Each
place has a state and a log of the operations that changed it. An undo puts a place back unless it has changed since;
a later act that was itself undone at that place is no change.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from datasets import creation, labelling, marking, operations, selection
from datasets.labelling import Mode
from datasets.models import Annotation, Item, Operation, Source
from datasets.operations import AlreadyUndone, Applied
from tests.fixtures import add_class, add_items, make_user

ITEMS = 2
CLASSES = "ab"
TAGS = ("x", "y")

Place = tuple[int, str]  # item number, what of it
Touch = tuple[Place, Any, Any]  # where, before, after


@dataclass
class Model:
    is_multi: bool
    state: dict[Place, Any] = field(default_factory=dict)
    log: dict[Place, list[int]] = field(default_factory=lambda: defaultdict(list))  # operations that came here
    touches: dict[int, list[Touch]] = field(default_factory=dict)
    undoes: dict[int, int] = field(default_factory=dict)

    def write(self, operation: int, changes: dict[Place, Any]) -> int:
        """Returns how many items are different."""
        made = [(place, self.state.get(place), after) for place, after in changes.items()]
        self.touches[operation] = [touch for touch in made if touch[1] != touch[2]]
        for place, _, after in self.touches[operation]:
            self.state[place] = after
            self.log[place].append(operation)
        return len({place[0] for place, _, _ in self.touches[operation]})

    def give(self, operation: int, items: set[int], label: str, source: Source, mode: Mode) -> int:
        changes: dict[Place, Any] = {}
        for item in items:
            here = (item, f"label {label}") if self.is_multi else (item, "label")
            if not self._stays(self.state.get(here), label, source):
                changes[here] = (label, source)
            if self.is_multi and mode is Mode.REPLACE:
                changes |= {(item, f"label {other}"): None for other in CLASSES if other != label}
        return self.write(operation, changes)

    def _stays(self, has: tuple[str, Source] | None, label: str, source: Source) -> bool:
        """A person confirms what a machine said; nothing else changes a label into itself."""
        return has is not None and has[0] == label and (has[1] is Source.HUMAN or source is not Source.HUMAN)

    def take(self, operation: int, items: set[int], label: str | None) -> int:
        taken = label or CLASSES
        if self.is_multi:
            return self.write(operation, {(item, f"label {one}"): None for item in items for one in taken})
        held = {item: self.state.get((item, "label")) for item in items}
        return self.write(operation, {(item, "label"): None for item, has in held.items() if has and has[0] in taken})

    def undo(self, operation: int, undoing: int) -> tuple[int, int]:
        """Returns how many items were put back, and how many had changed since."""
        kept: set[int] = set()
        back: dict[Place, Any] = {}
        blocked = {place for place, _, _ in self.touches[operation] if self._changed_since(place, operation)}
        for place, before, _ in self.touches[operation]:
            # The tags of an item that one act changed go back together.
            siblings = {place} if not place[1].startswith("tag") else {
                other for other, _, _ in self.touches[operation] if other[0] == place[0] and other[1].startswith("tag")
            }  # fmt: skip
            if siblings & blocked:
                kept.add(place[0])
            else:
                back[place] = before
        self.undoes[undoing] = operation
        return self.write(undoing, back), len(kept)

    def _changed_since(self, place: Place, operation: int) -> bool:
        standing: list[int] = []
        for later in self.log[place]:
            if later > operation:
                if self.undoes.get(later) in standing:
                    standing.remove(self.undoes[later])
                else:
                    standing.append(later)
        return bool(standing)


some_items = st.sets(st.integers(0, ITEMS - 1), min_size=1)


class Acts(RuleBasedStateMachine):
    @initialize(is_multi=st.booleans())
    def start(self, is_multi: bool) -> None:
        self.user = make_user(f"user-{Operation.objects.count()}-{Item.objects.count()}-{id(self)}")
        self.dataset = creation.create_dataset(name="d", modality="text", by=self.user, multi_label=is_multi)
        self.ids = [item.pk for item in add_items(self.dataset, ITEMS)]
        self.classes = {name: add_class(self.dataset, name) for name in CLASSES}
        self.model = Model(is_multi, {(number, "status"): "todo" for number in range(ITEMS)})
        self.done: list[Operation] = []

    def chosen(self, items: set[int]) -> selection.Selection:
        return selection.of_items(self.dataset, [self.ids[number] for number in items])

    def noted(self, applied: Applied) -> int:
        self.done.append(applied.operation)
        return applied.operation.pk

    @rule(
        items=some_items,
        label=st.sampled_from(CLASSES),
        source=st.sampled_from([Source.HUMAN, Source.HUMAN, Source.ZERO_SHOT]),
        mode=st.sampled_from([Mode.ADD, Mode.REPLACE]),
    )
    def give(self, items: set[int], label: str, source: Source, mode: Mode) -> None:
        applied = labelling.apply_label(self.chosen(items), self.classes[label], by=self.user, mode=mode, source=source)
        assert applied.changed == self.model.give(self.noted(applied), items, label, source, mode)

    @rule(items=some_items, label=st.sampled_from([*CLASSES, None]))
    def take(self, items: set[int], label: str | None) -> None:
        applied = labelling.remove_labels(self.chosen(items), self.classes[label] if label else None, by=self.user)
        assert applied.changed == self.model.take(self.noted(applied), items, label)

    @rule(items=some_items, status=st.sampled_from(["todo", "done", "excluded"]))
    def mark(self, items: set[int], status: str) -> None:
        applied = marking.set_status(self.chosen(items), status, by=self.user)
        expected = self.model.write(self.noted(applied), {(item, "status"): status for item in items})
        assert applied.changed == expected

    @rule(items=some_items, tags=st.dictionaries(st.sampled_from(TAGS), st.booleans(), min_size=1))
    def tag(self, items: set[int], tags: dict[str, bool]) -> None:
        add, remove = ([tag for tag, adds in tags.items() if adds is wanted] for wanted in (True, False))
        applied = marking.change_tags(self.chosen(items), add=add, remove=remove, by=self.user)
        changes = {(item, f"tag {tag}"): adds or None for item in items for tag, adds in tags.items()}
        assert applied.changed == self.model.write(self.noted(applied), changes)

    def undo_one(self, operation: Operation) -> None:
        if operation.pk in self.model.undoes.values():
            with pytest.raises(AlreadyUndone):
                operations.undo(operation, by=self.user)
            return
        undone = operations.undo(operation, by=self.user)
        self.done.append(undone.operation)
        expected = self.model.undo(operation.pk, undone.operation.pk)
        assert (undone.reverted, undone.kept_because_changed_since) == expected

    @precondition(lambda self: bool(getattr(self, "done", [])))
    @rule(data=st.data())
    def undo_any(self, data: st.DataObject) -> None:
        self.undo_one(data.draw(st.sampled_from(self.done), label="operation"))

    @precondition(lambda self: bool(getattr(self, "done", [])))
    @rule(data=st.data())
    def undo_a_late_one(self, data: st.DataObject) -> None:
        """What people do most: it goes back step by step."""
        standing = [one for one in self.done if one.pk not in self.model.undoes.values()]
        self.undo_one(data.draw(st.sampled_from(standing[-3:]), label="operation"))

    @invariant()
    def the_state_is_that_of_the_model(self) -> None:
        if hasattr(self, "model"):
            assert self._stored() == {place: value for place, value in self.model.state.items() if value}

    def _stored(self) -> dict[Place, Any]:
        number_of = {pk: number for number, pk in enumerate(self.ids)}
        stored: dict[Place, Any] = {}
        for item in Item.objects.filter(pk__in=self.ids):
            assert len(item.tags) == len(set(item.tags))
            stored[number_of[item.pk], "status"] = item.status
            stored |= {(number_of[item.pk], f"tag {tag}"): True for tag in item.tags}
        standing = Annotation.objects.standing().filter(item__in=self.ids)
        for item_id, name, source in standing.values_list("item", "label__name", "source"):
            place = number_of[item_id], f"label {name}" if self.model.is_multi else "label"
            assert place not in stored, "two labels on an item of a single-label dataset"
            stored[place] = name, Source(source)
        return stored


@pytest.mark.django_db
def test_any_series_of_acts_and_undos_gives_the_state_of_the_model() -> None:
    run_state_machine_as_test(Acts, settings=settings(max_examples=60, stateful_step_count=25, deadline=None))


def test_an_act_undone_in_part_still_stands_where_it_was_kept(dataset: Any, alice: Any, bob: Any) -> None:
    """Found by the model: undoing the oldest act gave back its old label beside the one that stood there."""
    item, other = (one.pk for one in add_items(dataset, 2))
    labels = {name: add_class(dataset, name) for name in "zabc"}

    def give(name: str, *ids: int) -> Operation:
        return labelling.apply_label(selection.of_items(dataset, list(ids)), labels[name], by=alice).operation

    give("z", item, other)
    first = give("a", item, other)
    second = give("b", item, other)
    third = give("c", item)
    assert operations.undo(second, by=alice).kept_because_changed_since == 1
    operations.undo(third, by=alice)
    assert operations.undo(first, by=alice).kept_because_changed_since == 1
    standing = Annotation.objects.standing().values_list("item", "label__name").order_by("item")
    assert list(standing) == [(item, "b"), (other, "z")]
