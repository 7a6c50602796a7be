"""Filters and selections mean exactly the items that their words say, whatever stands in the dataset."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datasets import creation, filters, labelling, selection
from datasets.errors import Refused
from datasets.models import Annotation, Dataset, Item, LabelClass
from tests.fixtures import add_class, add_items

_SPLITS = ("", "train", "test")
_STATUSES = ("todo", "done", "excluded")
_TAGS = ("night", "rain")
_CLASSES = ("cat", "dog", "bird")

# What one item is: the indices of its split and status, its tags, its classes, its brightness, its metadata.
_items = st.lists(
    st.tuples(
        st.sampled_from(_SPLITS),
        st.sampled_from(_STATUSES),
        st.sets(st.sampled_from(_TAGS)),
        st.sets(st.sampled_from(_CLASSES)),
        st.none() | st.floats(0, 1).map(lambda value: round(value, 2)),
        st.sampled_from(("chat", "mail", None)),
    ),
    max_size=12,
)
Model = dict[str, Any]
Rule = tuple[dict[str, Any], Callable[[Model], bool]]

# A filter in words, and the same in Python.
_rules: list[Rule] = [
    ({"split": "train"}, lambda item: item["split"] == "train"),
    ({"split": ["train", "test"]}, lambda item: item["split"] in ("train", "test")),
    ({"status": "excluded"}, lambda item: item["status"] == "excluded"),
    ({"tag": "night"}, lambda item: "night" in item["tags"]),
    ({"label": "cat"}, lambda item: "cat" in item["labels"]),
    ({"label": ["cat", "dog"]}, lambda item: bool({"cat", "dog"} & item["labels"])),
    ({"not_label": "cat"}, lambda item: "cat" not in item["labels"]),
    ({"unlabeled": True}, lambda item: not item["labels"]),
    ({"unlabeled": False}, lambda item: bool(item["labels"])),
    ({"brightness": ">0.5"}, lambda item: item["brightness"] is not None and item["brightness"] > 0.5),
    ({"brightness": "0.2..0.6"}, lambda item: item["brightness"] is not None and 0.2 <= item["brightness"] <= 0.6),
    ({"metadata.channel": "mail"}, lambda item: item["channel"] == "mail"),
    ({"key_contains": "1"}, lambda item: "1" in item["key"]),
]


def build(dataset: Dataset, rows: list[Any], by: Any) -> dict[int, Model]:
    classes = {name: LabelClass.objects.get_or_create(dataset=dataset, name=name)[0] for name in _CLASSES}
    models: dict[int, Model] = {}
    for number, (split, status, tags, labels, brightness, channel) in enumerate(rows):
        item = Item.objects.create(
            dataset=dataset, key=f"item-{number}", text="a text", split=split, status=status, tags=sorted(tags),
            brightness=brightness, metadata={"channel": channel} if channel else {},
        )  # fmt: skip
        for label in sorted(labels):
            labelling.apply_label(
                selection.of_items(dataset, [item.pk]), classes[label], by=by, mode=labelling.Mode.ADD
            )
        models[item.pk] = {
            "key": item.key, "split": split, "status": status, "tags": tags, "labels": labels,
            "brightness": brightness, "channel": channel,
        }  # fmt: skip
    return models


@given(rows=_items, rules=st.lists(st.sampled_from(_rules), min_size=1, max_size=3), data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_filter_and_a_selection_by_it_mean_what_the_words_say(
    alice: Any, rows: list[Any], rules: list[Rule], data: st.DataObject
) -> None:
    with transaction.atomic():
        dataset = creation.create_dataset(name="random", modality="text", by=alice, multi_label=True)
        models = build(dataset, rows, alice)
        words: dict[str, Any] = {}
        chosen = []
        for said, holds in rules:
            if not set(said) & set(words):  # a key stands once in a filter
                words |= said
                chosen.append(holds)
        expected = {pk for pk, model in models.items() if all(holds(model) for holds in chosen)}
        found = filters.parse(dataset, words).apply(filters.items_of(dataset))
        assert set(found.values_list("pk", flat=True)) == expected

        left_out = data.draw(st.sets(st.sampled_from(sorted(models))) if models else st.just(set()), label="except")
        meant = selection.parse(dataset, {"filter": words, "except": sorted(left_out)})
        assert set(meant.items.values_list("pk", flat=True)) == expected - left_out
        assert selection.preview(meant).count == len(expected - left_out)
        labelled = {pk for pk in expected - left_out if models[pk]["labels"]}
        assert selection.preview(meant).labeled == len(labelled)

        everything = selection.parse(dataset, {"all": True, "except": sorted(left_out)})
        assert set(everything.items.values_list("pk", flat=True)) == set(models) - left_out
        transaction.set_rollback(True)


def test_an_act_on_a_filter_changes_those_items_and_no_other(dataset: Dataset, alice: Any) -> None:
    inside = add_items(dataset, 3, split="train")
    add_items(dataset, 4, split="test")
    meant = selection.parse(dataset, {"filter": {"split": "train"}, "except": [inside[0].pk]})
    labelling.apply_label(meant, add_class(dataset, "cat"), by=alice)
    labelled = set(Annotation.objects.standing().values_list("item", flat=True))
    assert labelled == {item.pk for item in inside[1:]}


def test_another_datasets_items_are_refused_by_name(dataset: Dataset, foreign: Dataset) -> None:
    mine, theirs = add_items(dataset, 1)[0], add_items(foreign, 1)[0]
    with pytest.raises(Refused, match=str(theirs.pk)):
        selection.parse(dataset, {"ids": [mine.pk, theirs.pk]})


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        {},
        {"all": False},
        {"all": True, "ids": [1]},
        {"ids": "1,2"},
        {"ids": [True]},
        {"ids": [10**20]},
        {"filter": {"colour": "red"}},
        {"filter": {"label": "no such class"}},
        {"filter": {"brightness": ">bright"}},
        {"query": {"text": "a"}, "min_score": "high"},
        {"everything": True},
    ],
)
def test_what_is_no_selection_is_refused_with_a_sentence(dataset: Dataset, raw: Any) -> None:
    with pytest.raises(Refused) as refusal:
        selection.parse(dataset, raw)
    assert str(refusal.value).endswith(".")
